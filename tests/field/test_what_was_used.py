"""What an answer was made of: which file was which sequence, what was absent, what lay there
unused; in the table, as JSON, in the CSV, in Python and in the report of an evaluation.
"""

import csv
import json
import shutil
from pathlib import Path

from field.edits import segment
from field.table import Table
from gliodistill import Study, load_model
from gliodistill.studies.sequence import MRSequence

table = Table()
row = table.row

FILES = {name: f"case_0_{name.lower()}.nii.gz" for name in ("T1", "T1CE", "T2", "FLAIR")}


def shipped(b, *more: object) -> tuple[object, ...]:
    """Segment ``case_0`` with the model in the box, which does without sequences."""
    return ("segment", b.data / "case_0", "-o", b.out, "--threads", "1", *more)


def sequences(b) -> dict[str, object]:
    return json.loads((b.out / "case_0.json").read_text())["sequences"]


@row(
    "the table names the sequences and their files",
    "T1 T1CE T2 FLAIR",
    "used: case_0: T1 case_0_t1.nii.gz, T1CE case_0_t1ce.nii.gz, T2 case_0_t2.nii.gz,"
    " FLAIR case_0_flair.nii.gz",
    code=0,
)
def _(b):
    yield segment(b)
    assert sequences(b) == {"used": FILES, "absent": [], "unused": {}}


@row("a sequence that the model can do without is told as absent", "absent: T1CE", code=0)
def _(b):
    b.file("t1ce").unlink()
    yield shipped(b)
    told = sequences(b)
    assert told["absent"] == ["T1CE"] and list(told["used"]) == ["T1", "T2", "FLAIR"]


@row("one sequence is enough to say which", "used: case_0: FLAIR case_0_flair.nii.gz;", code=0)
def _(b):
    for kind in ("t1", "t1ce", "t2"):
        b.file(kind).unlink()
    yield shipped(b)
    assert sequences(b)["absent"] == ["T1", "T1CE", "T2"]


@row("--json holds the same", code=0)
def _(b):
    (b.data / "case_0" / "case_0_adc.nii.gz").write_bytes(b.file("t1").read_bytes())
    said = yield segment(b, "--json")
    document = json.loads(said.out)
    assert document["done"]["case_0"]["sequences"] == sequences(b)
    assert sequences(b)["unused"] == {"case_0_adc.nii.gz": "adc, none of the four sequences"}
    assert document["notes"] == [
        "case_0: case_0_adc.nii.gz: adc, none of the four sequences; not used"
    ]


@row("the CSV names files, and leaves what is absent empty", code=0)
def _(b):
    b.file("t1").unlink()
    (b.data / "case_0" / "case_0_t1_mask.nii.gz").write_bytes(b.file("t2").read_bytes())
    yield shipped(b)
    text = (b.out / "volumes.csv").read_text(encoding="utf-8")
    (line,) = csv.DictReader(text.splitlines())
    assert {name: line[name] for name in FILES} == FILES | {"T1": ""}
    assert line["unused"] == "case_0_t1_mask.nii.gz"


@row("no folder of this machine is told", code=0)
def _(b):
    yield segment(b)
    for file in ("case_0.json", "volumes.csv"):
        assert str(b.root) not in (b.out / file).read_text()


@row("a channel of a 4-D file is told with its number", "FLAIR anna.nii.gz#0", code=0)
def _(b):
    import nibabel as nib
    import numpy as np

    folder = b.root / "msd"
    (folder / "imagesTr").mkdir(parents=True)
    images = [nib.load(b.file(kind)) for kind in ("flair", "t1", "t1ce", "t2")]
    data = np.stack([np.asanyarray(image.dataobj) for image in images], axis=-1)
    picture = nib.Nifti1Image(data, images[0].affine)
    picture.set_qform(images[0].affine, 1)
    picture.set_sform(images[0].affine, 1)
    nib.save(picture, folder / "imagesTr" / "anna.nii.gz")
    names = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
    (folder / "dataset.json").write_text(json.dumps({"modality": names}))
    yield ("segment", folder, "-m", b.copy("model"), "-o", b.out)
    used = json.loads((b.out / "anna.json").read_text())["sequences"]["used"]
    assert used["T1CE"] == "anna.nii.gz#2"


@row("more than twenty notes are counted", "note: 5 more; gliodistill inspect lists them", code=0)
def _(b):
    for number in range(25):
        shutil.copyfile(b.file("t2"), b.data / "case_0" / f"case_0_dwi_{number}.nii.gz")
    said = yield segment(b)
    assert said.err.count("note: ") == 21


@row("pseudo-labels say what they were made of", code=0)
def _(b):
    yield ("pseudo-label", b.data / "case_0", "-m", b.copy("model"), "-o", b.out)
    facts = json.loads((b.out / "case_0" / "study.json").read_text())
    assert facts["sequences"] == {"used": FILES, "unused": {}}


@row("an evaluation says what its predictions were made of", code=0)
def _(b, program):
    for case in ("case_1", "case_2"):
        shutil.rmtree(b.data / case)
    truth = b.root / "truth"
    shutil.copytree(b.data, truth)
    b.file("t1ce").unlink()
    assert program(*shipped(b)).code == 0
    yield ("evaluate", b.out, truth, "-o", b.root / "scores", "--labels", "brats2021")
    scores = json.loads((b.root / "scores" / "scores.json").read_text())
    assert scores["provenance"]["predicted_from"] == "T1+T2+FLAIR"
    assert scores["provenance"]["sequences"] == "T1+T1CE+T2+FLAIR"
    assert "T1+T2+FLAIR" in (b.root / "scores" / "report.html").read_text()


test_what_was_used = table.test()


def test_python_names_the_files(bench):
    """A segmentation carries its sources; one of images in memory says which sequences."""
    predictor = load_model(bench.copy("model"), threads=1)
    study = Study.open(bench.data / "case_0")
    answer = predictor.segment(study)
    assert answer.sources.used == {MRSequence[name]: file for name, file in FILES.items()}
    assert answer.absent == ()
    memory = predictor.segment(Study("x", "x", study.images))
    assert memory.sources.used == dict.fromkeys(MRSequence)
    assert memory.summary()["sequences"]["used"] == dict.fromkeys(FILES)


def test_what_the_model_does_not_take(bench):
    """Sequences that a model has no channel for are unused, and say why."""
    sources = Study.open(bench.data / "case_0").sources.of((MRSequence.T1, MRSequence.FLAIR))
    assert list(sources.used) == [MRSequence.T1, MRSequence.FLAIR]
    assert sources.unused[FILES["T2"]] == "the model takes no T2"
    assert not Path(str(sources.used[MRSequence.T1])).is_absolute()
