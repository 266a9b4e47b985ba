"""Bad input, from end to end: one line that names the trouble, an exit code, and nothing left
behind or changed.
"""

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tiny_cohort
from field.edits import edit_header, edit_voxels, evaluate, predictions, prepare, segment, train
from field.table import Table

table = Table()
bad = table.row


# Images


@bad("truncated gzip", "case_0_flair.nii.gz", "gzip", "got", "expected")
def _(b):
    b.file().write_bytes(b.file().read_bytes()[:-40])
    return segment(b)


@bad("gzip with a flipped bit", "case_0_t2.nii.gz", "gzip", "got", "expected")
def _(b):
    content = bytearray(b.file("t2").read_bytes())
    content[len(content) // 2] ^= 8
    b.file("t2").write_bytes(bytes(content))
    return segment(b)


@bad("wrong magic", "case_0_t1.nii.gz", "field magic", "got", "expected")
def _(b):
    edit_header(b.file("t1"), 344, b"nix\0")
    return segment(b)


@bad("text that claims to be an image", "case_0_flair.nii.gz", "got", "expected")
def _(b):
    b.file().write_text("<html>404</html>")
    return segment(b)


@bad("empty file", "case_0_flair.nii.gz")
def _(b):
    b.file().write_bytes(b"")
    return segment(b)


@bad("NaN voxels", "case_0_flair.nii.gz", "field voxels", "got 1", "expected")
def _(b):
    def strike(data: np.ndarray) -> np.ndarray:
        data = data.astype(np.float32)
        data[3, 4, 5] = np.nan
        return data

    edit_voxels(b.file(), strike)
    return segment(b)


@bad("a 4-D image", "case_0_flair.nii.gz", "got", "expected")
def _(b):
    edit_voxels(b.file(), lambda data: np.stack([data, data], axis=-1))
    return segment(b)


@bad(
    "grids that do not match",
    "case_0",
    "different grids",
    "field FLAIR",
    "got",
    "expected",
    "co-register",
)
def _(b):
    edit_voxels(b.file(), lambda data: data[:, :, 1:])
    return segment(b)


@bad("an affine of zeros", "case_0_flair.nii.gz", "field sform", "got", "expected")
def _(b):
    edit_header(b.file(), 280, bytes(48))
    return segment(b)


@bad("an affine elsewhere", "case_0", "field FLAIR", "got", "expected the grid of T1")
def _(b):
    affine = tiny_cohort.AFFINE.copy()
    affine[0, 3] += 7
    edit_voxels(b.file(), lambda data: data, affine)
    return segment(b)


@bad("images that are empty", "case_0", "empty")
def _(b):
    for kind in tiny_cohort.NAMES.values():
        edit_voxels(b.file(kind), np.zeros_like)
    return segment(b)


@bad("a bad study beside good ones: a line each", "case_1_flair.nii.gz", "case_2", lines=2)
def _(b):
    b.file("flair", "case_1").write_bytes(b"")
    b.file("flair", "case_2").unlink()
    shutil.rmtree(b.data / "case_0")
    return ("segment", b.data, "-m", b.copy("model"), "-o", b.out)


# Labels


@bad(
    "unknown label codes",
    "case_0_seg.nii.gz",
    "field labels",
    "got [9]",
    "expected 0 or",
    "--labels",
)
def _(b):
    b.only()
    edit_voxels(b.file("seg"), lambda data: np.where(data == 1, 9, data).astype(np.uint8))
    return prepare(b, "--labels", "brats2021")


@bad(
    "codes of no convention",
    "data",
    "fit no convention",
    "field labels",
    "got [2, 4, 7]",
    "brats2024 [1, 2, 3, 4]",
)
def _(b):
    for case in ("case_0", "case_1", "case_2"):
        edit_voxels(b.file("seg", case), lambda data: np.where(data == 1, 7, data).astype(np.uint8))
    return prepare(b)


@bad(
    "ambiguous labels",
    "ambiguous label convention",
    "field labels",
    "expected one of",
    "--labels NAME",
)
def _(b):
    # Without enhancing tumour: which code that would have is open.
    edit_voxels(b.file("seg"), lambda data: np.where(data == 4, 1, data).astype(np.uint8))
    b.file("seg").rename(b.root / "drawn.nii.gz")
    b.file("t1").rename(b.root / "image.nii.gz")
    (b.root / "studies.csv").write_text("id,t1,truth\nx,image.nii.gz,drawn.nii.gz\n")
    return ("prepare", b.root / "studies.csv", "-o", b.out)


@bad(
    "unknown convention to read",
    "unknown label convention",
    "field labels",
    "got brats1999",
    "brats2021",
)
def _(b):
    return prepare(b, "--labels", "brats1999")


@bad("unknown convention to write", "got brats1999", "brats2021")
def _(b):
    return segment(b, "--labels", "brats1999")


@bad("label map with fractions", "case_0_seg.nii.gz", "got", "expected")
def _(b):
    b.only()
    edit_voxels(b.file("seg"), lambda data: data.astype(np.float32) * 0.7)
    return prepare(b, "--labels", "brats2021")


# Studies and folders


@bad(
    "a sequence that the model needs is missing",
    "case_0",
    "T1CE",
    "field sequences",
    "got T1, T2, FLAIR",
    "expected T1",
)
def _(b):
    b.file("t1ce").unlink()
    return segment(b)


@bad("an empty folder", "nothing_here", "no study found", "got 0 entries", "expected one of brats")
def _(b):
    (b.root / "nothing_here").mkdir()
    return ("inspect", b.root / "nothing_here")


@bad("a folder of other things", "no study found", "notes.txt", "expected one of brats")
def _(b):
    shutil.rmtree(b.data)
    b.data.mkdir()
    (b.data / "notes.txt").write_text("nothing")
    return ("segment", b.data, "-m", b.copy("model"), "-o", b.out)


@bad("a path that does not exist", "nowhere", "no such file or folder", "field path")
def _(b):
    return ("segment", b.root / "nowhere", "-m", b.copy("model"), "-o", b.out)


@bad("two studies with the same id", "two studies with the same id", "got case_0")
def _(b):
    shutil.copytree(b.data / "case_0", b.root / "again" / "case_0")
    return ("segment", b.data, b.root / "again", "-m", b.copy("model"), "-o", b.out)


@bad("a manifest that names a missing file", "studies.csv", "gone.nii.gz")
def _(b):
    (b.root / "studies.csv").write_text(
        "id,t1,t1ce,t2,flair\nx,gone.nii.gz,gone.nii.gz,gone.nii.gz,gone.nii.gz\n"
    )
    return ("segment", b.root / "studies.csv", "-m", b.copy("model"), "-o", b.out)


@bad("a dataset.json that is not JSON", "dataset.json", "field JSON", "got", "expected")
def _(b):
    (b.data / "dataset.json").write_text('{"modality": ')
    return prepare(b)


@bad("unknown layout", "unknown layout", "field layout", "got dicom", "expected bids, brats")
def _(b):
    return prepare(b, "--layout", "dicom")


@bad("several layouts", "data", "several layouts fit", "got brats, msd", "--layout NAME")
def _(b):
    (b.data / "dataset.json").write_text('{"modality": {"0": "FLAIR"}}')
    return train(b)


@bad("a layout that is not there", "data", "no study found", "expected studies in layout bids")
def _(b):
    return evaluate(b, None, "--layout", "bids")


@bad("unknown sequence", "unknown sequence", "got 'DWI'", "expected T1: t1")
def _(b):
    return prepare(b, "--sequences", "T1,DWI")


@bad("settings from two places", "--recipe", "expected either")
def _(b):
    return prepare(b, "--recipe", b.copy("recipe"), "--spacing", "2")


# Outputs


@bad("output under a file", "out", "Not a directory")
def _(b):
    (b.root / "file").write_text("in the way")
    return ("segment", b.data, "-m", b.copy("model"), "-o", b.root / "file" / "out")


@bad("output is a file", "out", "File exists")
def _(b):
    b.out.write_text("in the way")
    return segment(b)


@bad("cache is a file", "out", "File exists")
def _(b):
    b.out.write_text("in the way")
    return prepare(b)


@bad("phantoms into a file", "out", "File exists")
def _(b):
    b.out.write_text("in the way")
    return ("phantom", b.out, "-n", "1", "--spacing", "6", "--jobs", "1")


@bad("segmentations exist", "case_0.nii.gz", "exist", "got 1 of 1", "resume")
def _(b):
    b.out.mkdir()
    (b.out / "case_0.nii.gz").write_text("precious")
    return segment(b)


@bad("a training exists", "out", "exists", "--resume")
def _(b):
    b.out.mkdir()
    (b.out / "recipe.yaml").write_text("precious")
    return train(b)


@bad("a model exists", "out", "exists", "expected a new")
def _(b):
    b.out.mkdir()
    (b.out / "model.json").write_text("precious")
    return ("export", b.copy("training"), "-o", b.out)


@bad("a cache folder that holds something else", "out", "got thesis.tex")
def _(b):
    b.out.mkdir()
    (b.out / "thesis.tex").write_text("precious")
    return prepare(b)


@bad("an evaluation where a file is", "taken", "cannot write", "check the folder")
def _(b):
    (b.root / "taken").write_text("precious")
    return ("evaluate", predictions(b), b.data, "-o", b.root / "taken")


# Recipes


def with_recipe(b, change: Callable[[dict], None]) -> Path:
    import yaml

    file = b.copy("recipe")
    values = yaml.safe_load(file.read_text())
    change(values)
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    return file


@bad(
    "no such recipe",
    "nowhere",
    "no such recipe",
    "expected a file, or one of any_subset, assistant_chain, compression",
)
def _(b):
    return train(b, recipe=Path("nowhere"))


@bad("recipe not YAML", "tiny.yaml", "got line 2", "expected valid YAML")
def _(b):
    b.copy("recipe").write_text("name: [tiny\nruns: }")
    return train(b, recipe=b.root / "tiny.yaml")


@bad("recipe a list", "tiny.yaml", "got ['name']", "expected a mapping")
def _(b):
    b.copy("recipe").write_text("- name")
    return train(b, recipe=b.root / "tiny.yaml")


@bad("recipe that wants to run code", "tiny.yaml", "field tag in line 1", "python/object/apply")
def _(b):
    b.copy("recipe").write_text("name: !!python/object/apply:os.system ['touch hacked']")
    return train(b, recipe=b.root / "tiny.yaml")


@bad("recipe is a folder", "data", "recipe", "expected a file")
def _(b):
    return train(b, recipe=b.data)


@bad(
    "unknown key",
    "tiny.yaml",
    "unknown key",
    "field sampling.pacth",
    "expected patch, batch",
    "did you mean patch?",
)
def _(b):
    return train(b, recipe=with_recipe(b, lambda r: r["sampling"].update(pacth=[16, 16, 16])))


@bad("value of the wrong type", "tiny.yaml", "field training.steps", "got 'many'", "expected")
def _(b):
    return train(b, recipe=with_recipe(b, lambda r: r["training"].update(steps="many")))


@bad("value out of range", "tiny.yaml", "field training.optimiser.rate", "got -1", "expected")
def _(b):
    return train(b, "--set", "training.optimiser.rate=-1")


@bad("no runs", "tiny.yaml", "field runs", "expected")
def _(b):
    return train(b, recipe=with_recipe(b, lambda r: r.update(runs={})))


@bad(
    "unknown network",
    "tiny.yaml",
    "field runs.distilled.network",
    "got unett",
    "expected attention_fused",
    "did you mean unet?",
)
def _(b):
    return train(b, "--set", "runs.distilled.network.name=unett")


@bad(
    "unknown network option",
    "tiny.yaml",
    "runs.distilled.network",
    "got width",
    "expected one of",
    "did you mean widths?",
)
def _(b):
    return train(b, "--set", "runs.distilled.network.options.width=3")


@bad(
    "unknown method",
    "tiny.yaml",
    "field runs.distilled.method.name",
    "got compresion",
    "expected any_subset",
    "did you mean compression?",
)
def _(b):
    return train(b, "--set", "runs.distilled.method.name=compresion")


@bad(
    "unknown method option",
    "tiny.yaml",
    "field runs.distilled.method.options.lossses",
    "expected",
    "did you mean losses?",
)
def _(b):
    return train(b, "--set", "runs.distilled.method.options.lossses=3")


@bad(
    "unknown tap",
    "tiny.yaml",
    "field runs.distilled.method",
    "got encoder9",
    "expected one of encoder0, bottleneck",
)
def _(b):
    return train(
        b,
        "--set",
        "runs.distilled.method.options={teacher: teacher, losses: {attention_transfer: {taps:"
        " [[encoder9, encoder0]]}}}",
    )


@bad(
    "teacher that is no run",
    "tiny.yaml",
    "field runs.distilled.method.options.teacher",
    "got professor",
    "expected teacher",
)
def _(b):
    return train(b, "--set", "runs.distilled.method.options.teacher=professor")


@bad("--set without a value", "field --set", "got training.steps", "expected key.key=value")
def _(b):
    return train(b, "--set", "training.steps")


@bad("--set of an unknown key", "unknown key", "field training.stepz", "did you mean steps?")
def _(b):
    return train(b, "--set", "training.stepz=3")


@bad(
    "patch that the network cannot halve",
    "tiny.yaml",
    "field sampling.patch",
    "got [15, 16, 16]",
    "expected multiples of 2",
)
def _(b):
    return train(b, "--set", "sampling.patch=[15, 16, 16]")


@bad("--only of no run", "tiny.yaml", "field --only", "got students", "expected teacher, distilled")
def _(b):
    return train(b, "--only", "students")


@bad("a student without its teacher", "teacher is not trained", "got teacher")
def _(b):
    return train(b, "--only", "distilled")


@bad("more validation than patients", "field validation", "got 3 of 3 patients", "expected")
def _(b):
    return train(b, "--set", "data.validation=3")


@bad("validation by an id that is not there", "field validation", "got case_7", "case_0")
def _(b):
    return train(b, "--set", "data.validation=[case_7]")


@bad("training without truth", "no labelled study", "data")
def _(b):
    for case in ("case_0", "case_1", "case_2"):
        b.file("seg", case).unlink()
    return train(b)


# Caches


def cache(b, program) -> Path:
    folder = b.root / "cache"
    assert program("prepare", b.data, "-o", folder, "--jobs", "1").code == 0
    return folder


@bad(
    "cache of other settings",
    "cache",
    "other settings",
    "field preparation",
    "got",
    "expected",
    "prepare again",
)
def _(b, program):
    return (
        "train",
        b.copy("recipe"),
        "--data",
        cache(b, program),
        "-o",
        b.out,
        "--set",
        "data.spacing=[2, 2, 2]",
    )


@bad("cache of another format", "cache", "another format", "got 99", "expected 1")
def _(b, program):
    index = cache(b, program) / "cache.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"format": 99}))
    return ("train", b.copy("recipe"), "--data", index.parent, "-o", b.out)


@bad("cache with a study gone", "case_1", "missing from the cache", "prepare")
def _(b, program):
    folder = cache(b, program)
    shutil.rmtree(folder / "case_1")
    return ("train", b.copy("recipe"), "--data", folder, "-o", b.out)


# Trainings and models


@bad(
    "export of what is no training",
    "data",
    "not a run folder",
    "expected recipe.yaml and data.json",
)
def _(b):
    return ("export", b.data, "-o", b.out)


@bad("export of an unfinished run", "distilled", "not finished", "--resume")
def _(b):
    folder = b.copy("training")
    (folder / "distilled" / "summary.json").unlink()
    return ("export", folder, "-o", b.out)


@bad("export of tampered weights", "best.safetensors", "checkpoint", "expected sha256")
def _(b):
    file = b.copy("training") / "distilled" / "best.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(bytes(content))
    return ("export", file.parents[1], "-o", b.out)


@bad("resume with another recipe", "recipe.yaml", "another recipe", "field runs.teacher.seed")
def _(b):
    return (
        "train",
        b.copy("recipe"),
        "--data",
        b.data,
        "-o",
        b.copy("training"),
        "--resume",
        "--set",
        "runs.teacher.seed=5",
    )


@bad("a model that is no model", "model.json", "not a model package", "gliodistill export")
def _(b):
    return ("segment", b.data, "-m", b.data, "-o", b.out)


def tampered(name: str) -> None:
    @bad(f"tampered {name}", name, "SHA-256", "got", "expected")
    def _(b):
        file = b.copy("model") / name
        content = bytearray(file.read_bytes())
        if name == "model.json":
            content = content.replace(b'"name": "tiny"', b'"name": "tinz"')
        else:
            content[-3] ^= 1
        file.write_bytes(bytes(content))
        return ("segment", b.data, "-m", file.parent, "-o", b.out)


for _name in ("model.json", "model.safetensors", "model.xml", "model.bin", "README.md"):
    tampered(_name)


@bad("half a model", "model.bin", "missing from the model package")
def _(b):
    (b.copy("model") / "model.bin").unlink()
    return ("segment", b.data, "-m", b.root / "model", "-o", b.out)


@bad(
    "a model of another format",
    "model.json",
    "another format",
    "field format",
    "got 99",
    "expected 2",
)
def _(b):
    file = b.copy("model") / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 99}))
    return ("segment", b.data, "-m", file.parent, "-o", b.out)


@bad(
    "unknown runtime",
    "unknown runtime",
    "field runtime",
    "got cuda",
    "expected onnx, openvino, torch",
)
def _(b):
    return segment(b, "--runtime", "cuda")


# Scores


@bad("a prediction is missing", "predictions", "case_1: no prediction")
def _(b):
    folder = predictions(b)
    (folder / "case_1.nii.gz").unlink()
    return evaluate(b, folder)


@bad("a prediction too many", "predictions", "stranger", "without a reference")
def _(b):
    folder = predictions(b)
    shutil.copyfile(folder / "case_1.nii.gz", folder / "stranger.nii.gz")
    return evaluate(b, folder)


@bad("a prediction on another grid", "case_1", "grids differ", "26×24×21", "26×24×22")
def _(b):
    folder = predictions(b)
    edit_voxels(folder / "case_1.nii.gz", lambda data: data[:, :, 1:])
    return evaluate(b, folder)


@bad(
    "predictions of another convention",
    "case_0",
    "unknown label codes",
    "got [3]",
    "--prediction-labels",
)
def _(b):
    folder = predictions(b)
    edit_voxels(
        folder / "case_0.nii.gz", lambda data: np.where(data == 4, 3, data).astype(np.uint8)
    )
    return evaluate(b, folder)


@bad("no predictions", "empty", "no predictions", "expected <id>.nii.gz")
def _(b):
    (b.root / "empty").mkdir()
    return evaluate(b, b.root / "empty")


@bad("no reference", "data", "no reference")
def _(b):
    folder = predictions(b)
    for case in ("case_0", "case_1", "case_2"):
        b.file("seg", case).unlink()
    return evaluate(b, folder)


@bad("unknown rules", "unknown rule set", "field rules", "got 'brats'", "expected plain")
def _(b):
    return evaluate(b, None, "--rules", "brats")


@bad("unknown task", "unknown task", "field task", "got 'liver'", "expected gli")
def _(b):
    return evaluate(b, None, "--task", "liver")


@bad("no probabilities", "case_0: no probability map", "empty")
def _(b):
    (b.root / "empty").mkdir()
    return evaluate(b, None, "--probabilities", b.root / "empty")


# Command lines


@bad("unknown command", "No such command", "--help", code=2)
def _(b):
    return ("segmnt", b.data)


@bad("unknown option", "--modle", "gliodistill segment --help", code=2)
def _(b):
    return ("segment", b.data, "--modle", "model")


@bad("missing argument", "PATH", "gliodistill inspect --help", code=2)
def _(b):
    return ("inspect",)


@bad("number out of range", "-n", "gliodistill phantom --help", code=2)
def _(b):
    return ("phantom", b.out, "-n", "0")


@bad("a word for a number", "--spacing", "gliodistill phantom --help", code=2)
def _(b):
    return ("phantom", b.out, "--spacing", "fine")


test_damaged = table.test()


@pytest.mark.parametrize("row", table.rows[::9], ids=[row.story for row in table.rows[::9]])
def test_json(row, bench, program, monkeypatch):
    """One JSON document on standard output, whose message is the line on standard error."""
    monkeypatch.chdir(bench.root)
    words = row.case(bench, program) if row.case.__code__.co_argcount == 2 else row.case(bench)
    said = program(*words, "--json")
    assert said.code == row.code
    document = json.loads(said.out)
    errors = [document["error"]] if "error" in document else list(document["failed"].values())
    assert len(said.lines) == len(errors)
    assert all(
        line.endswith(error["message"]) for line, error in zip(said.lines, errors, strict=True)
    )


def test_disk_full(bench, program):
    """A file-size limit stands for a full disk: nothing half-written stays."""
    words = segment(bench)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        said = program(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert said.code == 1
    assert len(said.lines) == 1 and "case_0.nii.gz: cannot write" in said.err
    assert not bench.out.exists()
