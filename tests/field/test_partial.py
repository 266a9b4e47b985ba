"""Labels that tell a part: whole tumour only, or a box of voxels; beside whole label maps in one
cohort.
"""

import json

import numpy as np
import yaml

import tiny_cohort
from field.edits import edit_voxels, evaluate
from field.table import Table
from gliodistill.images import Volume, write_nifti

table = Table()
row = table.row
KINDS = ("t1", "t1ce", "t2", "flair")


def manifest(b, **cells: dict[str, str]):
    """A table of the studies; ``case_1={"known_regions": "WT"}`` adds cells to a row."""
    columns = ["id", *KINDS, "truth", "known_regions", "known", "group", "normalised"]
    lines = [",".join(columns)]
    for case in sorted(folder.name for folder in b.data.iterdir()):
        files = {kind: f"data/{case}/{case}_{kind}.nii.gz" for kind in KINDS}
        values = {"id": case, **files, "truth": f"data/{case}/{case}_seg.nii.gz"}
        values |= cells.get(case, {})
        lines.append(",".join(values.get(column, "") for column in columns))
    file = b.root / "cohort.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def mask(b, case: str = "case_2") -> str:
    """A mask of known voxels: the lower half of the study."""
    known = np.zeros(tiny_cohort.SHAPE, dtype=np.uint8)
    known[:, :, :11] = 1
    write_nifti(Volume(known, tiny_cohort.AFFINE), b.data / case / "known.nii.gz")
    return f"data/{case}/known.nii.gz"


@row(
    "inspect says which labels of each study are known",
    "known      1 WT TC ET, 1 WT, 1 WT TC ET in a part of the voxels",
    "reference   known",
    "WT TC ET inside known.nii.gz",
    code=0,
)
def _(b, program):
    file = manifest(
        b,
        case_1={"known_regions": "WT", "group": "masks"},
        case_2={"known": mask(b)},
    )
    yield ("inspect", file, "--deep", "--labels", "brats2021")
    said = program("inspect", file, "--labels", "brats2021", "--json")
    studies = json.loads(said.out)["studies"]
    assert [s["known_regions"] for s in studies] == [["WT", "TC", "ET"], ["WT"], ["WT", "TC", "ET"]]
    assert [s["group"] for s in studies] == [None, "masks", None]
    assert studies[2]["known"]["file"].endswith("known.nii.gz")


@row("a mask of one code is no evidence of what the label maps' codes mean", code=0)
def _(b, program):
    for case in ("case_1", "case_2"):
        edit_voxels(b.file("seg", case), lambda data: (data > 0).astype(np.uint8))
    file = manifest(b, case_1={"known_regions": "WT"}, case_2={"known_regions": "wt"})
    yield ("prepare", file, "-o", b.out, "--jobs", "1")
    truths = {case: np.load(b.out / case / "truth.npy") for case in ("case_0", "case_1", "case_2")}
    assert set(np.unique(truths["case_0"])) == {0, 1, 3, 7}
    assert set(np.unique(truths["case_1"])) == set(np.unique(truths["case_2"])) == {0, 1}
    assert json.loads((b.out / "case_1" / "study.json").read_text())["known_regions"] == ["WT"]


@row("a cohort of whole label maps, masks and boxes trains, by shares of its groups", code=0)
def _(b):
    runs = {"network": {"network": {"name": "unet", "options": {"widths": [4, 8]}}}}
    values = tiny_cohort.values(runs, data={"validation": 0})
    values["sampling"]["groups"] = {"masks": 0.5}
    (b.root / "mixed.yaml").write_text(yaml.safe_dump(values))
    file = manifest(
        b,
        case_0={"group": "masks", "known_regions": "WT"},
        case_2={"known": mask(b)},
    )
    yield ("train", b.root / "mixed.yaml", "--data", file, "--labels", "brats2021", "-o", b.out)
    log = [json.loads(line) for line in (b.out / "network" / "log.jsonl").read_text().splitlines()]
    assert len(log) == 6 and all(np.isfinite(line["loss"]["segmentation"]) for line in log)
    truth = np.load(b.out / "cache" / "case_2" / "truth.npy")
    assert (truth[:, :, -6:] == 8).all() and not (truth[:, :, 4:8] == 8).all()


@row(
    "known regions that are none",
    "cohort.csv",
    "known_regions of case_1",
    "got WT+TCC",
    "WT, TC, ET",
)
def _(b):
    return ("prepare", manifest(b, case_1={"known_regions": "WT+TCC"}), "-o", b.out)


@row("known regions of a study without labels", "without a label map", "row case_1 has no truth")
def _(b):
    cells = {"known_regions": "WT", "truth": ""}
    return ("prepare", manifest(b, case_1=cells), "-o", b.out, "--labels", "brats2021")


@row("a mask of known voxels that is not there", "no such file: data/none.nii.gz")
def _(b):
    b.only()
    file = manifest(b, case_0={"known": "data/none.nii.gz"})
    return ("prepare", file, "-o", b.out, "--labels", "brats2021", "--jobs", "1")


@row("a label map in place of a mask", "case_0", "not a mask", "field known", "values up to 4")
def _(b):
    b.only()
    file = manifest(b, case_0={"known": "data/case_0/case_0_seg.nii.gz"})
    return ("prepare", file, "-o", b.out, "--labels", "brats2021", "--jobs", "1")


@row("a mask of another grid", "case_0", "different grids", "field known")
def _(b):
    b.only()
    write_nifti(Volume(np.ones((4, 4, 4), np.uint8), tiny_cohort.AFFINE), b.root / "known.nii.gz")
    file = manifest(b, case_0={"known": "known.nii.gz"})
    return ("prepare", file, "-o", b.out, "--labels", "brats2021", "--jobs", "1")


@row("normalised, perhaps", "cohort.csv", "normalised of case_1", "got perhaps", "yes or no")
def _(b):
    return ("prepare", manifest(b, case_1={"normalised": "perhaps"}), "-o", b.out)


@row("a group that no study is of", "sampling.groups.cubes", "got 0 studies", "expected one of lgg")
def _(b):
    values = tiny_cohort.values(sampling={"groups": {"cubes": 0.5}}, data={"validation": 0})
    (b.root / "mixed.yaml").write_text(yaml.safe_dump(values))
    file = manifest(b, case_1={"group": "lgg"})
    return ("train", b.root / "mixed.yaml", "--data", file, "--labels", "brats2021", "-o", b.out)


@row(
    "references that tell a part are not scored as if they told all",
    "has partial labels",
    "case_1: WT",
)
def _(b):
    words = list(evaluate(b))
    words[2] = manifest(b, case_1={"known_regions": "WT"})
    return (*words, "--labels", "brats2021")


test_partial = table.test()
