"""Check of the files that a graph makes its runtime read: only those that its package lists.

An ONNX graph may keep weights in other files ("external data"), by any name in its folder; both
runtimes read them. OpenVINO tells the kind of a graph by its content, so an ONNX graph called
``model.xml`` is read as one, and its files with it. Both are refused when a package is opened.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from gliodistill.errors import PackageError, brief

_IR = (b"<?xml", b"<net")
_MOST_DEPTH = 100
"""Deepest nesting of messages; protobuf's own limit."""

# Field numbers of onnx.proto3 on the way to the tensors of a model, kind by kind.
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}  # fmt: skip
_KEY, _VALUE = 1, 2
"""Fields of an entry of ``TensorProto.external_data``."""


def check_graph(folder: Path, files: Sequence[str]) -> None:
    """Check that a graph reads nothing but the files beside it that its package lists.

    Args:
        folder: of the package.
        files: the graph, and what it may read.

    Raises:
        PackageError: its kind differs from its name, or it reads another file.
    """
    graph, others = folder / files[0], files[1:]
    if graph.suffix == ".xml":
        with graph.open("rb") as file:
            start = file.read(5)
        if not start.startswith(_IR):
            raise PackageError(
                "not an OpenVINO graph",
                file=graph,
                got=f"a file that starts with {start!r}",
                expected="XML",
            )
    elif graph.suffix == ".onnx":
        try:
            read = external_files(graph.read_bytes())
        except ValueError as error:
            raise PackageError("not an ONNX graph", file=graph, got=error) from error
        if strangers := sorted(read - set(others)):
            raise PackageError(
                "graph reads a file that the package does not list",
                file=graph,
                field="external data",
                got=", ".join(brief(name) for name in strangers[:4]),
                expected=" or ".join(others) or "no other file",
                hint="get the package from its author",
            )


def external_files(model: bytes) -> set[str]:
    """Names of the files that an ONNX model keeps tensors in, as they are written.

    Args:
        model: a serialised ``ModelProto``.

    Raises:
        ValueError: it is not one.
    """
    names: set[str] = set()
    waiting = [("model", memoryview(model), 0)]
    while waiting:
        kind, message, depth = waiting.pop()
        if depth > _MOST_DEPTH:
            raise ValueError(f"messages deeper than {_MOST_DEPTH}")
        if kind == "entry":
            parts = list(_fields(message))
            # The last key counts; all values of a repeated key are checked.
            if any(number == _KEY and bytes(part) == b"location" for number, part in parts):
                values = [bytes(part) for number, part in parts if number == _VALUE]
                names |= {value.decode("utf-8", "backslashreplace") for value in values}
            continue
        inside = _INSIDE[kind]
        waiting += (
            (inside[number], part, depth + 1)
            for number, part in _fields(message)
            if number in inside
        )
    return names


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of the fields of a protobuf message that have a length."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 2**29:
            raise ValueError(f"field number {number} at byte {place}")
        if wire == 0:
            _, place = _varint(message, place)
            continue
        if wire not in (1, 2, 5):
            raise ValueError(f"wire type {wire} at byte {place}")
        length = {1: 8, 5: 4}.get(wire, 0)
        if wire == 2:
            length, place = _varint(message, place)
        if length > len(message) - place:
            raise ValueError(f"{length} bytes at byte {place} of {len(message)}")
        if wire == 2:
            yield number, message[place : place + length]
        place += length


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A variable-length integer, and its end."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("the end within a number")
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError(f"a number of more than ten bytes at byte {place}")
