"""Where voxels lie: two forms in one header, grids that differ a little, voxel sizes that cannot
be, and files that claim more voxels than a head has.
"""

import gzip
import json
import math
import shutil
import struct
import zlib

import nibabel as nib
import numpy as np
import pytest

import tiny_cohort
from field.edits import edit_header, edit_voxels, evaluate, predictions, prepare, segment
from field.table import Table

table = Table()
row = table.row

KINDS = tuple(tiny_cohort.NAMES.values())


def set_forms(b, qform: np.ndarray, codes: tuple[int, int], case: str = "case_0") -> None:
    """Give every image of a study a qform of its own."""
    for kind in KINDS:
        image = nib.load(b.file(kind, case))
        image.set_qform(qform, 1)
        image.set_sform(tiny_cohort.AFFINE, 1)
        image.header["qform_code"], image.header["sform_code"] = codes
        nib.save(image, b.file(kind, case))


def moved(x: float = 0.0, turn: float = 0.0) -> np.ndarray:
    """The cohort's affine, moved by mm along X and turned by radians about Z."""
    turned = np.eye(4)
    turned[:2, :2] = [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    affine = turned @ tiny_cohort.AFFINE
    affine[0, 3] += x
    return affine


def flags(b, case: str = "case_0") -> dict[str, str]:
    """Code → text of what ``segment`` wrote."""
    content = json.loads((b.out / f"{case}.json").read_text())
    return {flag["code"]: flag["text"] for flag in content["quality"]["flags"]}


def same_forms(b, case: str = "case_0") -> None:
    """A result must be placed as its input is, whichever form a reader takes."""
    given, made = (nib.load(file).header for file in (b.file("t1"), b.out / f"{case}.nii.gz"))
    for name in ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"):
        assert made[name] == given[name], name
    for name in ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "pixdim"):
        np.testing.assert_array_equal(
            made[name][:4] if made[name].ndim else made[name],
            given[name][:4] if given[name].ndim else given[name],
        )


# Two forms


@row("qform and sform are 30 mm apart: told, and the result keeps both", "30 mm apart", code=0)
def _(b):
    set_forms(b, moved(30), (1, 2))
    yield segment(b)
    assert "T1, T1CE, T2, FLAIR" in flags(b)["forms_disagree"]
    same_forms(b)


def forms_kept(codes: tuple[int, int], x: float) -> None:
    @row(f"qform code {codes[0]} and sform code {codes[1]} are kept", code=0)
    def _(b):
        set_forms(b, moved(x), codes)
        yield segment(b)
        same_forms(b)
        assert ("forms_disagree" in flags(b)) == (bool(x) and all(codes))


for _codes, _x in (((1, 1), 0.0), ((2, 4), 3.0), ((1, 0), 30.0), ((0, 2), 30.0)):
    forms_kept(_codes, _x)


@row("forms within a tenth of a voxel agree", code=0)
def _(b):
    set_forms(b, moved(0.05), (1, 1))
    yield segment(b)
    assert "forms_disagree" not in flags(b)
    same_forms(b)


@row("forms that differ are told by inspect, which reads headers only", "5 mm apart", code=0)
def _(b):
    set_forms(b, moved(5), (1, 1))
    said = yield ("inspect", b.data)
    assert said.out.count("mm apart") == 4


@row(
    "a qform that mirrors left and right",
    "case_0_t1.nii.gz",
    "different sides of the patient",
    "got axes RPS and LPS",
    "fslorient",
)
def _(b):
    set_forms(b, np.diag([-1, 1, 1, 1]) @ tiny_cohort.AFFINE, (1, 1))
    return segment(b)


@row("a qform that is upside down", "different sides of the patient", "got axes RPI and LPS")
def _(b):
    set_forms(b, np.diag([-1, 1, -1, 1]) @ tiny_cohort.AFFINE, (1, 1))
    return segment(b)


@row("a mirrored qform in training data", "case_0", "different sides of the patient")
def _(b):
    b.only()
    set_forms(b, np.diag([-1, 1, 1, 1]) @ tiny_cohort.AFFINE, (1, 1))
    return prepare(b)


@row("a mirrored qform whose code says that it is not set", code=0)
def _(b):
    set_forms(b, np.diag([-1, 1, 1, 1]) @ tiny_cohort.AFFINE, (0, 1))
    yield segment(b)
    same_forms(b)


@row("a qform of NaN beside a sound sform says nothing", code=0)
def _(b):
    for kind in KINDS:
        edit_header(b.file(kind), 256, struct.pack("<6f", *[math.nan] * 6))
    yield segment(b)
    made = nib.load(b.out / "case_0.nii.gz")
    assert made.header["qform_code"] == 0
    np.testing.assert_array_equal(made.affine, tiny_cohort.AFFINE)


# Grids


def turned_sequence(turn: float, code: int, *says: str) -> None:
    @row(f"a sequence turned by {turn:g} rad against the others", *says, code=code)
    def _(b, program):
        if code == 0:
            assert program(*segment(b)).code == 0
            expected = nib.load(b.out / "case_0.nii.gz").get_fdata()
            shutil.rmtree(b.out)
            shutil.rmtree(b.root / "model")
        edit_voxels(b.file("flair"), lambda data: data, moved(turn=turn))
        yield segment(b)
        if code == 0:
            np.testing.assert_array_equal(nib.load(b.out / "case_0.nii.gz").get_fdata(), expected)


turned_sequence(1e-4, 0)
turned_sequence(
    0.01, 1, "field FLAIR", "voxels up to 0.5 mm apart", "expected less than 0.1 mm", "co-register"
)


def test_inspect_tells_the_distance(bench, program):
    edit_voxels(bench.file("t2"), lambda data: data, moved(0.5))
    said = program("inspect", bench.data)
    assert said.code == 1
    assert "T2 lies on another grid than T1" in said.out
    assert "0.5 mm apart" in " ".join(said.out.split())


@row("a label map 0.05 mm from its images is theirs", code=0)
def _(b):
    edit_voxels(b.file("seg"), lambda data: data, moved(0.05))
    yield prepare(b)
    assert (b.out / "case_0" / "truth.npy").is_file()


@row("a label map half a millimetre from its images", "case_0", "field truth", "0.5 mm apart")
def _(b):
    b.only()
    edit_voxels(b.file("seg"), lambda data: data, moved(0.5))
    return prepare(b)


@row("a prediction 0.05 mm from the reference is scored", code=0)
def _(b):
    folder = predictions(b)
    edit_voxels(folder / "case_0.nii.gz", lambda data: data, moved(0.05))
    yield evaluate(b, folder)
    scores = json.loads((b.root / "evaluation" / "scores.json").read_text())
    assert '"dice": 1.0' in json.dumps(scores)


@row("a prediction half a millimetre from the reference", "case_0", "grids differ", "0.5 mm apart")
def _(b):
    folder = predictions(b)
    edit_voxels(folder / "case_0.nii.gz", lambda data: data, moved(0.5))
    return evaluate(b, folder)


# Voxel sizes


def sized(b, factor: float, code: int = 2) -> None:
    """Say another voxel size, in a unit of nifti1.h (1 m, 2 mm, 3 µm)."""
    unit = {1: 1e-3, 2: 1.0, 3: 1e3}[code]
    affine = tiny_cohort.AFFINE @ np.diag([factor, factor, factor, 1])
    for kind in KINDS:
        edit_voxels(b.file(kind), lambda data: data, affine)
        image = nib.load(b.file(kind))
        image.header.set_xyzt_units(xyz={1: "meter", 2: "mm", 3: "micron"}[code])
        scaled = affine.copy()
        scaled[:3] *= unit
        image.set_sform(scaled, 1)
        image.header["qform_code"] = 0
        image.header["pixdim"][1:4] = factor * unit
        nib.save(image, b.file(kind))


@row("a brain of 4 ml: its size and that of a voxel are told", "4 ml", "1 × 1 × 1 mm", code=0)
def _(b):
    yield segment(b)
    assert "small brain" in flags(b)["small_brain"]


@row("a brain of more than 4 litres", "4248 ml", "10 × 10 × 10 mm", code=0)
def _(b):
    sized(b, 10)
    yield segment(b, "--input", "prepared")
    assert "4248 ml" in flags(b)["not_skull_stripped"]


@row("inspect --deep tells of a brain of 4 ml", "small brain: 4 ml", code=0)
def _(b):
    said = yield ("inspect", b.data, "--deep")
    assert said.out.count("small brain") == 3


def in_units(code: int, name: str) -> None:
    @row(f"voxels in {name} are read in millimetres", code=0)
    def _(b):
        sized(b, 2, code)
        yield segment(b)
        made = nib.load(b.out / "case_0.nii.gz")
        np.testing.assert_allclose(made.header.get_zooms(), (2, 2, 2), rtol=1e-6)
        assert made.header.get_xyzt_units()[0] == "mm"


in_units(1, "metres")
in_units(3, "micrometres")


@row(
    "millimetres that are called metres",
    "implausible voxel size",
    "1000×1000×1000 mm",
    "xyzt_units",
)
def _(b):
    edit_header(b.file("t1"), 123, b"\1")
    return segment(b)


# More than a head has


def claims(story: str, *dim: int) -> None:
    @row(story, "case_0_t1.nii.gz", "too many voxels", "at most 134217728", "resample")
    def _(b):
        edit_header(b.file("t1"), 40, struct.pack("<8h", len(dim), *dim, *[1] * (7 - len(dim))))
        return segment(b)


claims("a header that claims a litre of voxels", 1024, 1024, 1024)
claims("a header that claims a voxel too many", 512, 512, 513)
claims("channels that together are too many", 512, 512, 512, 5)


@row("a small file of honest zeros that unpacks to gigabytes", "too many voxels")
def _(b):
    raw = bytearray(gzip.decompress(b.file("t1").read_bytes())[:352])
    raw[40:56] = struct.pack("<8h", 3, 1290, 1290, 1290, 1, 1, 1, 1)
    packer = zlib.compressobj(1, wbits=31)
    packed = [packer.compress(bytes(raw))]
    packed += [packer.compress(bytes(1 << 20)) for _ in range(64)]
    b.file("t1").write_bytes(b"".join(packed) + packer.flush())
    return segment(b)


@row("twenty thousand empty gzip members behind an image", "gzip of tiny members")
def _(b):
    b.file("t1").write_bytes(b.file("t1").read_bytes() + gzip.compress(b"") * 20_000)
    return segment(b)


@row("gzip members of one byte", "gzip of tiny members")
def _(b):
    raw = gzip.decompress(b.file("t1").read_bytes())
    b.file("t1").write_bytes(b"".join(gzip.compress(raw[i : i + 1]) for i in range(3000)))
    return segment(b)


@row("a file of blocks, as bgzip writes it", code=0)
def _(b):
    raw = gzip.decompress(b.file("t1").read_bytes())
    blocks = [gzip.compress(raw[start : start + 4096]) for start in range(0, len(raw), 4096)]
    b.file("t1").write_bytes(b"".join(blocks) + gzip.compress(b""))
    yield segment(b)
    assert (b.out / "case_0.nii.gz").is_file()


test_geometry = table.test()


@pytest.mark.parametrize("turn", [0.0, 0.3])
def test_forms_say_the_same_where_only_an_affine_is_known(tmp_path, turn):
    from gliodistill.images import Volume, read_nifti, write_nifti

    volume = Volume(np.zeros((4, 5, 6), np.uint8), moved(3, turn))
    write_nifti(volume, tmp_path / "image.nii.gz")
    forms = read_nifti(tmp_path / "image.nii.gz").forms
    assert forms.codes == (1, 1)
    np.testing.assert_allclose(forms.qform, volume.affine, atol=1e-5)
    np.testing.assert_allclose(forms.sform, volume.affine, atol=1e-5)
