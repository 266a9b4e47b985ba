"""Documents and packages that were made to harm, or that bad luck made so: one line that names the
place, quickly, and nothing built of what they claim.
"""

import json
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from field.edits import (
    edit_header,
    edit_json,
    evaluate,
    place_json,
    predictions,
    prepare,
    segment,
    sign,
    train,
)
from field.table import Table

table = Table()
bad = table.row

BOMB = "a: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
DIGITS, DEEP = "9" * 5000, "[" * 3000 + "]" * 3000
NUMBERS = {
    "an integer of 5000 digits": (DIGITS, "got 5000 digits"),
    "a number beyond every float": ("1e400", "got 1e400"),
    "NaN": ("NaN", "got NaN"),
    "Infinity": ("-Infinity", "got -Infinity"),
    "an integer of 65 bits": ("18446744073709551616", "got 18446744073709551616"),
}


# Recipes


def recipe(story: str, text: str, *says: str) -> None:
    @bad(f"recipe: {story}", "tiny.yaml", "cannot read the recipe", *says)
    def _(b):
        file = b.copy("recipe")
        file.write_text(text if ":" in text[:20] and "\n" in text else f"about: {text}\n")
        return train(b, recipe=file)


recipe("nested aliases of 300 bytes", BOMB, "field values", "aliases expanded")
recipe("an alias of itself", "&a [*a]", "field nesting")
recipe("brackets 3000 deep", DEEP, "field nesting, got deeper, expected at most 32 levels")
recipe("mappings 3000 deep", "{a: " * 3000 + "1" + "}" * 3000, "field nesting")
recipe("indented 300 deep", "\n".join(" " * i + "a:" for i in range(300)), "field nesting")
recipe("a key twice", "name: a\nname: b\n", "field key 'name' in line 2", "each key once")
recipe(
    "a key twice, inside",
    "name: a\ntraining:\n  steps: 1\n  clip: 1\n  steps: 2\n",
    "field key 'steps' in line 5",
)
recipe("an integer of 5000 digits", DIGITS, "field about, got 5000 digits")
recipe("a hexadecimal number without end", "0x" + "f" * 90, "field about", "64 bits")
recipe("infinity", ".inf", "field about, got .inf, expected a finite number")
recipe("not a number", ".nan", "field about, got .nan")
recipe("a float beyond every float", "1.0e+400", "field about, got 1.0e+400")
recipe("a tag that wants to run code", "!!python/name:os.system", "field tag in line 1")
recipe("a tag of bytes", "!!binary aGk=", "field tag in line 1", "expected no tag")
recipe("a tag that lies", "!!int many", "field value in line 1", "got 'many'")
recipe("a NUL in a text", '"a\\0b"', "field about", r"got 'a\x00b'", "without NUL")
recipe("half of a surrogate pair", '"\\ud800"', "field about", r"got '\ud800'")
recipe("a number as a key", "{1: 2}", "field key in line 1, got '1', expected text")
recipe("a list as a key", "{[a]: 2}", "field key in line 1, got sequence")
recipe("two documents", "a: 1\n---\nb: 2\n", "field YAML", "line 2")
recipe("a character that is none", "a\x01b", "field YAML")
recipe("20 000 values", "[" + "a," * 20_000 + "a]", "field values", "at most 10000")
recipe("200 kB", "x" * 200_000, "field size", "expected at most 131072")


@bad("recipe: bytes that are no text", "tiny.yaml", "field text", "got 0xff", "expected UTF-8")
def _(b):
    b.copy("recipe").write_bytes(b"name: \xff\xfe\n")
    return train(b, recipe=b.root / "tiny.yaml")


@bad("recipe: empty", "tiny.yaml", "got nothing, expected a mapping")
def _(b):
    b.copy("recipe").write_text("")
    return train(b, recipe=b.root / "tiny.yaml")


@bad("recipe: shared values that a patch of 1000 km is made of", "tiny.yaml", "sampling.patch")
def _(b):
    return train(b, "--set", "sampling.patch=[1000000000, 1000000000, 1000000000]")


@table.row("recipe: anchors and merged mappings are read as YAML has them", code=0)
def _(b):
    file = b.copy("recipe")
    values = yaml.safe_load(file.read_text())
    values["training"] |= {"steps": 4}
    text = yaml.safe_dump(values, sort_keys=False)
    own = "    training: &own {steps: 2, warmup: 1}\n"
    text = text.replace("  teacher:\n", f"  teacher:\n{own}", 1)
    text = text.replace("  distilled:\n", "  distilled:\n    training: {<<: *own, steps: 3}\n", 1)
    file.write_text(text)
    yield train(b, "--only", "teacher", recipe=file)
    written = yaml.safe_load((b.out / "recipe.yaml").read_text())["runs"]
    assert [written[run]["training"]["steps"] for run in ("teacher", "distilled")] == [2, 3]
    assert written["distilled"]["training"]["warmup"] == 1
    assert json.loads((b.out / "teacher" / "summary.json").read_text())["steps"] == 2


@table.row("recipe: a date stays the text it is", code=0)
def _(b):
    file = b.copy("recipe")
    file.write_text(file.read_text() + "about: 2026-02-30\ncost: 12:30:45\n")
    yield train(b, "--only", "teacher", recipe=file)
    written = yaml.safe_load((b.out / "recipe.yaml").read_text())
    assert (written["about"], written["cost"]) == ("2026-02-30", "12:30:45")


def setting(story: str, text: str, *says: str) -> None:
    @bad(f"--set: {story}", "bad setting", *says)
    def _(b):
        return train(b, "--set", text)


setting("nested aliases", "about=" + f"[{BOMB.replace(chr(10), ' ')}]", "--set about")
setting("brackets 3000 deep", f"about={DEEP}", "--set about", "got deeper")
setting("an integer of 5000 digits", f"training.steps={DIGITS}", "--set training.steps")
setting("not a number", "training.clip=.nan", "--set training.clip", "got .nan")
setting("a key of 3000 parts", "a." * 3000 + "a=1", "a key of the recipe")
setting("half of a surrogate pair", 'about="\\ud800"', "--set about")


# JSON, wherever it is read: the same documents, by the command that reads them


def manifest(b) -> tuple[Path, tuple[object, ...]]:
    file = b.root / "studies.json"
    file.write_text(json.dumps([{"id": "a", "flair": str(b.file())}]))
    return file, ("inspect", file)


def description(b) -> tuple[Path, tuple[object, ...]]:
    images = b.root / "raw" / "imagesTr"
    images.mkdir(parents=True)
    shutil.copyfile(b.file(), images / "a_0000.nii.gz")
    file = b.root / "raw" / "dataset.json"
    file.write_text('{"channel_names": {"0": "FLAIR"}, "labels": {"edema": 2}}')
    return file, ("inspect", b.root / "raw")


def package(b) -> tuple[Path, tuple[object, ...]]:
    return b.copy("model") / "model.json", ("segment", b.data, "-m", b.root / "model", "-o", b.out)


def cached(b) -> tuple[Path, tuple[object, ...]]:
    shutil.copytree(b.copy("training") / "cache", b.root / "cache")
    words = ("train", b.copy("recipe"), "--data", b.root / "cache", "-o", b.out)
    return b.root / "cache" / "cache.json", words


def prepared(b) -> tuple[Path, tuple[object, ...]]:
    _, words = cached(b)
    return b.root / "cache" / "case_1" / "study.json", words


def experiment(b) -> tuple[Path, tuple[object, ...]]:
    return b.copy("training") / "data.json", ("export", b.root / "run", "-o", b.out)


def summary(b) -> tuple[Path, tuple[object, ...]]:
    file = b.copy("training") / "distilled" / "summary.json"
    return file, ("export", b.root / "run", "-o", b.out)


def scores(b, program) -> tuple[Path, tuple[object, ...]]:
    assert program(*evaluate(b)).code == 0
    file = b.root / "evaluation" / "scores.json"
    shutil.copyfile(file, b.root / "other.json")
    return file, ("compare", file, b.root / "other.json")


def pseudo(b, program) -> tuple[Path, tuple[object, ...]]:
    words = ("pseudo-label", b.data, "-m", b.copy("model"), "-o", b.root / "pseudo")
    assert program(*words, "--tta", "all").code == 0
    file = b.copy("recipe")
    values = yaml.safe_load(file.read_text())
    values["runs"]["teacher"]["pseudo"] = {"share": 0.5}
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    index = b.root / "pseudo" / "pseudo.json"
    return index, train(b, "--pseudo", b.root / "pseudo", recipe=file)


def quality(b) -> tuple[Path, tuple[object, ...]]:
    file = b.root / "quality.json"
    file.write_text(json.dumps({"fitted_on": "x", "low": 0.6, "regions": {}}))
    return file, ("export", b.copy("training"), "-o", b.out, "--quality", file)


def phantom(b, program) -> tuple[Path, tuple[object, ...]]:
    words = ("phantom", b.root / "made", "-n", "1", "--spacing", "6", "--jobs", "1")
    assert program(*words).code == 0
    return next((b.root / "made").glob("*/*_phantom.json")), words


READERS = {
    "manifest": manifest,
    "dataset.json": description,
    "model.json": package,
    "cache.json": cached,
    "a prepared study": prepared,
    "data.json of a training": experiment,
    "summary of a run": summary,
    "scores": scores,
    "pseudo-labels": pseudo,
    "quality": quality,
    "phantom": phantom,
}


def read_by(name: str, b, program) -> tuple[Path, tuple[object, ...]]:
    """The document, and the command that reads it."""
    reader = READERS[name]
    return reader(b, program) if reader.__code__.co_argcount == 2 else reader(b)


def everywhere(story: str, text: str, *says: str) -> None:
    def enter(name: str) -> None:
        @bad(f"{name}: {story}", *says)
        def _(b, program):
            file, words = read_by(name, b, program)
            good = file.read_text().strip()
            start = good[0]
            more = '"x": ' if start == "{" else ""
            file.write_text(text.replace("@", start + more).replace("$", good[1:]))
            return words

    for name in READERS:
        enter(name)


everywhere("a list where an object is expected", "[[1]]", ".json", "got")
everywhere("brackets 3000 deep", DEEP, ".json", "field nesting, got deeper")
everywhere("NaN", "@NaN, $", ".json", "got NaN, expected a finite number of 64 bits")
everywhere("cut off", '@"', ".json", "field JSON", "expected valid JSON")


def number(name: str, story: str, *place: object) -> None:
    text, says = NUMBERS[story]

    @bad(f"{name}: {story} among its values", ".".join(map(str, place)), says)
    def _(b, program):
        file, words = read_by(name, b, program)
        place_json(file, text, *place)
        return words


for _story in NUMBERS:
    number("model.json", _story, "training", "seed")
    number("scores", _story, "studies", "case_0", "WT", "dice")
    number("a prepared study", _story, "shape", 0)


@bad("model.json: a key twice", "model.json", "field key 'name', got a repeated name")
def _(b):
    file = b.copy("model") / "model.json"
    file.write_text(file.read_text().replace('"name":', '"name": "other", "name":', 1))
    return ("segment", b.data, "-m", file.parent, "-o", b.out)


@bad("scores: a study twice", "scores.json", "field key 'case_0'", "each key once")
def _(b, program):
    file, words = scores(b, program)
    file.write_text(file.read_text().replace('"case_1": {', '"case_0": {'))
    return words


@bad("scores: a Dice that is text", "field studies.case_0.WT.dice, got '1'")
def _(b, program):
    file, words = scores(b, program)
    edit_json(file, lambda values: values["studies"]["case_0"]["WT"].update(dice="1"))
    return words


# Manifests and descriptions


def rows(story: str, content: object, *says: str) -> None:
    @bad(f"manifest: {story}", "studies.json", *says)
    def _(b):
        (b.root / "studies.json").write_text(json.dumps(content))
        return ("inspect", b.root / "studies.json")


rows("a list of numbers", [1], "field studies", "expected a list of objects")
rows("studies that are text", {"studies": "a"}, "field studies")
rows("a list as a cell", [{"id": "a", "flair": ["x.nii.gz"]}], "field studies 1 flair")
rows("an object as an id", [{"id": {"a": 1}, "flair": "x"}], "field studies 1 id")
rows("true as an id", [{"id": True, "flair": "x"}], "field studies 1 id, got True")
rows("labels that are a list", {"studies": [{"id": "a", "t1": "x"}], "labels": [1]}, "labels")


def cells(story: str, text: str, *says: str) -> None:
    @bad(f"manifest: {story}", "studies.csv", *says)
    def _(b):
        (b.root / "studies.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
        return ("inspect", b.root / "studies.csv")


cells("a column named twice", "id,flair,flair\na,x,y\n", "field column 'flair'", "once")
cells("a row too long", "id,flair\na,x,y\n", "field line 2, got 3 cells, expected 2")
cells("a row too short", "id,flair\na\n", "field line 2, got 1 cells")
cells("a NUL", "id,flair\na,x\0y\n", "field CSV", "without NUL")
cells("a quote that never ends", 'id,flair\na,"x\n', "field CSV")
cells("text in Latin-1", "id,flair\nä\udce4,x\n", "field text, got 0xe4", "UTF-8")


@bad("manifest: a file name longer than any", "studies.csv", "row 1 flair", "got 5007 characters")
def _(b):
    (b.root / "studies.csv").write_text(f"id,flair\na,{'y' * 5000}.nii.gz\n")
    return ("inspect", b.root / "studies.csv")


@table.row("manifest: quoted line breaks and a byte-order mark are a spreadsheet's", code=0)
def _(b):
    file = b.root / "studies.csv"
    text = f'\ufeffid;flair;comment\r\nwith space;{b.file()};"two\r\nlines"\r\n'
    file.write_text(text, encoding="utf-8", newline="")
    said = yield ("inspect", file, "--json")
    facts = json.loads(said.out)
    assert [study["id"] for study in facts["studies"]] == ["with space"]


@bad("dataset.json: a channel whose number is a superscript", "dataset.json", "channel_names")
def _(b):
    file, words = description(b)
    edit_json(file, lambda values: values.update(channel_names={"²": "FLAIR"}))
    return words


@bad("dataset.json: a channel of 5000 digits", "dataset.json", "channel_names")
def _(b):
    file, words = description(b)
    edit_json(file, lambda values: values.update(channel_names={DIGITS: "FLAIR"}))
    return words


@bad("pseudo-labels: a manifest of other studies than were selected", "manifest.json", "case_2")
def _(b, program):
    index, words = pseudo(b, program)
    edit_json(index.with_name("manifest.json"), lambda values: values["studies"].pop())
    return words


@bad("image: a form code that no standard has", "case_0_flair.nii.gz", "field sform_code, got 768")
def _(b):
    edit_header(b.file(), 254, struct.pack("<h", 768))
    return segment(b)


# Packages by strangers: every digest is right


def claims(story: str, field: str, value: object, *says: str) -> None:
    @bad(f"model.json: {story}", "model.json", *says)
    def _(b):
        file = b.copy("model") / "model.json"
        *around, last = field.split(".")

        def change(values: dict) -> None:
            for key in around:
                values = values[key]
            values[last] = value

        edit_json(file, change)
        return ("segment", b.data, "-m", sign(file.parent), "-o", b.out)


claims("sides of a million voxels", "inference.patch", [10**6] * 3, "inference.patch", "512")
claims("windows without end", "inference.overlap", 0.999999999, "inference.overlap", "[0, 0.9]")
claims("voxels of a nanometre", "preparation.spacing", [1e-6] * 3, "preparation.spacing")
claims("a margin of a kilometre", "preparation.margin_mm", 1e6, "preparation.margin_mm", "100")
claims("a divisor of a billion", "runtime.divisor", 10**9, "field runtime", "1 to 256")
claims("no memory a voxel", "runtime.bytes_per_voxel", 0, "field runtime")
claims("parts where an object is expected", "network", [1], "field network, got list")
claims("codes beyond a byte", "convention.codes", {"99999": "ED"}, "field convention")
claims("a code of 5000 digits", "convention.codes", {DIGITS: "ED"}, "field convention")


@bad("model.safetensors: a header of 2^63 bytes", "weights do not fit", "header")
def _(b):
    file = b.copy("model") / "model.safetensors"
    file.write_bytes(struct.pack("<Q", 2**63) + file.read_bytes()[8:])
    return segment_torch(b)


@bad("a network of 40 GB that its weights do not have", "weights do not fit the network")
def _(b):
    def change(values: dict) -> None:
        values["network"] = {"name": "unet", "options": {"widths": [20_000, 20_000]}}

    edit_json(b.copy("model") / "model.json", change)
    return segment_torch(b)


def segment_torch(b) -> tuple[object, ...]:
    model = sign(b.root / "model")
    return ("segment", b.data / "case_0", "-m", model, "-o", b.out, "--runtime", "torch")


@bad("a graph that is cut off: the runtime's reason", "model.xml", "OpenVINO cannot read the graph")
def _(b):
    file = b.copy("model") / "model.xml"
    file.write_bytes(file.read_bytes()[:-400])
    return ("segment", b.data / "case_0", "-m", sign(file.parent), "-o", b.out)


@bad("a graph without a layer it names", "OpenVINO cannot read the graph", "got ")
def _(b):
    file = b.copy("model") / "model.xml"
    file.write_text(file.read_text().replace('type="Convolution"', 'type="Convulsion"'))
    return ("segment", b.data / "case_0", "-m", sign(file.parent), "-o", b.out)


@bad("model.xml: not XML", "model.xml", "not an OpenVINO graph", "expected XML")
def _(b):
    (b.copy("model") / "model.xml").write_bytes(b"\x08\x0a\x12\x00")
    return ("segment", b.data / "case_0", "-m", sign(b.root / "model"), "-o", b.out)


@bad("a card with control characters beside a missing file", "model.bin", "missing")
def _(b):
    (b.copy("model") / "README.md").write_text("\x1b]0;title\x07")
    sign(b.root / "model")
    (b.root / "model" / "model.bin").unlink()
    return ("models", b.root / "model")


@table.row("a card with an escape sequence: shown, not obeyed", code=0)
def _(b):
    (b.copy("model") / "README.md").write_text("# A card\n\n\x1b]0;title\x07 and \tmore\n")
    said = yield ("models", sign(b.root / "model"))
    assert "\x1b" not in said.out and "\x07" not in said.out
    assert r"\x1b]0;title\x07 and" in said.out and "# A card" in said.out


@bad("a card that is no text", "README.md", "field text", "UTF-8")
def _(b):
    (b.copy("model") / "README.md").write_bytes(b"# \xff\n")
    return ("models", sign(b.root / "model"))


# Caches and trainings


def array(story: str, content: Callable[[bytes], bytes], *says: str) -> None:
    @bad(f"cache: {story}", "image.npy", "damaged cache", *says)
    def _(b):
        _, words = prepared(b)
        for case in ("case_0", "case_1", "case_2"):
            file = b.root / "cache" / case / "image.npy"
            file.write_bytes(content(file.read_bytes()))
        return words


array("an array cut off", lambda content: content[:200])
array("a header that is no Python", lambda content: content.replace(b"'descr'", b"(((((((", 1))
array("a header with an open string", lambda content: content.replace(b"}", b'"', 1))
array("objects that would be unpickled", lambda content: content.replace(b"'|u1'", b"'|O' ", 1))
array("an order that is no truth value", lambda content: content.replace(b"False", b"'no' ", 1))
array("another kind of number", lambda content: content.replace(b"'|u1'", b"'|i1'", 1))
array(
    "an order that is a text", lambda content: content.replace(b": False,", b": 'yes',", 1), "yes"
)
array("an archive", lambda content: b"PK\x03\x04" + content)


@bad("cache: a study of fewer channels than its cache", "study.json", "field present, got 1")
def _(b):
    file, words = prepared(b)
    edit_json(file, lambda values: values.update(present=[True]))
    return words


@bad("cache: a shape of two sides", "study.json", "field shape, got [3, 4]")
def _(b):
    file, words = prepared(b)
    edit_json(file, lambda values: values.update(shape=[3, 4]))
    return words


@bad("data.json: a split that is a list", "data.json", "field split", "expected an object")
def _(b):
    file, words = experiment(b)
    edit_json(file, lambda values: values.update(split=["case_0"]))
    return words


def state(story: str, change: Callable[[dict, dict], object], *says: str) -> None:
    @bad(f"checkpoint: {story}", "last.safetensors", *says)
    def _(b):
        from gliodistill.training.checkpoint import read_tensors, write_tensors

        file = b.copy("training") / "teacher" / "last.safetensors"
        tensors, facts = read_tensors(file)
        change(tensors, facts)
        write_tensors(file, tensors, facts)
        (file.parent / "summary.json").unlink()
        return (*train(b), "-o", b.root / "run", "--resume", "--only", "teacher")


state("no state of the random generator", lambda tensors, _: tensors.pop("random/cpu"), "got 'cpu'")
state(
    "a moment of no parameter",
    lambda tensors, _: tensors.update({"optimiser/x/exp_avg": tensors["random/cpu"]}),
    "does not hold the state of this run",
)
state("a step before the first", lambda _, facts: facts.update(step=-1), "field step, got -1")
state("a step that is text", lambda _, facts: facts.update(step="6"), "field step, got '6'")


@bad("strata: a column named twice", "strata.csv", "field column 'site'", "each column once")
def _(b, program):
    _, words = scores(b, program)
    file = b.root / "strata.csv"
    file.write_text("id,site,site\ncase_0,a,b\ncase_1,b,a\ncase_2,a,a\n")
    return (*words, "--strata", file)


@table.row("a summary that says [1] beside a prediction: the codes alone tell", code=0)
def _(b):
    folder = predictions(b)
    for case in ("case_0", "case_1", "case_2"):
        (folder / f"{case}.json").write_text("[1]")
    yield evaluate(b, folder)
    found = json.loads((b.root / "evaluation" / "scores.json").read_text())
    assert found["summary"]["WT"]["dice"]["mean"] == 1.0


@table.row("--resume beside a summary of 3000 brackets: that study is segmented again", code=0)
def _(b, program):
    assert program(*segment(b)).code == 0
    label, note = b.out / "case_0.nii.gz", b.out / "case_0.json"
    good = label.read_bytes()
    label.write_bytes(b"")
    note.write_text(DEEP)
    yield ("segment", b.data / "case_0", "-m", b.root / "model", "-o", b.out, "--resume")
    assert label.read_bytes() == good
    assert json.loads(note.read_text())["id"] == "case_0"


@table.row("prepare beside a study.json that says [1]: that study is prepared again", code=0)
def _(b, program):
    assert program(*prepare(b)).code == 0
    good = (b.out / "case_1" / "study.json").read_bytes()
    (b.out / "case_1" / "study.json").write_text("[1]")
    yield prepare(b)
    assert (b.out / "case_1" / "study.json").read_bytes() == good


test_hostile = table.test()


@pytest.mark.parametrize("text", [BOMB, f"a: {DEEP}\n", f"a: [{'x, ' * 40_000}x]\n"])
def test_hostile_yaml_is_refused_at_once(bench, program, text):
    """Less than a tenth of what the aliases took; processor time, not the clock's."""
    file = bench.copy("recipe")
    program(*train(bench, "--set", "a"))  # what is imported is not counted
    file.write_text(text)
    began = time.process_time()
    assert program("train", file, "--data", bench.data, "-o", bench.out).code == 1
    assert time.process_time() - began < 1


def test_an_error_shows_little_of_what_it_got():
    """``repr`` of values that share parts is exponential, and of integers it is refused."""
    from gliodistill.errors import GliodistillError

    value: object = "x"
    for _ in range(30):
        value = [value] * 9
    error = GliodistillError("no", got=value, field="y" * 10**6, file="z" * 10**6)
    assert len(str(error)) < 6000
    assert "bits" in str(GliodistillError("no", got=10**5000))
    assert len(str(GliodistillError("no", got=np.zeros(10**6)))) < 1000
