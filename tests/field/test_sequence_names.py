"""Names that tools, scanners and hospitals give: each is the sequence it surely is, or a question;
never a guess.
"""

import gzip
import json
import os
import shutil
from pathlib import Path

import pytest

from field.edits import predictions, train
from field.table import Table
from gliodistill.studies.study import load_study

table = Table()
row = table.row

KINDS = ("t1", "t1ce", "t2", "flair")


def renamed(b, **names: str) -> Path:
    """``case_0`` as a folder of files with these names (``t1="T1_Gad"``); kinds that are not named
    are left out.
    """
    folder = b.root / "patient"
    folder.mkdir(exist_ok=True)
    for kind, name in names.items():
        shutil.copyfile(b.file(kind), folder / f"{name}.nii.gz")
    return folder


def segment(b, folder: Path, *more: object) -> tuple[object, ...]:
    return ("segment", folder, "-m", b.copy("model"), "-o", b.out, "--threads", "1", *more)


def used(b, id: str = "patient") -> dict[str, str]:
    """Sequence → file, as the study's JSON tells."""
    return json.loads((b.out / f"{id}.json").read_text())["sequences"]["used"]


def reads(story: str, **names: str) -> None:
    """A row: a folder of these names is segmented, each file as the sequence of its key."""

    @row(story, "used: patient:", code=0)
    def _(b):
        yield segment(b, renamed(b, **names))
        wanted = {kind.upper(): f"{name}.nii.gz" for kind, name in names.items()}
        assert used(b) == wanted


def asks(story: str, *says: str, **names: str) -> None:
    """A row: a folder of these names is a question."""

    @row(story, "patient", "cannot decide what it is", "rename", "manifest", *says)
    def _(b):
        return segment(b, renamed(b, **names))


reads(
    "all sequences were registered to one and are named so",
    t1="t1_to_t1ce",
    t1ce="t1ce",
    t2="t2_to_t1ce",
    flair="flair_to_t1ce",
)
reads(
    "registered with `in` and with a digit",
    t1="T1",
    t1ce="T1CE_in_T1",
    t2="T2_in_T1",
    flair="flair2t1",
)
reads("a GE scanner's names", t1="AX_T1", t1ce="AX_T1_FS_POST", t2="AX_T2_FSE", flair="AX_FLAIR")
reads(
    "a German scanner's names",
    t1="t1_mprage_sag",
    t1ce="t1_mprage_sag_KM",
    t2="t2_tse_tra",
    flair="t2_space_dark-fluid_sag",
)
reads("plus signs for contrast", t1="T1W", t1ce="T1W+Gd", t2="T2W", flair="T2_SPACE_FLAIR")
reads("the agent's brand", t1="T1", t1ce="T1_Gadovist", t2="T2", flair="FLAIR")
reads("SPM's prefixes", t1="wT1", t1ce="wT1_Gad", t2="r_T2", flair="rFLAIR")
reads("after N4 and skull-stripping", t1="T1_brain", t1ce="T1c_bet", t2="T2_N4", flair="FLAIR_N4")
reads(
    "BIDS names in a plain folder",
    t1="desc-brain_T1w",
    t1ce="ce-gadolinium_T1w",
    t2="s_T2w",
    flair="space-T1w_FLAIR",
)
reads("before and after contrast", t1="T1_pre", t1ce="T1_post", t2="T2", flair="FLAIR")

asks(
    "T1 and FLAIR in one name without a particle",
    "t1_reg_flair",
    "two sequences",
    t1="t1_reg_flair",
    t1ce="t1ce",
    t2="t2",
    flair="flair",
)
asks("T1-FLAIR, a T1 with inversion", "T1_FLAIR", t1="T1_FLAIR", t1ce="T1CE", t2="T2")
asks(
    "CT1 may be contrast or a CT",
    "CT1.nii.gz",
    "or a CT",
    t1ce="CT1",
    t2="T2",
    flair="FLAIR",
    t1="T1",
)
asks("before gadolinium, or with it before surgery", "T1_pre_Gd", t1="T1_pre_Gd", t2="T2")
asks("after surgery, or after contrast", "post_T1", t1="post_T1", t2="T2", flair="FLAIR")
asks("an MPRAGE that does not say more", "MPRAGE", t1="MPRAGE", t2="T2", flair="FLAIR")
asks("an agent that no list has", "T1_gadxyz", t1="T1_gadxyz", t2="T2", flair="FLAIR")
asks("FLAIR after contrast", "FLAIR_Gd", t1="T1", t2="T2", flair="FLAIR_Gd")
asks("STIR is no T2", "T2_STIR", t1="T1", t2="T2_STIR", flair="FLAIR")
asks("only what it was moved to", "to_T1.nii.gz", t2="to_T1", flair="FLAIR")
asks(
    "post-treatment T1, told by its neighbours",
    "T1_post",
    t1="T1_post",
    t2="T2_post",
    flair="FLAIR_post",
)


@row("a sequence twice, once skull-stripped: which?", "patient", "two files for T1", "T1_brain")
def _(b):
    folder = renamed(b, t1="T1", t2="T2", flair="FLAIR")
    shutil.copyfile(b.file("t1"), folder / "T1_brain.nii.gz")
    return segment(b, folder)


@row(
    "masks, maps and other images are told and not used",
    "note: patient: T1_mask.nii.gz",
    "DWI.nii.gz",
    "T2star.nii.gz",
    code=0,
)
def _(b):
    folder = renamed(b, t1="T1", t1ce="T1c", t2="T2", flair="FLAIR")
    for name in ("T1_mask", "brain_mask", "T1_brain_mask", "DWI", "T2star", "FLAIR_prob"):
        shutil.copyfile(b.file("t1"), folder / f"{name}.nii.gz")
    yield segment(b, folder)
    sequences = json.loads((b.out / "patient.json").read_text())["sequences"]
    assert set(sequences["unused"]) == {
        "T1_mask.nii.gz",
        "brain_mask.nii.gz",
        "T1_brain_mask.nii.gz",
        "DWI.nii.gz",
        "T2star.nii.gz",
        "FLAIR_prob.nii.gz",
    }
    assert used(b) == {
        "T1": "T1.nii.gz",
        "T1CE": "T1c.nii.gz",
        "T2": "T2.nii.gz",
        "FLAIR": "FLAIR.nii.gz",
    }


@row("CT1 beside all four sequences is told, not used", "note:", "CT1.nii.gz", code=0)
def _(b):
    folder = renamed(b, t1="T1", t1ce="T1CE", t2="T2", flair="FLAIR")
    shutil.copyfile(b.file("t1ce"), folder / "CT1.nii.gz")
    yield segment(b, folder)
    assert used(b)["T1CE"] == "T1CE.nii.gz"


@row("an unknown name in a BraTS folder is told", "note: case_0: CT1.nii.gz", code=0)
def _(b):
    shutil.copyfile(b.file("t1ce"), b.data / "case_0" / "CT1.nii.gz")
    yield segment(b, b.data / "case_0")
    assert used(b, "case_0")["T1CE"] == "case_0_t1ce.nii.gz"


@row("a BraTS folder whose T1CE is called CT1 asks", "case_0", "CT1.nii.gz", "or a CT")
def _(b):
    b.file("t1ce").rename(b.data / "case_0" / "CT1.nii.gz")
    return segment(b, b.data / "case_0")


@row(
    "in a BraTS folder the plain name wins, the rest is told",
    "case_0_t1_bias.nii.gz",
    "T1 is case_0_t1.nii.gz; not used",
    code=0,
)
def _(b):
    shutil.copyfile(b.file("t2"), b.data / "case_0" / "case_0_t1_bias.nii.gz")
    yield segment(b, b.data / "case_0")
    assert used(b, "case_0")["T1"] == "case_0_t1.nii.gz"


@row("a BraTS name with a word on no list asks", "case_0_t1_artefax.nii.gz", "unknown word")
def _(b):
    b.file("t1").rename(b.data / "case_0" / "case_0_t1_artefax.nii.gz")
    return segment(b, b.data / "case_0")


def question(b) -> Path:
    """A cohort one of whose studies is a question."""
    b.file("t1", "case_1").rename(b.data / "case_1" / "case_1_t1_reg_flair.nii.gz")
    return b.data


@row("prepare asks too", "case_1", "case_1_t1_reg_flair.nii.gz", "cannot decide what it is")
def _(b):
    return ("prepare", question(b), "-o", b.out, "--jobs", "1", "--labels", "brats2021")


@row("train asks too", "case_1", "case_1_t1_reg_flair.nii.gz", "cannot decide what it is")
def _(b):
    question(b)
    return train(b, "--labels", "brats2021")


@row("prepare tells what it does not use", "note: case_1: case_1_dwi.nii.gz", code=0)
def _(b):
    shutil.copyfile(b.file("t2", "case_1"), b.data / "case_1" / "case_1_dwi.nii.gz")
    yield ("prepare", b.data, "-o", b.out, "--jobs", "1")
    assert sorted(json.loads((b.out / "cache.json").read_text())["studies"])[1] == "case_1"


@row("train tells what it does not use", "note: case_1: case_1_dwi.nii.gz", code=0)
def _(b):
    shutil.copyfile(b.file("t2", "case_1"), b.data / "case_1" / "case_1_dwi.nii.gz")
    said = yield train(b, "--set", "training.steps=3", "--set", "runs.distilled.seed=1")
    assert "case_1_dwi" in said.err


def visits(b, **kinds: str) -> Path:
    """Files of two time points, ``T1w_t1`` and ``T1w_t2``."""
    folder = b.root / "patient"
    folder.mkdir()
    for case, time in (("case_0", "t1"), ("case_1", "t2")):
        for kind, name in kinds.items():
            shutil.copyfile(b.file(kind, case), folder / f"{name}_{time}.nii.gz")
    return folder


@row("two time points after the sequence are two studies of one patient", code=0)
def _(b):
    yield segment(b, visits(b, t1="T1w", t1ce="T1CE", t2="T2w", flair="FLAIR"))
    for time in ("t1", "t2"):
        assert used(b, f"patient_{time}") == {
            "T1": f"T1w_{time}.nii.gz",
            "T1CE": f"T1CE_{time}.nii.gz",
            "T2": f"T2w_{time}.nii.gz",
            "FLAIR": f"FLAIR_{time}.nii.gz",
        }


@row("time points of one patient stay on one side of a split", code=0)
def _(b):
    said = yield ("inspect", visits(b, flair="FLAIR", t1ce="T1CE"), "--json")
    patients = {study["patient"] for study in json.loads(said.out)["studies"]}
    assert patients == {"patient"}


@row("T1 at time t2, or T2 at t1, or both sequences: asks", "T1_t2.nii.gz", "two sequences")
def _(b):
    folder = b.root / "patient"
    folder.mkdir()
    for name in ("T1_t2", "FLAIR_t2"):
        shutil.copyfile(b.file("t1"), folder / f"{name}.nii.gz")
    return segment(b, folder)


@row("two patients in one folder keep their ids", code=0)
def _(b):
    folder = b.root / "patients"
    folder.mkdir()
    for case in ("case_0", "case_1"):
        for kind in KINDS:
            shutil.copyfile(b.file(kind, case), folder / f"{case}_{kind}.nii.gz")
    yield segment(b, folder)
    assert used(b, "case_1")["T2"] == "case_1_t2.nii.gz"


def bids(b, **names: str) -> Path:
    anatomy = b.root / "bids" / "sub-01" / "anat"
    anatomy.mkdir(parents=True)
    for kind, name in names.items():
        shutil.copyfile(b.file(kind), anatomy / f"sub-01_{name}.nii.gz")
    return b.root / "bids"


@row("BIDS that tells of contrast in acq-", code=0)
def _(b):
    yield segment(b, bids(b, t1="T1w", t1ce="acq-postgad_T1w", t2="T2w", flair="FLAIR"))
    assert used(b, "sub-01")["T1CE"] == "sub-01_acq-postgad_T1w.nii.gz"
    assert used(b, "sub-01")["T1"] == "sub-01_T1w.nii.gz"


@row("BIDS with ce-none asks", "sub-01", "ce-none_T1w", "cannot decide what it is")
def _(b):
    return segment(b, bids(b, t1="ce-none_T1w", t2="T2w", flair="FLAIR"))


@row("a BIDS T2w after contrast asks", "ce-gadolinium_T2w", "T2 after contrast")
def _(b):
    return segment(b, bids(b, t1="T1w", t2="ce-gadolinium_T2w", flair="FLAIR"))


@row("a manifest settles what names do not", code=0)
def _(b):
    folder = renamed(b, t1="x", t1ce="CT1", t2="t1_reg_flair", flair="FLAIR_Gd")
    table = "id,t1,t1ce,t2,flair\nanna,x.nii.gz,CT1.nii.gz,t1_reg_flair.nii.gz,FLAIR_Gd.nii.gz\n"
    (folder / "list.csv").write_text(table)
    yield segment(b, folder / "list.csv")
    assert used(b, "anna")["T1CE"] == "CT1.nii.gz"


@row("a manifest column of two sequences asks", "list.csv", "t1_reg_flair", "rename the column")
def _(b):
    (b.data / "list.csv").write_text("id,t1_reg_flair\nanna,case_0/case_0_t1.nii.gz\n")
    return segment(b, b.data / "list.csv")


@row("a channel of dataset.json that is two sequences", "unknown sequence", "T1 FLAIR")
def _(b):
    (b.root / "nnu" / "imagesTr").mkdir(parents=True)
    shutil.copyfile(b.file("t1"), b.root / "nnu" / "imagesTr" / "anna_0000.nii.gz")
    (b.root / "nnu" / "dataset.json").write_text('{"channel_names": {"0": "T1 FLAIR"}}')
    return segment(b, b.root / "nnu")


# Endings and formats


@row("file names in capitals", code=0)
def _(b):
    for kind in KINDS:
        b.file(kind).rename(b.data / "case_0" / f"case_0_{kind.upper()}.NII.GZ")
    yield segment(b, b.data / "case_0")
    assert used(b, "case_0")["T2"] == "case_0_T2.NII.GZ"


@row("unpacked, in capitals", code=0)
def _(b):
    for kind in KINDS:
        raw = gzip.decompress(b.file(kind).read_bytes())
        b.file(kind).unlink()
        (b.data / "case_0" / f"case_0_{kind}.NII").write_bytes(raw)
    yield segment(b, b.data / "case_0")
    assert used(b, "case_0")["T1"] == "case_0_t1.NII"


@row("predictions in capitals are scored", code=0)
def _(b):
    folder = predictions(b)
    for file in list(folder.iterdir()):
        file.rename(folder / f"{file.name.removesuffix('.nii.gz')}.NII.GZ")
    said = yield ("evaluate", folder, b.data, "--json")
    assert json.loads(said.out)["summary"]["WT"]["dice"]["mean"] == 1.0


def foreign(ending: str, *says: str) -> None:
    @row(f"T1CE as {ending} asks for NIfTI", "case_0", "convert it to NIfTI", *says)
    def _(b):
        target = b.data / "case_0" / f"case_0_t1ce{ending}"
        b.file("t1ce").rename(target)
        if ending == ".hdr":
            target.with_suffix(".img").write_bytes(b"0")
        return segment(b, b.data / "case_0")


foreign(".hdr", ".hdr/.img pair", "nibabel")
foreign(".mgz", "mri_convert")
foreign(".nrrd", "SimpleITK")
foreign(".mha", "SimpleITK")
foreign(".nii.bz2", "unpack")


@row("an .mgz beside its NIfTI is told, not used", "note:", "case_0_t1.mgz", "convert", code=0)
def _(b):
    (b.data / "case_0" / "case_0_t1.mgz").write_bytes(b"0")
    yield segment(b, b.data / "case_0")
    assert used(b, "case_0")["T1"] == "case_0_t1.nii.gz"


@row("DICOM beside NIfTI is told", "note:", "IM0.dcm", "dcm2niix", code=0)
def _(b):
    for number in range(3):
        (b.data / "case_0" / f"IM{number}.dcm").write_bytes(b"0")
    said = yield segment(b, b.data / "case_0")
    assert said.err.count("note:") == 1


@row("a folder of pairs only", "no study found", ".hdr/.img pair", "nibabel")
def _(b):
    folder = b.root / "pairs"
    folder.mkdir()
    for kind in KINDS:
        for ending in (".hdr", ".img"):
            (folder / f"{kind}{ending}").write_bytes(b"0")
    return ("inspect", folder)


# Names that are not UTF-8


def latin(folder: Path, name: bytes) -> Path:
    """A path whose name is not UTF-8."""
    return Path(os.fsdecode(os.fsencode(folder) + b"/" + name))


@row("a Latin-1 file name goes through to table, JSON and CSV", r"M\xfcller_T2.nii.gz", code=0)
def _(b):
    folder = renamed(b, t1="T1", t1ce="T1CE", flair="FLAIR")
    shutil.copyfile(b.file("t2"), latin(folder, b"M\xfcller_T2.nii.gz"))
    yield segment(b, folder)
    assert used(b)["T2"] == r"M\xfcller_T2.nii.gz"
    assert r"M\xfcller_T2.nii.gz" in (b.out / "volumes.csv").read_text(encoding="utf-8")


@row("a Latin-1 name as JSON", code=0)
def _(b):
    folder = renamed(b, t1="T1", t1ce="T1CE", flair="FLAIR")
    shutil.copyfile(b.file("t2"), latin(folder, b"M\xfcller_T2.nii.gz"))
    said = yield segment(b, folder, "--json")
    sequences = json.loads(said.out)["done"]["patient"]["sequences"]
    assert sequences["used"]["T2"] == r"M\xfcller_T2.nii.gz"
    said.out.encode("utf-8")


@row("a Latin-1 file that is not used", r"M\xfcller_DWI.nii.gz", code=0)
def _(b):
    shutil.copyfile(b.file("t2"), latin(b.data / "case_0", b"M\xfcller_DWI.nii.gz"))
    yield segment(b, b.data / "case_0")
    assert (b.out / "case_0.nii.gz").is_file()


@row("a Latin-1 file that is damaged", r"FLAIR_M", "file too short")
def _(b):
    folder = renamed(b, t1="T1", t1ce="T1CE")
    latin(folder, b"FLAIR_M\xfcller.nii.gz").write_bytes(b"\x1f\x8b0")
    return segment(b, folder)


@row("a Latin-1 folder above the studies", code=0)
def _(b):
    folder = latin(b.root, b"M\xfcnchen")
    shutil.move(b.data, folder)
    yield segment(b, folder / "case_0")
    assert used(b, "case_0")["T1"] == "case_0_t1.nii.gz"


@row("pseudo-labels of a Latin-1 file can be opened again", code=0)
def _(b):
    folder = renamed(b, t1="T1", t1ce="T1CE", flair="FLAIR")
    shutil.copyfile(b.file("t2"), latin(folder, b"M\xfcller_T2.nii.gz"))
    yield ("pseudo-label", folder, "-m", b.copy("model"), "-o", b.out)
    from gliodistill.studies import open_cohort

    (record,) = open_cohort(b.out, labels="brats2021").studies
    assert len(load_study(record).images) == 4


test_sequence_names = table.test()


def test_pseudo_label_asks_too(bench, program):
    """One line; the other studies are labelled."""
    said = program("pseudo-label", question(bench), "-m", bench.copy("model"), "-o", bench.out)
    assert said.code == 1 and len(said.lines) == 1
    assert "case_1_t1_reg_flair.nii.gz: cannot decide what it is" in said.err
    assert (bench.out / "case_2" / "labels.nii.gz").is_file()
    assert not (bench.out / "case_1").exists()


@pytest.mark.parametrize("name", ["case_0_t1_x\x1b[31m.nii.gz", "case_0_dwi\n.nii.gz"])
def test_control_characters_do_not_reach_the_terminal(bench, program, name):
    """A note shows them as ``\\xXX``."""
    shutil.copyfile(bench.file("t2"), bench.data / "case_0" / name)
    said = program(*segment(bench, bench.data / "case_0"))
    assert said.code == 0 and "\x1b" not in said.out + said.err
    assert "\\x" in said.err
