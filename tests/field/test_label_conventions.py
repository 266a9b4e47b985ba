"""What the codes of label maps mean: the same 1, 2, 3, 4 of many years, tasks and tools.

Phantoms carry BraTS 2021 codes (1 necrosis, 2 oedema, 4 enhancing tumour); each row renumbers them
as another data set would.
"""

import json
import shutil
from pathlib import Path

import numpy as np

from field.edits import edit_voxels, predictions, prepare, train
from field.table import Table
from gliodistill.preparation import Cache

table = Table()

TO = {
    "brats2013": {1: 1, 2: 2, 4: 4},
    "brats2023": {1: 1, 2: 2, 4: 3},
    "msd": {1: 2, 2: 1, 4: 3},
    "brats-ped": {1: 2, 2: 4, 4: 1},
}
OLD, NEW = ("t1", "t1ce", "t2", "flair", "seg"), ("t1n", "t1c", "t2w", "t2f", "seg")


def renumber(b, case: str, codes: dict[int, int]) -> None:
    """Write a study's label map with other codes."""

    def change(data: np.ndarray) -> np.ndarray:
        table = np.arange(256)
        for old, new in codes.items():
            table[old] = new
        return table[data].astype(np.uint8)

    edit_voxels(b.file("seg", case), change)


def cavity(b, case: str, code: int) -> None:
    """Make a slab of the core something else: a cavity, a cyst, non-enhancing tumour."""

    def change(data: np.ndarray) -> np.ndarray:
        core = np.argwhere(data == 1)
        data[core[0][0], core[:, 1].min() : core[:, 1].max(), core[:, 2].min() :][
            data[core[0][0], core[:, 1].min() : core[:, 1].max(), core[:, 2].min() :] > 0
        ] = code
        return data

    edit_voxels(b.file("seg", case), change)


def rename(b, case: str, id: str, names: tuple[str, ...] = NEW, separator: str = "-") -> None:
    """Give a study another id and other file names."""
    folder = b.data / case
    for old, new in zip(OLD, names, strict=True):
        b.file(old, case).rename(folder / f"{id}{separator}{new}.nii.gz")
    folder.rename(b.data / id)


def manifest(b, labels: dict[str, str], name: str = "studies.csv") -> Path:
    """A table of the three studies with the convention of each."""
    rows = ["id,t1,t1ce,t2,flair,truth,labels"]
    for case, convention in labels.items():
        files = [f"data/{case}/{case}_{kind}.nii.gz" for kind in OLD]
        rows.append(",".join((case, *files, convention)))
    file = b.root / name
    file.write_text("\n".join(rows) + "\n")
    return file


def inspect(b) -> tuple[object, ...]:
    return ("inspect", b.data, "--json")


def told(said) -> str | None:
    convention: str | None = json.loads(said.out)["convention"]
    return convention


# Conventions that are told


@table.row("maps as BraTS made them up to 2021", code=0)
def _(b):
    said = yield inspect(b)
    assert told(said) == "brats2021"


@table.row("maps as BraTS makes them from 2023 on", code=0)
def _(b):
    for n in range(3):
        renumber(b, f"case_{n}", TO["brats2023"])
        rename(b, f"case_{n}", f"BraTS-GLI-0000{n}-000")
    said = yield inspect(b)
    assert told(said) == "brats2023"


@table.row("metastases of 2023, in which enhancing tumour is all there is", code=0)
def _(b):
    for n in range(3):
        renumber(b, f"case_{n}", {1: 3, 2: 3, 4: 3} if n else TO["brats2023"])
        rename(b, f"case_{n}", f"BraTS-MET-0000{n}-000")
    said = yield inspect(b)
    assert told(said) == "brats2023"


@table.row("after treatment, 2024: a cavity besides enhancing tumour", code=0)
def _(b):
    for n in range(3):
        renumber(b, f"case_{n}", TO["brats2023"])
        if n:
            cavity(b, f"case_{n}", 4)
        rename(b, f"case_{n}", f"BraTS-GLI-0200{n}-100")
    said = yield inspect(b)
    assert told(said) == "brats2024"


@table.row("Decathlon codes in folders named as of old: anatomy tells", code=0)
def _(b):
    for n in range(3):
        renumber(b, f"case_{n}", TO["msd"])
    said = yield inspect(b)
    assert told(said) == "msd"


@table.row("children of 2024, with oedema in one of three", code=0)
def _(b):
    for n in range(3):
        renumber(b, f"case_{n}", TO["brats-ped"] if n else TO["brats-ped"] | {2: 2})
        rename(b, f"case_{n}", f"BraTS-PED-0000{n}-000")
    said = yield inspect(b)
    assert told(said) == "brats-ped"


# Cohorts that were mixed


@table.row(
    "maps with 1, 2, 4 and with 1, 2, 3 in one folder are no resection cavities",
    "of different conventions",
    "2 maps (case_0, case_1) with code 4 and no 3",
    "1 map (case_2) with code 3 and no 4",
    "--labels NAME",
    "column labels of a manifest",
)
def _(b):
    renumber(b, "case_2", TO["brats2023"])
    return prepare(b)


@table.row("the same for training", "of different conventions")
def _(b):
    renumber(b, "case_2", TO["brats2023"])
    return train(b)


@table.row("the same under names of 2023", "of different conventions", "none with both")
def _(b):
    for n in range(3):
        if n:
            renumber(b, f"case_{n}", TO["brats2023"])
        rename(b, f"case_{n}", f"BraTS-GLI-0000{n}-000")
    return prepare(b)


@table.row(
    "maps of 2021 under names of 2023, among maps with a cavity",
    "of different conventions",
    "1 map (BraTS-GLI-00000-000) with no 3 and a 4 that surrounds 1",
    "2 maps (BraTS-GLI-00001-000, BraTS-GLI-00002-000) with both",
)
def _(b):
    for n in range(3):
        if n:
            renumber(b, f"case_{n}", TO["brats2023"])
            cavity(b, f"case_{n}", 4)
        rename(b, f"case_{n}", f"BraTS-GLI-0000{n}-000")
    return prepare(b)


@table.row(
    "official 2021 beside official 2023, each under its own names",
    "of different conventions",
    "2 maps (case_0, case_1) speak for brats2021",
    "1 map (BraTS-GLI-00002-000) speaks for brats2023",
)
def _(b):
    renumber(b, "case_2", TO["brats2023"])
    rename(b, "case_2", "BraTS-GLI-00002-000")
    return prepare(b)


@table.row(
    "official 2021 beside official 2024 with a cavity",
    "of different conventions",
    "speaks for brats2024",
)
def _(b):
    renumber(b, "case_2", TO["brats2023"])
    cavity(b, "case_2", 4)
    rename(b, "case_2", "BraTS-GLI-02002-100")
    return prepare(b)


@table.row(
    "Decathlon codes beside those of 2023: the same numbers, oedema elsewhere",
    "of different conventions",
    "1 map (case_1) with code 1 outermost, as oedema is in msd",
    "code 2 outermost, as oedema is in brats2023",
)
def _(b):
    for n in range(3):
        renumber(b, f"case_{n}", TO["msd" if n == 1 else "brats2023"])
    return prepare(b)


@table.row(
    "children's codes under the names of 2021",
    "of different conventions",
    "code 4 outermost, as oedema is in brats-ped",
    "file names as in BraTS up to 2021, as of brats2021",
)
def _(b):
    for n in range(3):
        renumber(b, f"case_{n}", TO["brats-ped"])
    return prepare(b)


# Two readings


@table.row(
    "1, 2, 3, 4 under loose names: cavity (2024) or enhancing tumour (2012–2016)?",
    "ambiguous label convention",
    "expected one of brats2024, brats2013",
)
def _(b):
    for n in range(3):
        cavity(b, f"case_{n}", 3)
        rename(b, f"case_{n}", f"case_{n}", ("T1w", "T1Gd", "T2w", "fla", "seg"), "_")
    return prepare(b)


@table.row("the same, declared: code 3 is core and does not enhance", code=0)
def _(b):
    b.only()
    cavity(b, "case_0", 3)
    yield prepare(b, "--labels", "brats2013")
    truth = Cache.open(b.out).studies[0].truth()
    assert set(np.unique(truth)) == {0, 1, 3, 7}


@table.row(
    "children of 2023 had the codes of adults: 1, 2, 3 under PED ids",
    "ambiguous label convention",
    "case ids of BraTS-PED",
    "expected one of brats2023, brats-ped",
)
def _(b):
    for n in range(3):
        renumber(b, f"case_{n}", TO["brats2023"])
        rename(b, f"case_{n}", f"BraTS-PED-0000{n}-000")
    return prepare(b)


@table.row(
    "children of 2023 beside children of 2024",
    "of different conventions",
    "without code 2 speaks for BraTS-PED 2023",
)
def _(b):
    for n in range(3):
        renumber(b, f"case_{n}", {1: 1, 2: 1, 4: 3} if n == 2 else TO["brats-ped"])
        rename(b, f"case_{n}", f"BraTS-PED-0000{n}-000")
    return prepare(b)


@table.row(
    "two classes, oedema 1 and core 2, as BraTS 2012 first had them",
    "ambiguous label convention",
    "BraTS 2012 as first released",
    "HD-GLIO",
)
def _(b):
    for n in range(3):
        renumber(b, f"case_{n}", {1: 2, 2: 1, 4: 2})
        rename(b, f"case_{n}", f"case_{n}", ("T1w", "T1Gd", "T2w", "fla", "seg"), "_")
    return prepare(b)


@table.row("ids of BraTS 2013 decide for the codes of their time", code=0)
def _(b):
    for n in range(3):
        cavity(b, f"case_{n}", 3)
        rename(b, f"case_{n}", f"brats_2013_pat000{n}_1", ("t1", "t1c", "t2", "flair", "seg"), "_")
    said = yield inspect(b)
    assert told(said) == "brats2013"


# What is no such label map


@table.row(
    "binary masks of the whole tumour",
    "binary masks",
    "only code 1 in 3 maps (case_0, case_1, case_2) of 3",
    "does not distinguish tissues",
)
def _(b):
    for n in range(3):
        renumber(b, f"case_{n}", {2: 1, 4: 1})
    return prepare(b)


@table.row(
    "one binary mask among label maps",
    "binary masks among label maps",
    "only code 1 in 1 map (case_1) of 3",
)
def _(b):
    renumber(b, "case_1", {2: 1, 4: 1})
    return train(b)


@table.row(
    "masks of 0 and 255",
    "label codes that fit no convention",
    "got [255]",
    "a binary mask, which does not distinguish tissues",
)
def _(b):
    for n in range(3):
        renumber(b, f"case_{n}", {1: 255, 2: 255, 4: 255})
    return prepare(b)


@table.row("the tissues of BraTS's synthetic images", "fit no convention", "1 white matter")
def _(b):
    b.only()
    renumber(b, "case_0", {1: 5, 2: 4, 4: 3})
    edit_voxels(b.file("seg"), lambda data: np.where(np.indices(data.shape)[0] == 1, 1, data))
    edit_voxels(b.file("seg"), lambda data: np.where(np.indices(data.shape)[0] == 2, 2, data))
    return prepare(b)


@table.row("a map resampled linearly", "case_0_seg.nii.gz", "interpolated", "nearest neighbour")
def _(b):
    b.only()
    edit_voxels(b.file("seg"), lambda data: data.astype(np.float32) * 0.7)
    return prepare(b)


@table.row("probabilities in place of a map", "probabilities, not a label map", "threshold")
def _(b):
    b.only()
    edit_voxels(b.file("seg"), lambda data: (data > 0).astype(np.float32) * 0.7)
    return prepare(b)


@table.row("negative codes", "negative codes", "write 0 for unlabelled voxels")
def _(b):
    b.only()
    edit_voxels(b.file("seg"), lambda data: data.astype(np.int16) - 1)
    return prepare(b)


@table.row("codes of an atlas", "codes beyond 255", "from 0 to 1004")
def _(b):
    b.only()
    edit_voxels(b.file("seg"), lambda data: data.astype(np.int16) * 251)
    return prepare(b)


# What a data set says of itself


def decathlon(b, labels: dict[str, str]) -> Path:
    """The three studies as a nnU-Net data set with its own words for the codes."""
    root = b.root / "Dataset001"
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for case in ("case_0", "case_1", "case_2"):
        for channel, kind in enumerate(OLD[:4]):
            target = root / "imagesTr" / f"{case}_{channel:04}.nii.gz"
            shutil.copyfile(b.file(kind, case), target)
        shutil.copyfile(b.file("seg", case), root / "labelsTr" / f"{case}.nii.gz")
    names = {str(channel): kind for channel, kind in enumerate(OLD[:4])}
    (root / "dataset.json").write_text(json.dumps({"channel_names": names, "labels": labels}))
    return root


MSD = {"background": 0, "edema": 1, "non-enhancing tumor": 2, "enhancing tumour": 3}


@table.row("nnU-Net's dataset.json names the codes", code=0)
def _(b):
    for n in range(3):
        renumber(b, f"case_{n}", TO["msd"])
    said = yield ("inspect", decathlon(b, MSD), "--json")
    assert told(said) == "msd"


@table.row(
    "dataset.json was copied from another data set",
    "label maps contradict dataset.json",
    "code 2 outermost",
    "oedema, code 1",
)
def _(b):
    for n in range(3):
        renumber(b, f"case_{n}", TO["brats2023"])
    return ("prepare", decathlon(b, MSD), "-o", b.out)


@table.row(
    "one map was not converted",
    "label codes that dataset.json does not declare",
    "1 map (case_2)",
)
def _(b):
    for n in range(2):
        renumber(b, f"case_{n}", TO["msd"])
    return ("prepare", decathlon(b, MSD), "-o", b.out)


# Conventions declared study by study


@table.row("a mixed cohort is declared in a manifest and prepared", code=0)
def _(b):
    assert_regions = {}
    for n, convention in enumerate(("brats2021", "brats2023", "msd")):
        renumber(b, f"case_{n}", TO.get(convention, {}))
        assert_regions[f"case_{n}"] = convention
    yield ("prepare", manifest(b, assert_regions), "-o", b.out, "--jobs", "1")
    volumes = [np.bincount(study.truth().ravel(), minlength=8) for study in Cache.open(b.out)]
    for one in volumes:  # nested: oedema 1, core 3, enhancing tumour 7, each of some size
        assert set(np.flatnonzero(one)) == {0, 1, 3, 7}
        assert one[1] > one[7] > one[3]


@table.row("a mixed cohort is declared and trained on", code=0)
def _(b):
    renumber(b, "case_1", TO["brats2023"])
    renumber(b, "case_2", TO["brats2023"])
    table = manifest(b, {"case_0": "brats2021", "case_1": "brats2023", "case_2": "brats2023"})
    yield ("train", b.copy("recipe"), "--data", table, "-o", b.out, "--only", "teacher")
    assert json.loads((b.out / "data.json").read_text())["convention"] == "brats2023"


@table.row("a mixed cohort is declared and scored: perfect predictions are perfect", code=0)
def _(b):
    table = manifest(b, {"case_0": "brats2021", "case_1": "msd", "case_2": "brats2021"})
    folder = b.root / "predictions"
    folder.mkdir()
    for n in range(3):
        shutil.copyfile(b.file("seg", f"case_{n}"), folder / f"case_{n}.nii.gz")
    renumber(b, "case_1", TO["msd"])
    said = yield ("evaluate", folder, table, "--prediction-labels", "brats2021", "--json")
    scores = json.loads(said.out)
    assert scores["provenance"]["truth_labels"] == "brats2021 2, msd 1 (detected)"
    assert all(scores["summary"][region]["dice"]["mean"] == 1 for region in ("WT", "TC", "ET"))


@table.row(
    "predictions must say theirs where the truths differ",
    "predictions do not declare theirs",
    "--prediction-labels",
)
def _(b):
    table = manifest(b, {"case_0": "brats2021", "case_1": "msd", "case_2": "brats2021"})
    folder = b.root / "predictions"
    folder.mkdir()
    for n in range(3):
        shutil.copyfile(b.file("seg", f"case_{n}"), folder / f"case_{n}.nii.gz")
    renumber(b, "case_1", TO["msd"])
    return ("evaluate", folder, table)


@table.row("inspect says what each study declared", code=0)
def _(b):
    renumber(b, "case_1", TO["msd"])
    table = manifest(b, {"case_0": "brats2021", "case_1": "msd", "case_2": ""})
    said = yield ("inspect", table, "--deep", "--json")
    facts = json.loads(said.out)
    assert [study["convention"] for study in facts["studies"]] == ["brats2021", "msd", None]
    assert facts["convention"] == "brats2021"
    assert not any(problem["blocking"] for problem in facts["problems"])


@table.row(
    "a manifest declares an unknown convention",
    "unknown label convention",
    "field labels of case_1",
    "got brats1999",
)
def _(b):
    labels = {"case_0": "brats2021", "case_1": "brats1999", "case_2": "brats2021"}
    return ("inspect", manifest(b, labels))


@table.row("a column labels that holds files is still the truth", code=0)
def _(b):
    rows = ["id,t1,labels", "x,data/case_0/case_0_t1.nii.gz,data/case_0/case_0_seg.nii.gz"]
    (b.root / "studies.csv").write_text("\n".join(rows) + "\n")
    said = yield ("inspect", b.root / "studies.csv", "--json")
    assert told(said) == "brats2021"
    assert json.loads(said.out)["studies"][0]["truth"]["file"].endswith("case_0_seg.nii.gz")


@table.row(
    "a study's codes are not those that its row declares", "unknown label codes", "case_0_seg"
)
def _(b):
    labels = dict.fromkeys(("case_0", "case_1", "case_2"), "brats2021")
    folder = predictions(b)
    renumber(b, "case_0", TO["msd"])
    return ("evaluate", folder, manifest(b, labels))


# Label maps that would be left out, and names given twice


@table.row(
    "a label map whose name was misspelt is told, and its study left out of training",
    "note: 1 of 3 studies left out, no label map: case_1",
    "case_1_sgm.nii.gz: no sequence in its name; not used",
    code=0,
)
def _(b):
    b.file("seg", "case_1").rename(b.data / "case_1" / "case_1_sgm.nii.gz")
    yield train(b, "--only", "teacher")
    split = json.loads((b.out / "data.json").read_text())["split"]
    assert sorted(split["training"] + split["validation"]) == ["case_0", "case_2"]


@table.row(
    "nnU-Net's label map of another name is told",
    "note: 1 of 3 studies left out, no label map: case_1",
    "note: 1 label map(s) left out, no image of the same name: case_01.nii.gz",
    code=0,
)
def _(b):
    for n in range(3):
        renumber(b, f"case_{n}", TO["msd"])
    root = decathlon(b, MSD)
    (root / "labelsTr" / "case_1.nii.gz").rename(root / "labelsTr" / "case_01.nii.gz")
    yield ("train", b.copy("recipe"), "--data", root, "-o", b.out, "--only", "teacher")
    split = json.loads((b.out / "data.json").read_text())["split"]
    assert sorted(split["training"] + split["validation"]) == ["case_0", "case_2"]


@table.row(
    "no label map has a name that is known",
    "no labelled study",
    "case_0_sgm.nii.gz: no sequence in its name; not used",
)
def _(b):
    for n in range(3):
        b.file("seg", f"case_{n}").rename(b.data / f"case_{n}" / f"case_{n}_sgm.nii.gz")
    return train(b)


@table.row("a manifest column named twice", "column 't1'", "each column once")
def _(b):
    (b.root / "studies.csv").write_text("id,t1,t1\nx,a.nii.gz,b.nii.gz\n")
    return ("inspect", b.root / "studies.csv")


@table.row("a key given twice in dataset.json", "key 'labels'", "each key once")
def _(b):
    root = decathlon(b, MSD)
    text = (root / "dataset.json").read_text()
    (root / "dataset.json").write_text(text[:-1] + ', "labels": {"edema": 2}}')
    return ("inspect", root)


test_label_conventions = table.test()
