"""Ways to spoil files: bytes, gzip, NIfTI headers, JSON and YAML values, tables, tensors' headers.

Every mutation is drawn from one ``random.Random``, so that a seed and an index give it again.
"""

import copy
import gzip
import json
import struct
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

Mutation = Callable[[bytes, Random], bytes]

RAW = {
    "@digits@": "9" * 5000,
    "@infinite@": "1e400",
    "@nan@": "NaN",
    "@infinity@": "-Infinity",
    "@deep@": "[" * 3000 + "]" * 3000,
    "@nested@": "[" * 40 + "]" * 40,
    "@tiny@": "1e-320",
    "@whole@": "18446744073709551616",
    "@surrogate@": '"\\ud800"',
    "@nul@": '"a\\u0000b"',
}
"""What no JSON writer writes, put in place of these words."""

HOSTILE: list[Any] = [
    *RAW,
    None,
    True,
    False,
    "",
    " ",
    ".",
    "..",
    "../..",
    "/etc/hostname",
    "a/b",
    "a\\b",
    "-",
    "=1+1",
    "\x1b[31m",
    "‮",
    "é",
    "x" * 300,
    "y" * 100_000,
    0,
    -1,
    1,
    2,
    255,
    256,
    10**9,
    2**31,
    2**63 - 1,
    2**63,
    -(2**63),
    0.5,
    -0.5,
    1.5,
    1e-9,
    1e30,
    [],
    {},
    [1],
    [[]],
    [None],
    ["x", "x"],
    {"": ""},
    {"x": 1},
    [0] * 2000,
]
EXTREMES = {
    "h": [0, 1, 2, 3, 4, 5, 7, 8, 16, 64, 512, 768, -1, 32767, -32768, 255, 256, 1000],
    "f": [
        0.0, -0.0, 1.0, -1.0, 1e-45, 1e-20, 0.001, 0.04, 29.0, 31.0, 352.0, 348.0, 1e6, 3e38,
        -3e38, float("nan"), float("inf"), float("-inf"),
    ],
    "i": [0, 1, 348, 540, -1, 2**31 - 1, -(2**31)],
    "B": [0, 1, 2, 3, 8, 16, 255],
}  # fmt: skip
FIELDS = [
    ("i", 0),
    *(("h", 40 + 2 * i) for i in range(8)),
    ("h", 70),
    ("h", 72),
    *(("f", 76 + 4 * i) for i in range(8)),
    ("f", 108),
    ("f", 112),
    ("f", 116),
    ("B", 123),
    ("f", 124),
    ("f", 128),
    ("h", 252),
    ("h", 254),
    *(("f", 256 + 4 * i) for i in range(6)),
    *(("f", 280 + 4 * i) for i in range(12)),
    ("B", 344),
    ("B", 345),
    ("B", 348),
]
"""Kind and place of the fields of a NIfTI-1 header that mean anything, and the extension flag."""


def flip_bits(content: bytes, random: Random) -> bytes:
    """One to eight bits, anywhere."""
    spoilt = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 8)) if spoilt else 0):
        spoilt[random.randrange(len(spoilt))] ^= 1 << random.randrange(8)
    return bytes(spoilt)


def strike_bytes(content: bytes, random: Random) -> bytes:
    """One to four bytes over, with extremes or anything."""
    spoilt = bytearray(content)
    for _ in range(random.randint(1, 4) if spoilt else 0):
        spoilt[random.randrange(len(spoilt))] = random.choice((0, 1, 127, 128, 255, None)) or (
            random.randrange(256)
        )
    return bytes(spoilt)


def truncate(content: bytes, random: Random) -> bytes:
    """The end is missing."""
    return content[: random.randrange(len(content) + 1)]


def drop_slice(content: bytes, random: Random) -> bytes:
    """A part is missing."""
    start, end = _slice(content, random)
    return content[:start] + content[end:]


def double_slice(content: bytes, random: Random) -> bytes:
    """A part stands twice."""
    start, end = _slice(content, random)
    return content[:end] + content[start:end] + content[end:]


def splice(content: bytes, random: Random) -> bytes:
    """A part stands elsewhere too."""
    start, end = _slice(content, random)
    place = random.randrange(len(content) + 1)
    return content[:place] + content[start:end] + content[place + (end - start) :]


def blank_slice(content: bytes, random: Random) -> bytes:
    """A part is zeros, as after a power failure."""
    start, end = _slice(content, random)
    return content[:start] + bytes(end - start) + content[end:]


def append(content: bytes, random: Random) -> bytes:
    """Something follows the end: zeros, noise, or the whole again."""
    more = (bytes(random.randint(1, 64)), random.randbytes(random.randint(1, 64)), content)
    return content + random.choice(more)


BYTES: list[Mutation] = [
    flip_bits, flip_bits, strike_bytes, strike_bytes, truncate, drop_slice, double_slice, splice,
    blank_slice, append,
]  # fmt: skip


def any_bytes(content: bytes, random: Random) -> bytes:
    """One of :data:`BYTES`."""
    return random.choice(BYTES)(content, random)


def header_field(content: bytes, random: Random) -> bytes:
    """One to three fields of a plain NIfTI-1 image get extreme values."""
    spoilt = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 3))):
        kind, place = random.choice(FIELDS)
        if place + struct.calcsize(kind) <= len(spoilt):
            struct.pack_into("<" + kind, spoilt, place, random.choice(EXTREMES[kind]))
    return bytes(spoilt)


def header_bytes(content: bytes, random: Random) -> bytes:
    """Bytes of the header alone."""
    return any_bytes(content[:352], random) + content[352:]


def image(packed: bytes, random: Random) -> bytes:
    """A ``.nii.gz``: its gzip stream, the header below it, or the voxels."""
    way = random.random()
    if way < 0.25:
        return any_bytes(packed, random)
    plain = gzip.decompress(packed)
    if way < 0.6:
        spoilt = header_field(plain, random)
    elif way < 0.8:
        spoilt = header_bytes(plain, random)
    else:
        spoilt = any_bytes(plain, random)
    again = gzip.compress(spoilt, 1, mtime=0)
    if way > 0.97:  # several members, as parallel gzip writes them
        cut = random.randrange(len(spoilt) + 1)
        again = gzip.compress(spoilt[:cut], 1, mtime=0) + gzip.compress(spoilt[cut:], 1, mtime=0)
    return again


def _tree(changed: Any, before: Any) -> Any:
    """``changed``, unless parts that changed places hold themselves: that is no document."""
    try:
        json.dumps(changed)
    except ValueError:
        return before
    return changed


def json_value(content: bytes, random: Random) -> bytes:
    """Values of a JSON document become hostile, go, come twice, change places."""
    document = json.loads(content)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        document = _tree(_change(copy.deepcopy(document), random), document)
    text = json.dumps(document, indent=random.choice((None, 1)))
    if random.random() < 0.08:
        text = _double_key(text, random)
    return _raw(text).encode("utf-8", "surrogatepass")


def json_document(content: bytes, random: Random) -> bytes:
    """A JSON document: its values, or its bytes."""
    return (json_value if random.random() < 0.7 else any_bytes)(content, random)


ALIASES = (
    "@bomb@",
    "@self@",
    "@merge@",
    "!!python/object/apply:os.system [x]",
    "!!binary aGk=",
    "!!int abc",
    "!!timestamp abc",
    "2001-99-99",
    "12:30:45",
    ".inf",
    ".nan",
    "1.0e+400",
    "0x" + "f" * 4000,
    "? [a]\n",
    "&a",
    "*a",
    "|",
    "yes",
    "~",
)
_BOMB = (
    "[&a0 [x,x,x,x,x,x,x,x,x], "
    + ", ".join(f"&a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10))
    + "]"
)


def yaml_value(content: bytes, random: Random) -> bytes:
    """Values of a YAML document become hostile ones of JSON or of YAML's own."""
    import yaml

    document = yaml.safe_load(content)
    values = [*HOSTILE, *(f"@@{i}@@" for i in range(len(ALIASES)))]
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        changed = _change(copy.deepcopy(document), random, values)
        document = _tree(changed, document)
    text = json.dumps(document, indent=1, ensure_ascii=True)
    if random.random() < 0.08:
        text = _double_key(text, random)
    for number, word in enumerate(ALIASES):
        word = {"@bomb@": _BOMB, "@self@": "&b [*b]", "@merge@": "{<<: [{x: 1}, 3]}"}.get(
            word, word
        )
        text = text.replace(f'"@@{number}@@"', word)
    return _raw(text).encode("utf-8", "surrogatepass")


def yaml_document(content: bytes, random: Random) -> bytes:
    """A YAML document: its values, or its bytes."""
    return (yaml_value if random.random() < 0.7 else any_bytes)(content, random)


def table(content: bytes, random: Random) -> bytes:
    """A CSV file: cells, columns, rows, or its bytes."""
    if random.random() < 0.3:
        return any_bytes(content, random)
    rows = [line.split(",") for line in content.decode().splitlines()]
    for _ in range(random.choice((1, 1, 2))):
        row = random.choice(rows)
        way = random.random()
        if way < 0.5 and row:
            hostile = random.choice([value for value in HOSTILE if isinstance(value, str)])
            row[random.randrange(len(row))] = random.choice(
                (hostile, '"', '""', '"a\nb"', "\0", ";", "\t", " ", "#3", "a#99999", "\r")
            )
        elif way < 0.65 and row:
            row.append(random.choice(row))
        elif way < 0.8 and row:
            row.pop(random.randrange(len(row)))
        elif way < 0.9:
            rows.append(list(row))
        else:
            rows.remove(row)
            rows = rows or [["id"]]
    text = "\n".join(",".join(row) for row in rows) + "\n"
    return text.encode("utf-8", "surrogatepass")


def array(content: bytes, random: Random) -> bytes:
    """A ``.npy`` file: mostly its header."""
    if random.random() < 0.5:
        return any_bytes(content[:128], random) + content[128:]
    if random.random() < 0.5:
        return any_bytes(content, random)
    words = ("'|u1'", "'<f8'", "'|O'", "'<U4'", "'|V0'", "False", "True", "(", "{", "1L", "-1", "")
    header = content[:128].decode("latin-1")
    parts = header.split(" ")
    parts[random.randrange(len(parts))] = random.choice(words) + ","
    return " ".join(parts).ljust(128)[:128].encode("latin-1") + content[128:]


def tensors(content: bytes, random: Random) -> bytes:
    """A safetensors file: the JSON at its head, its length, or its bytes."""
    (length,) = struct.unpack("<Q", content[:8])
    way = random.random()
    if way < 0.5:
        header = json_value(content[8 : 8 + length], random)
        return struct.pack("<Q", len(header)) + header + content[8 + length :]
    if way < 0.6:
        sizes = (0, 1, length - 1, length + 1, 2**31, 2**63, 2**64 - 1, len(content))
        return struct.pack("<Q", random.choice(sizes)) + content[8:]
    if way < 0.8:
        return content[:8] + any_bytes(content[8 : 8 + length], random) + content[8 + length :]
    return any_bytes(content, random)


def graph_text(content: bytes, random: Random) -> bytes:
    """An OpenVINO graph: a number or a word in its XML, or its bytes."""
    if random.random() < 0.3:
        return any_bytes(content, random)
    parts = content.split(b'"')
    for _ in range(random.choice((1, 1, 2))):
        values = range(1, len(parts), 2)
        words = [b"", b"0", b"-1", b"1", b"4", b"99999", b"2147483648", b"9" * 40, b"f32", b"u8",
                 b"i64", b"nan", b"Result", b"Const", b"Loop", b"../model.bin"]  # fmt: skip
        parts[random.choice(values)] = (
            parts[random.choice(values)] if random.random() < 0.4 else random.choice(words)
        )
    return b'"'.join(parts)


def _slice(content: bytes, random: Random) -> tuple[int, int]:
    length = min(len(content), int(2 ** random.uniform(0, 10)))
    start = random.randrange(len(content) - length + 1)
    return start, start + length


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Every container and key of a document."""
    found: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        inside = waiting.pop()
        if isinstance(inside, dict | list):
            keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
            found += [(inside, key) for key in keys]
            waiting += [inside[key] for key in keys]
    return found


def _change(document: Any, random: Random, hostile: list[Any] = HOSTILE) -> Any:
    places = _places(document)
    if not places or random.random() < 0.02:
        return deepcopy(random.choice(hostile))
    inside, key = random.choice(places)
    way = random.random()
    if way < 0.6:
        inside[key] = deepcopy(random.choice(hostile))
    elif way < 0.7:
        inside[key] = deepcopy(random.choice([other[k] for other, k in places]))
    elif way < 0.78:
        del inside[key]
    elif way < 0.86 and isinstance(inside, dict):
        inside[str(random.choice(hostile))[:200]] = deepcopy(random.choice(hostile))
    elif way < 0.93:
        inside[key] = [inside[key]]
    elif isinstance(inside, list):
        inside += inside[:50]
    else:
        inside[key] = {"a": inside[key]}
    return document


def _double_key(text: str, random: Random) -> str:
    """A key that stands twice."""
    keys = [part for part in text.split('"')[1::2] if part]
    key = random.choice(keys) if keys else "x"
    place = text.find("{") + 1
    return text[:place] + f'"{key}": {random.choice(("1", "null", "[]"))}, ' + text[place:]


def _raw(text: str) -> str:
    for word, written in RAW.items():
        text = text.replace(f'"{word}"', written)
    return text
