"""How trainings start, fail to start, and are started again."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml

import tiny_cohort
from field.edits import edit_voxels, train
from field.table import Table

table = Table()
row = table.row
CASES = ("case_0", "case_1", "case_2")
RETRY = "finished after a first start that failed"


def summary(b, run="distilled"):
    return json.loads((b.out / run / "summary.json").read_text())


def stored(b):
    return yaml.safe_load((b.out / "recipe.yaml").read_text())


def no_gpu():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")


def relabel(b, change, cases=CASES):
    for case in cases:
        edit_voxels(b.file("seg", case), lambda data: change(data).astype(np.uint8))


def cached(b, program):
    """The three studies as a cache."""
    assert program("prepare", b.data, "-o", b.root / "cache", "--labels", "brats2021").code == 0
    return b.root / "cache"


def from_cache(b, program, *more):
    return ("train", b.copy("recipe"), "--data", cached(b, program), "-o", b.out, *more)


# The machine


@row(
    "a GPU is asked for where there is none, and no study is prepared for it",
    "no GPU can be used",
    "field runs.teacher.training.device",
    "got cuda",
    "training.device=auto",
)
def _(b):
    no_gpu()
    return train(b, "--set", "training.device=cuda")


@row("a GPU is asked for by the last run alone", "field runs.distilled.training.device")
def _(b):
    no_gpu()
    return train(b, "--set", "runs.distilled.training.device=cuda")


@row("a run on a GPU is left out with --only, so no GPU is needed", code=0)
def _(b):
    yield train(b, "--only", "teacher", "--set", "runs.distilled.training.device=cuda")
    assert summary(b, "teacher")["steps"] == 6 and not (b.out / "distilled").exists()


@row("a device that the toolkit does not know", "field training.device", "got 'mps'", "'cpu'")
def _(b):
    return train(b, "--set", "training.device=mps")


# Starts that fail, and are started again


@row(f"a GPU was asked for in vain: {RETRY}, on the processor", code=0)
def _(b, program):
    no_gpu()
    assert program(*train(b, "--set", "training.device=cuda")).code == 1
    yield train(b)
    assert summary(b)["device"] == "cpu"


def damaged_start(b, program):
    """A study is damaged, so that preparing fails after the others were prepared."""
    whole = b.file("flair", "case_2").read_bytes()
    b.file("flair", "case_2").write_bytes(whole[:-40])
    said = program(*train(b))
    assert said.code == 1 and "case_2_flair.nii.gz" in said.err
    b.file("flair", "case_2").write_bytes(whole)


@row(f"a study was damaged: {RETRY}, by the same command", code=0)
def _(b, program):
    damaged_start(b, program)
    yield train(b)
    assert summary(b)["steps"] == 6


@row(f"a study was damaged: {RETRY}, with --resume", code=0)
def _(b, program):
    damaged_start(b, program)
    yield train(b, "--resume")
    assert summary(b)["steps"] == 6


@row(f"a study was damaged: {RETRY}, by another recipe", code=0)
def _(b, program):
    damaged_start(b, program)
    yield train(b, "--resume", "--set", "training.steps=4", "--set", "data.validation=2")
    assert summary(b)["steps"] == 4
    assert stored(b)["data"]["validation"] == 2
    assert len(json.loads((b.out / "data.json").read_text())["split"]["training"]) == 1


@row(f"a study was damaged: {RETRY}, without that study", code=0)
def _(b, program):
    damaged_start(b, program)
    shutil.rmtree(b.data / "case_2")
    yield train(b)
    assert json.loads((b.out / "cache" / "cache.json").read_text())["studies"] == [*CASES[:2]]


@row(f"the rate was so high that the loss was infinite: {RETRY}, at a lower one", code=0)
def _(b, program):
    said = program(*train(b, "--set", "training.optimiser.rate=1.0e+30"))
    assert said.code == 1 and "not finite" in said.err
    yield train(b)
    lines = (b.out / "teacher" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


@row("a folder of something else is no start that failed", "exists", "expected a new folder")
def _(b):
    b.out.mkdir()
    (b.out / "thesis.tex").write_text("precious")
    return train(b)


@row("a training with a checkpoint is not begun anew", "exists", "--resume")
def _(b):
    shutil.copytree(b.copy("training"), b.out)
    (b.out / "distilled" / "summary.json").unlink()
    (b.out / "teacher" / "summary.json").unlink()
    return train(b)


# Resuming


def stopped(b, program, *settings):
    """A training of which the second run is still to come."""
    assert program(*train(b, "--only", "teacher", *settings)).code == 0
    (b.root / "tiny.yaml").unlink()


@row(
    "--resume without the --set of the start goes on with the stored recipe and says so",
    "note: ",
    "training.steps 4 (given: 6)",
    code=0,
)
def _(b, program):
    stopped(b, program, "--set", "training.steps=4")
    said = yield train(b, "--resume")
    assert summary(b)["steps"] == 4 and stored(b)["runs"]["distilled"]["training"]["steps"] == 4
    assert said.err.count("note: ") == 1


@row("--resume with the --set of the start has nothing to say", code=0)
def _(b, program):
    stopped(b, program, "--set", "training.steps=4")
    said = yield train(b, "--resume", "--set", "training.steps=4")
    assert summary(b)["steps"] == 4 and said.err == ""


@row(
    "--resume after the recipe was edited goes on with the stored one, --json has the note",
    '"notes": ["',
    "sampling.batch 2 (given: 4)",
    code=0,
)
def _(b, program):
    stopped(b, program)
    words = train(b, "--resume", "--json")
    text = words[1].read_text()
    words[1].write_text(text.replace("batch: 2", "batch: 4"))
    said = yield words
    assert stored(b)["sampling"]["batch"] == 2
    assert len(json.loads(said.out)["notes"]) == 1


@row(
    "--resume with a --set that contradicts the stored recipe",
    "another recipe",
    "field runs.teacher.training.steps, runs.distilled.training.steps",
    "got 9, 9",
    "expected 6, 6",
)
def _(b):
    shutil.copytree(b.copy("training"), b.out)
    return train(b, "--resume", "--set", "training.steps=9")


@row(
    "--resume with a --set of a whole mapping",
    "field runs.distilled.network.options.widths",
    "got [6, 12]",
    "expected [4, 8]",
)
def _(b):
    shutil.copytree(b.copy("training"), b.out)
    return train(b, "--resume", "--set", "runs.distilled.network.options={widths: [6, 12]}")


@row("--resume with a recipe of another name", "field name", "got other", "expected tiny")
def _(b):
    shutil.copytree(b.copy("training"), b.out)
    return train(b, "--resume", "--set", "name=other")


@row("--resume on another machine: cut patches in the loop, and save more often", code=0)
def _(b, program):
    whole = json.loads((b.copy("training") / "distilled" / "summary.json").read_text())
    stopped(b, program)
    yield train(b, "--resume", "--set", "training.prefetch=0", "--set", "training.save_every=1")
    assert summary(b)["weights_sha256"] == whole["weights_sha256"]
    kept = stored(b)["runs"]["distilled"]["training"]
    assert (kept["prefetch"], kept["save_every"]) == (0, 1)


@row("--resume with a recipe that has a run more trains it as well", code=0)
def _(b, program):
    stopped(b, program, "--set", "training.steps=4")
    words = train(b, "--resume")
    values = yaml.safe_load(words[1].read_text())
    values["runs"]["more"] = {"network": tiny_cohort.STUDENT}
    words[1].write_text(yaml.safe_dump(values, sort_keys=False))
    yield words
    assert (summary(b)["steps"], summary(b, "more")["steps"]) == (4, 6)


@row(
    "a recipe that another version stored",
    "recipe.yaml",
    "field sampling.shape",
    "written by gliodistill 9.9",
)
def _(b):
    shutil.copytree(b.copy("training"), b.out)
    recipe, data = b.out / "recipe.yaml", b.out / "data.json"
    recipe.write_text(recipe.read_text().replace("  batch: 2", "  batch: 2\n  shape: round"))
    data.write_text(json.dumps(json.loads(data.read_text()) | {"version": "9.9"}))
    return ("export", b.out, "-o", b.root / "model")


# Patches


@row(
    "a patch larger than every study along every axis",
    "patch is larger than every study",
    "field sampling.patch",
    "got [64, 64, 64]",
    "×",
)
def _(b):
    return train(b, "--set", "sampling.patch=[64, 64, 64]")


@row("a patch for 1 mm where a cache is at 4 mm", "patch is larger than every study", "7×7×6")
def _(b, program):
    words = ("prepare", b.data, "-o", b.root / "cache", "--spacing", "4")
    assert program(*words).code == 0
    words = ("train", b.copy("recipe"), "--data", b.root / "cache", "-o", b.out)
    return (*words, "--set", "data.spacing=[4, 4, 4]")


@row("a patch that only rounds a study up to what the network takes", code=0)
def _(b):
    yield train(b, "--set", "sampling.patch=[32, 16, 16]", "--only", "teacher")
    assert summary(b, "teacher")["steps"] == 6


@row(
    "a patch larger than the studies along one axis is padding, and told",
    "note: patches of 16×16×48 voxels are larger than 2 of 2 training studies",
    "padding",
    code=0,
)
def _(b):
    yield train(b, "--set", "sampling.patch=[16, 16, 48]", "--only", "teacher")
    assert summary(b, "teacher")["steps"] == 6


# Tumours


@row(
    "a cohort without any tumour",
    "no training study has a tumour",
    "got 2 label maps without WT",
    "inspect --deep",
)
def _(b):
    relabel(b, np.zeros_like)
    return train(b, "--labels", "brats2021")


@row("a cache without any tumour", "cache", "no training study has a tumour")
def _(b, program):
    relabel(b, np.zeros_like)
    return from_cache(b, program)


@row("a cohort whose only tumour validates", "no training study has a tumour")
def _(b):
    relabel(b, np.zeros_like, CASES[1:])
    return train(b, "--labels", "brats2021", "--set", "data.validation=[case_0]")


@row("a cohort of resection cavities alone has no tumour", "no training study has a tumour")
def _(b):
    relabel(b, lambda data: 4 * (data > 0))
    return train(b, "--labels", "brats2024")


@row(
    "a study without a tumour is counted at the start",
    "note: 1 of 2 training studies have no tumour (case_1)",
    code=0,
)
def _(b):
    relabel(b, np.zeros_like, ("case_1",))
    yield train(
        b, "--labels", "brats2021", "--only", "teacher", "--set", "data.validation=[case_0]"
    )
    assert summary(b, "teacher")["steps"] == 6


@row(
    "no study has enhancing tumour: what is trained will not predict it",
    "note: no training study has ET",
    "note: no validation study has ET",
    code=0,
)
def _(b):
    relabel(b, lambda data: np.where(data == 4, 1, data))
    said = yield train(b, "--labels", "brats2021", "--only", "teacher", "--json")
    assert len(json.loads(said.out)["notes"]) == said.err.count("note: ") == 2


@row("studies with tumours of all regions have nothing to be told", code=0)
def _(b):
    said = yield train(b, "--only", "teacher")
    assert said.err == "" and summary(b, "teacher")["dice"] is not None


# Pseudo-labels


def with_pseudo(b, *more):
    words = train(b, *more)
    values = yaml.safe_load(words[1].read_text())
    values["runs"] = {
        "student": {
            "network": tiny_cohort.STUDENT,
            "method": {"name": "omni"},
            "pseudo": {"share": 0.5},
        }
    }
    words[1].write_text(yaml.safe_dump(values, sort_keys=False))
    return words


@row(
    "studies that an expert labelled are given as --pseudo",
    "plain",
    "not pseudo-labels",
    "got 1 labelled studies",
    "--data",
)
def _(b):
    tiny_cohort.write_study(b.root / "plain", "stranger", 30)
    return with_pseudo(b, "--pseudo", b.root / "plain")


@row("a cache of studies that an expert labelled is given as --pseudo", "not of pseudo-labels")
def _(b, program):
    tiny_cohort.write_study(b.root / "plain", "stranger", 30)
    words = ("prepare", b.root / "plain", "-o", b.root / "cache", "--labels", "brats2021")
    assert program(*words).code == 0
    return with_pseudo(b, "--pseudo", b.root / "cache")


@row("a cache of what pseudo-label wrote is taken as --pseudo", code=0)
def _(b, program):
    tiny_cohort.write_study(b.root / "pool", "stranger", 30, labelled=False)
    made, cache = b.root / "pseudo", b.root / "cache"
    assert program("pseudo-label", b.root / "pool", "-m", b.copy("model"), "-o", made).code == 0
    assert program("prepare", made, "-o", cache).code == 0
    yield with_pseudo(b, "--pseudo", cache)
    assert summary(b, "student")["pseudo"]["studies"] == 1


@row("labelled studies without a tumour may stand beside pseudo-labels with one", "note: ", code=0)
def _(b, program):
    relabel(b, np.zeros_like)
    tiny_cohort.write_study(b.root / "pool", "stranger", 30, labelled=False)
    made = b.root / "pseudo"
    assert program("pseudo-label", b.root / "pool", "-m", b.copy("model"), "-o", made).code == 0
    yield with_pseudo(b, "--pseudo", made, "--labels", "brats2021")
    assert summary(b, "student")["steps"] == 6


test_training_starts = table.test()


def test_a_network_is_not_compiled_where_there_is_no_compiler(bench, program, monkeypatch):
    monkeypatch.setenv("PATH", str(bench.root))
    monkeypatch.delenv("CXX", raising=False)
    said = program(*train(bench, "--set", "training.compile=true"))
    assert said.code == 1 and len(said.lines) == 1 and "C++ compiler" in said.err
    assert not bench.out.exists()
