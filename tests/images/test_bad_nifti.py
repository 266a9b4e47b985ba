"""Every kind of bad image ends in one line that names file, field, got and expected."""

import gzip
import os
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gliodistill.errors import GliodistillError, ImageError, LabelError, OutputError
from gliodistill.images import Volume, read_labels, read_nifti, write_nifti

FLOATS = np.ones((3, 4, 5), dtype=np.float32)
FLOAT_NAN = FLOATS.copy()
FLOAT_NAN[0, 0, :2] = np.nan, np.inf

# Offsets of nifti1.h: dim 40, datatype 70, bitpix 72, pixdim 76, vox_offset 108, scl_slope 112,
# scl_inter 116, xyzt_units 123, qform_code 252, sform_code 254, quatern 256, srow 280, magic 344.
HEADERS = {
    "size of header": ([(0, "i", 100)], "sizeof_hdr"),
    "NIfTI-2": ([(0, "i", 540)], "sizeof_hdr"),
    "magic of something else": ([(344, "4s", b"abc\0")], "magic"),
    "magic of a pair": ([(344, "4s", b"ni1\0")], "magic"),
    "2-D": ([(40, "h", 2)], "dim[0]"),
    "dim[0] out of range": ([(40, "h", 9)], "dim[0]"),
    "no axes": ([(40, "h", 0)], "dim[0]"),
    "empty axis": ([(42, "h", 0)], "dim"),
    "negative axis": ([(44, "h", -4)], "dim"),
    "five axes": ([(40, "5h", 5, 3, 4, 5, 1), (50, "h", 2)], "dim"),
    "dims larger than the file": ([(42, "3h", 3, 4, 6)], "dim"),
    "dims far larger than memory": ([(42, "3h", 32767, 32767, 32767)], "dim"),
    "dims smaller than the file": ([(42, "3h", 3, 4, 4)], "dim"),
    "complex voxels": ([(70, "h", 32), (72, "h", 64)], "datatype"),
    "RGB voxels": ([(70, "h", 128), (72, "h", 24)], "datatype"),
    "unknown datatype": ([(70, "h", 77)], "datatype"),
    "bitpix against datatype": ([(72, "h", 32)], "bitpix"),
    "voxels inside the header": ([(108, "f", 300.0)], "vox_offset"),
    "fractional offset": ([(108, "f", 352.5)], "vox_offset"),
    "NaN offset": ([(108, "f", np.nan)], "vox_offset"),
    "NaN slope": ([(112, "f", np.nan)], "scl_slope/scl_inter"),
    "infinite intercept": ([(116, "f", np.inf)], "scl_slope/scl_inter"),
    "overflowing slope": ([(112, "f", 3e38)], "voxels"),
    "no geometry": ([(252, "2h", 0, 0)], "sform_code/qform_code"),
    "zero affine": ([(280, "12f", *[0.0] * 12)], "sform"),
    "NaN affine": ([(280, "f", np.nan)], "sform"),
    "singular affine": ([(280, "12f", 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 2, 0)], "sform"),
    "quaternion too long": ([(254, "h", 0), (256, "3f", 1, 1, 1)], "quatern_b/c/d"),
    "NaN quaternion": ([(254, "h", 0), (256, "f", np.nan)], "quatern_b/c/d"),
    "NaN pixdim under a qform": ([(254, "h", 0), (80, "f", np.nan)], "qform"),
    "zero pixdim under a qform": ([(254, "h", 0), (80, "f", 0.0)], "qform"),
    "negative pixdim under a qform": ([(254, "h", 0), (84, "f", -1.5)], "pixdim"),
    "pixdim against the sform": ([(80, "f", 1.02)], "pixdim"),
    "NaN pixdim beside an sform": ([(80, "f", np.nan)], "pixdim"),
    "unit of length unknown": ([(123, "B", 7)], "xyzt_units"),
    "metres that are millimetres": ([(123, "B", 1)], "sform"),
    "micrometres that are millimetres": ([(123, "B", 3)], "sform"),
}


def check(
    caught: pytest.ExceptionInfo[GliodistillError], path: os.PathLike[str], field: str
) -> None:
    error = caught.value
    line = str(error)
    assert "\n" not in line
    assert str(path) in line
    assert error.field == field
    assert f"field {field}" in line
    assert error.got is not None
    assert " got " in line
    assert error.expected is not None
    assert "expected " in line


@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz"])
@pytest.mark.parametrize(("patches", "field"), HEADERS.values(), ids=HEADERS)
def test_bad_header(file, patch, patches, field, name):
    path = file(patch(*patches), name)
    with pytest.raises(ImageError) as caught:
        read_nifti(path)
    check(caught, path, field)


def _cut(content: bytes) -> bytes:
    return gzip.compress(content)[:-30]


def _without_trailer(content: bytes) -> bytes:
    return gzip.compress(content)[:-8]


def _wrong_crc(content: bytes) -> bytes:
    packed = bytearray(gzip.compress(content))
    packed[-8] ^= 1
    return bytes(packed)


def _wrong_length(content: bytes) -> bytes:
    packed = bytearray(gzip.compress(content))
    packed[-4] ^= 1
    return bytes(packed)


def _flipped(content: bytes) -> bytes:
    packed = bytearray(gzip.compress(content))
    packed[len(packed) // 2] ^= 0x55
    return bytes(packed)


CONTAINERS = {
    "empty file": ("image.nii.gz", lambda content: b"", "size"),
    "empty plain file": ("image.nii", lambda content: b"", "size"),
    "plain under .nii.gz": ("image.nii.gz", bytes, "magic"),
    "gzip under .nii": ("image.nii", gzip.compress, "name"),
    "text": ("image.nii", lambda content: b"patient,age\n" * 60, "sizeof_hdr"),
    "shorter than a header": ("image.nii", lambda content: content[:200], "header"),
    "compressed, shorter than a header": (
        "image.nii.gz",
        lambda content: gzip.compress(content[:200]),
        "header",
    ),
    "header only": ("image.nii.gz", lambda content: gzip.compress(content[:352]), "dim"),
    "voxels cut before compressing": (
        "image.nii.gz",
        lambda content: gzip.compress(content[:-7]),
        "dim",
    ),
    "more voxels than declared": (
        "image.nii.gz",
        lambda content: gzip.compress(content + b"\1" * 9),
        "dim",
    ),
    "plain and cut": ("image.nii", lambda content: content[:-7], "dim"),
    "plain with a tail": ("image.nii", lambda content: content + b"\0", "dim"),
    "gzip cut": ("image.nii.gz", _cut, "gzip"),
    "gzip without its checksum": ("image.nii.gz", _without_trailer, "gzip"),
    "gzip with a wrong checksum": ("image.nii.gz", _wrong_crc, "gzip"),
    "gzip with a wrong length": ("image.nii.gz", _wrong_length, "gzip"),
    "gzip with flipped bits": ("image.nii.gz", _flipped, "gzip"),
    "garbage after gzip": (
        "image.nii.gz",
        lambda content: gzip.compress(content) + b"garbage",
        "gzip",
    ),
    "pair header": ("image.hdr", bytes, "name"),
    "pair image": ("image.img.gz", bytes, "name"),
    "other format": ("image.mha", bytes, "name"),
}


@pytest.mark.parametrize(("name", "damage", "field"), CONTAINERS.values(), ids=CONTAINERS)
def test_bad_file(file, nifti, name, damage, field):
    noise = np.random.default_rng(0).integers(0, 1000, (12, 13, 14)).astype(np.int16)
    path = file(damage(bytes(nifti(noise))), name, raw=True)
    with pytest.raises(ImageError) as caught:
        read_nifti(path)
    check(caught, path, field)


@pytest.mark.parametrize("damage", [_cut, _without_trailer, _wrong_crc])
def test_damage_behind_a_highly_compressible_image(file, nifti, damage):
    path = file(damage(bytes(nifti(np.zeros((64, 64, 64), dtype=np.uint8)))), raw=True)
    with pytest.raises(ImageError) as caught:
        read_nifti(path)
    check(caught, path, "gzip")


def test_missing_file(tmp_path):
    with pytest.raises(ImageError) as caught:
        read_nifti(tmp_path / "nothing.nii.gz")
    check(caught, tmp_path / "nothing.nii.gz", "file")


def test_folder_in_place_of_a_file(tmp_path):
    (tmp_path / "folder.nii.gz").mkdir()
    with pytest.raises(ImageError) as caught:
        read_nifti(tmp_path / "folder.nii.gz")
    check(caught, tmp_path / "folder.nii.gz", "file")


def test_nan_voxels_are_counted(file, nifti):
    path = file(nifti(FLOAT_NAN))
    with pytest.raises(ImageError, match="2 NaN or Inf of 60") as caught:
        read_nifti(path)
    check(caught, path, "voxels")


@pytest.mark.parametrize(("channel", "field"), [(None, "dim"), (2, "channel"), (-1, "channel")])
def test_four_axes_without_a_fitting_channel(file, nifti, channel, field):
    path = file(nifti(np.zeros((3, 4, 5, 2), dtype=np.int16)))
    with pytest.raises(ImageError) as caught:
        read_nifti(path, channel)
    check(caught, path, field)


@pytest.mark.parametrize("values", [-1, 256, 0.5], ids=str)
def test_bad_labels(file, nifti, values):
    data = np.zeros((3, 4, 5), dtype=np.float32)
    data[1, 2, 3] = values
    path = file(nifti(data))
    with pytest.raises(LabelError) as caught:
        read_labels(path)
    check(caught, path, "labels")


def test_labels_that_are_nan(file, nifti):
    path = file(nifti(FLOAT_NAN))
    with pytest.raises(ImageError) as caught:
        read_labels(path)
    check(caught, path, "voxels")


def test_scaled_labels_are_judged_after_scaling(file, patch):
    path = file(patch((112, "f", 100.0)))  # 0..59 stored, up to 5900 meant
    with pytest.raises(LabelError) as caught:
        read_labels(path)
    check(caught, path, "labels")


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (FLOAT_NAN, "voxels"),
        (np.full((1, 1, 1), 2**40), "voxels"),
        (np.broadcast_to(np.uint8(0), (32768, 1, 1)), "shape"),
        (np.ones((2, 2, 2), dtype=np.longdouble), "dtype"),
    ],
    ids=["NaN", "64-bit", "long axis", "long double"],
)
def test_what_cannot_be_written_leaves_nothing(tmp_path, data, field):
    with pytest.raises(ImageError) as caught:
        write_nifti(Volume(data, np.eye(4)), tmp_path / "out.nii.gz")
    check(caught, tmp_path / "out.nii.gz", field)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.mha", "out", "out.gz", "out.nii.zip"])
def test_names_that_are_no_nifti(tmp_path, name):
    with pytest.raises(OutputError) as caught:
        write_nifti(Volume(FLOATS, np.eye(4)), tmp_path / name)
    check(caught, tmp_path / name, "name")
    assert list(tmp_path.iterdir()) == []


def test_writing_where_there_is_no_folder(tmp_path):
    with pytest.raises(OutputError):
        write_nifti(Volume(FLOATS, np.eye(4)), tmp_path / "nowhere" / "out.nii.gz")


def test_extension_that_points_past_the_end(file, nifti):
    content = nifti()
    struct.pack_into("<f", content, 108, 4096.0)
    path = file(content)
    with pytest.raises(ImageError) as caught:
        read_nifti(path)
    check(caught, path, "dim")


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.integers(0, 360), st.integers(0, 255)), min_size=1, max_size=4),
    st.booleans(),
)
def test_any_struck_bytes_are_read_or_refused(file, nifti, strikes, labels):
    content = nifti()
    for offset, value in strikes:
        content[offset] = value
    path = file(content, "image.nii")
    try:
        assert (read_labels if labels else read_nifti)(path).data.size > 0
    except GliodistillError as error:
        assert "\n" not in str(error)
        assert str(path) in str(error)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(10, 100_000), st.integers(1, 255))
def test_any_flipped_byte_of_a_gzip_changes_nothing_or_is_refused(file, nifti, offset, flip):
    noise = np.random.default_rng(0).integers(0, 1000, (12, 13, 14)).astype(np.int16)
    packed = bytearray(gzip.compress(bytes(nifti(noise))))
    packed[10 + offset % (len(packed) - 10)] ^= flip
    path = file(bytes(packed), raw=True)
    try:
        np.testing.assert_array_equal(read_nifti(path).data, noise)
    except ImageError as error:
        assert str(path) in str(error)
