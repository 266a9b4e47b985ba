"""DICOM from end to end: what `inspect` and `phantom` say and refuse."""

import json
import zipfile

from dicom.conftest import small
from field.table import Table
from gliodistill.dicom.synthetic import Acquisition, datasets, save

table = Table()
row = table.row

FLAIR = {"RepetitionTime": 9000, "EchoTime": 110, "InversionTime": 2500, "ScanningSequence": "SE"}


def scan(b, number=4, name="FLAIR", case="Phantom_001_00002"):
    """A series of nine slices, too few for a head."""
    folder = b.root / "scan"
    folder.mkdir(exist_ok=True)
    for k, data in enumerate(datasets(case, Acquisition(number, name, small(), dict(FLAIR)))):
        save(data, folder / f"IM{number}{case[-1]}{k}")
    return folder


@row("an export is listed series by series", "a localiser or a part of the head", code=0)
def _(b):
    said = yield "inspect", scan(b), "--json"
    (patient,) = json.loads(said.out)["patients"]
    (study,) = patient["studies"]
    assert [one["key"] for one in study["series"]] == ["4"]
    assert study["series"][0]["shape"] == [10, 12, 9]
    assert patient["identity"] is None


@row("a zip is listed as its folder is", code=0)
def _(b):
    folder = scan(b)
    with zipfile.ZipFile(b.root / "scan.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    said = yield "inspect", b.root / "scan.zip", "--json"
    (patient,) = json.loads(said.out)["patients"]
    assert patient["studies"][0]["series"][0]["files"] == 9


@row("the user's word is taken, and it is said", "taken by --series", code=0)
def _(b):
    said = yield "inspect", scan(b), "--series", "T2=4", "--json"
    study = json.loads(said.out)["patients"][0]["studies"][0]
    assert study["chosen"] == {"T2": "4"}


@row("two patients in one folder are two results", code=0)
def _(b):
    scan(b)
    said = yield "inspect", scan(b, case="Phantom_001_00003"), "--json"
    assert len(json.loads(said.out)["patients"]) == 2


bad = table.row


@bad("a series that is not there", "no series for T2", "got 99", "expected one of 4")
def _(b):
    return "inspect", scan(b), "--series", "T2=99"


@bad("a choice without a sequence", "unclear choice of a series", "got 7", "T1CE=7")
def _(b):
    return "inspect", scan(b), "--series", "7"


@bad("a choice of an unknown sequence", "unknown sequence", "got 'PD'")
def _(b):
    return "inspect", scan(b), "--series", "PD=4"


@bad("one series for two sequences", "one series for two sequences")
def _(b):
    return "inspect", scan(b), "--series", "T1=4", "--series", "T2=4"


@bad("one sequence chosen twice", "a sequence named twice")
def _(b):
    return "inspect", scan(b), "--series", "T1=4", "--series", "T1=5"


@bad("a choice of a series among two patients", "a series is chosen for one study", "2 studies")
def _(b):
    scan(b)
    return "inspect", scan(b, case="Phantom_001_00003"), "--series", "T2=4"


@bad("--series for studies that are no DICOM", "no DICOM", "--series")
def _(b):
    return "inspect", b.data, "--series", "T2=4"


@bad("a file cut short among the slices", "damaged", "field IM420", "export the study again")
def _(b):
    folder = scan(b)
    (folder / "IM420").write_bytes((folder / "IM420").read_bytes()[:500])
    return "inspect", folder


@bad("a zip that climbs out of its folder", "a zip whose entries leave its folder")
def _(b):
    with zipfile.ZipFile(b.root / "scan.zip", "w") as archive:
        archive.writestr("../../out", "x")
    return "inspect", b.root / "scan.zip"


@bad("a zip that is none", "damaged zip")
def _(b):
    (b.root / "scan.zip").write_bytes(b"PK\3\4 and no more")
    return "inspect", b.root / "scan.zip"


@bad("Enhanced without DICOM", "field --enhanced", "with --dicom")
def _(b):
    return "phantom", b.out, "-n", 1, "--enhanced"


@bad("raw phantoms of given shapes", "field --shapes", "without --raw")
def _(b):
    return "phantom", b.out, "-n", 1, "--raw", "--shapes", b.data


@bad("segment: a zip that climbs out of its folder", "a zip whose entries leave its folder")
def _(b):
    with zipfile.ZipFile(b.root / "scan.zip", "w") as archive:
        archive.writestr("../../out", "x")
    return "segment", b.root / "scan.zip", "-o", b.out


@bad("segment: a series chosen among two studies", "for one DICOM study", "2 DICOM studies")
def _(b):
    scan(b)
    folder = scan(b, case="Phantom_001_00003")
    return "segment", folder, "-o", b.out, "--series", "T2=4"


@bad("segment: --series for studies that are no DICOM", "for one DICOM study", "0 DICOM studies")
def _(b):
    return "segment", b.data, "-o", b.out, "--series", "T2=4"


@bad("segment: a series that is not there", "no series for T2", "got 99", lines=1)
def _(b):
    return "segment", scan(b), "-o", b.out, "--series", "T2=99"


@bad("segment: series of which none is a sequence", "no T1, T1CE, T2 or FLAIR", "inspect says")
def _(b):
    return "segment", scan(b), "-o", b.out


@bad("segment: DICOM that shall be prepared", "always taken as scanned", "got prepared")
def _(b):
    return "segment", scan(b), "-o", b.out, "--input", "prepared"


@bad("segment: an unknown form", "unknown form of images", "expected auto, prepared, scanned")
def _(b):
    return "segment", b.data, "-o", b.out, "--input", "raw"


@bad("segment: no DICOM, but how", "options that exclude each other", "without --seg-on")
def _(b):
    return "segment", scan(b), "-o", b.out, "--no-dicom", "--deidentify"


@bad("segment: identities of what has none", "no DICOM", "field --keep-identity")
def _(b):
    return "segment", b.data, "-o", b.out, "--keep-identity"


@bad("segment: all of a study's files damaged", "damaged", "export the study again")
def _(b):
    folder = scan(b)
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes()[:500])
    return "segment", folder, "-o", b.out


@row("a raw phantom as DICOM is one patient with four sequences", code=0)
def _(b, program):
    said = yield "phantom", b.out, "-n", 1, "--spacing", 5, "--raw", "--dicom", "--json"
    (case,) = json.loads(said.out)["studies"]
    assert (b.out / "truth" / case / "transforms.json").exists()
    found = json.loads(program("inspect", b.out / "scans", "--json").out)
    (patient,) = found["patients"]
    assert set(patient["studies"][0]["chosen"]) == {"T1", "T1CE", "T2", "FLAIR"}


test_field = table.test()
