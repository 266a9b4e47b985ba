"""Reading against nibabel as the oracle; writing read back by nibabel and by ourselves."""

import gzip
import hashlib
import struct

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gliodistill.images import Volume, read_labels, read_nifti, write_nifti
from gliodistill.images.header import DTYPES
from gliodistill.images.nifti import read_channels, read_header

READ = [np.dtype(name) for name in DTYPES.values()]
ORIENTED = st.permutations(range(3)).flatmap(
    lambda order: st.tuples(
        st.just(order),
        st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
        st.tuples(*[st.floats(0.3, 6.0)] * 3),
    )
)


def affine_of(orientation) -> np.ndarray:
    """A voxel→world matrix whose axes are a signed permutation, scaled and slightly rotated."""
    order, signs, spacing = orientation
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3)[:, order] * signs
    angle = 0.2
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    matrix[:3, :3] = turn @ matrix[:3, :3] * spacing
    matrix[:3, 3] = (-91.5, 126.25, -72.0)
    return matrix


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", READ, ids=str)
def test_every_type_and_byte_order(tmp_path, nifti, dtype, order):
    data = np.random.default_rng(1).integers(0, 100, (3, 4, 5)).astype(dtype)
    image = nib.Nifti1Image(
        data, np.diag([1, 1.5, 2, 1]), nib.Nifti1Header(endianness=order), dtype=dtype
    )
    path = tmp_path / "image.nii.gz"
    nib.save(image, path)
    volume = read_nifti(path)
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data, data.astype(np.float32))
    np.testing.assert_array_equal(volume.affine, image.affine)


@pytest.mark.parametrize(("slope", "inter"), [(0.0, 7.0), (2.5, 0.0), (0.01, -3.0)])
def test_scaling_agrees_with_nibabel(file, patch, slope, inter):
    path = file(patch((112, "2f", slope, inter)))
    np.testing.assert_array_equal(
        read_nifti(path).data, nib.load(path).get_fdata().astype(np.float32)
    )


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(orientation=ORIENTED)
def test_qform_agrees_with_nibabel(tmp_path, nifti, orientation):
    affine = affine_of(orientation)
    content = nifti(affine=affine)
    struct.pack_into("<h", content, 254, 0)  # sform off: the quaternion speaks
    path = tmp_path / "image.nii"
    path.write_bytes(content)
    np.testing.assert_allclose(read_nifti(path).affine, nib.load(path).affine, atol=1e-5)
    np.testing.assert_allclose(read_nifti(path).affine, affine, atol=1e-3)


@pytest.mark.parametrize(
    ("code", "factor"), [(0, 1.0), (1, 1e-3), (3, 1e3)], ids=["unknown", "metre", "micrometre"]
)
def test_units_become_millimetres(file, patch, code, factor):
    # 1, 1.5 and 2 mm said in the unit, with the origin at 10 mm.
    rows = [factor, 0, 0, 10 * factor, 0, 1.5 * factor, 0, 0, 0, 0, 2 * factor, 0]
    path = file(
        patch(
            (252, "h", 0),
            (123, "B", code),
            (280, "12f", *rows),
            (80, "3f", factor, 1.5 * factor, 2 * factor),
        )
    )
    volume = read_nifti(path)
    np.testing.assert_allclose(volume.spacing, (1, 1.5, 2), rtol=1e-6)
    np.testing.assert_allclose(volume.affine[:3, 3], (10, 0, 0), rtol=1e-6)


def test_channels_of_a_4d_file(file, nifti):
    data = np.arange(240, dtype=np.int16).reshape(3, 4, 5, 4)
    path = file(nifti(data))
    for channel in range(4):
        np.testing.assert_array_equal(read_nifti(path, channel).data, data[..., channel])
    np.testing.assert_array_equal(read_channels(path, [3, 1])[1].data, data[..., 1])
    header = read_header(path)
    assert (header.shape, header.channels) == ((3, 4, 5), 4)


def test_trailing_axes_of_one_are_accepted(file, nifti):
    data = np.arange(60, dtype=np.int16).reshape(3, 4, 5, 1, 1)
    path = file(nifti(data))
    np.testing.assert_array_equal(read_nifti(path).data, data[..., 0, 0])
    np.testing.assert_array_equal(read_nifti(path, 0).data, data[..., 0, 0])


def test_header_extensions_are_skipped(tmp_path):
    image = nib.Nifti1Image(np.arange(60, dtype=np.uint8).reshape(3, 4, 5), np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"scanner notes"))
    nib.save(image, tmp_path / "image.nii.gz")
    np.testing.assert_array_equal(read_nifti(tmp_path / "image.nii.gz").data, image.get_fdata())


def test_several_gzip_members_and_zero_padding_are_one_file(file, nifti):
    content = bytes(nifti())
    packed = (
        b"".join(
            gzip.compress(content[start : start + 100]) for start in range(0, len(content), 100)
        )
        + b"\0" * 512
    )
    np.testing.assert_array_equal(
        read_nifti(file(packed, raw=True)).data, np.arange(60).reshape(3, 4, 5)
    )


def test_header_larger_than_one_block_of_gzip(file, nifti):
    noise = np.random.default_rng(0).integers(-30000, 30000, (64, 65, 66)).astype(np.int16)
    path = file(nifti(noise))
    assert path.stat().st_size > 1 << 17
    np.testing.assert_array_equal(read_nifti(path).data, noise)


def test_labels_of_every_disguise(file, nifti, patch):
    codes = np.arange(60).reshape(3, 4, 5) % 5
    for dtype in (np.uint8, np.int16, np.float32, np.float64):
        labels = read_labels(file(nifti(codes.astype(dtype))))
        assert labels.data.dtype == np.uint8
        assert labels.data.flags.writeable
        np.testing.assert_array_equal(labels.data, codes)
    halves = file(patch((112, "f", 0.5), data=(2 * codes).astype(np.int16)))
    np.testing.assert_array_equal(read_labels(halves).data, codes)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    orientation=ORIENTED,
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    dtype=st.sampled_from(READ[:-2]),
    suffix=st.sampled_from([".nii", ".nii.gz"]),
    fortran=st.booleans(),
)
def test_written_is_read(tmp_path, orientation, shape, dtype, suffix, fortran):
    data = np.random.default_rng(2).integers(0, 120, shape).astype(dtype)
    volume = Volume(np.asfortranarray(data) if fortran else data, affine_of(orientation))
    path = tmp_path / f"image{suffix}"
    write_nifti(volume, path)
    again, oracle = read_nifti(path), nib.load(path)
    np.testing.assert_array_equal(again.data, data)
    assert again.apart(volume) < 1e-3
    assert oracle.get_data_dtype() == dtype
    np.testing.assert_array_equal(np.asarray(oracle.dataobj), data)
    np.testing.assert_allclose(oracle.get_sform(coded=True)[0], volume.affine, atol=1e-4)
    np.testing.assert_allclose(oracle.get_qform(coded=True)[0], volume.affine, atol=1e-4)


@pytest.mark.parametrize(
    ("given_type", "written"),
    [
        (bool, np.uint8),
        (np.float16, np.float32),
        (np.int64, np.int32),
        (">i2", np.int16),
        (np.float64, np.float64),
    ],
)
def test_types_nifti_lacks_become_the_nearest(tmp_path, given_type, written):
    data = (np.arange(8).reshape(2, 2, 2) % 2).astype(given_type)
    write_nifti(Volume(data, np.eye(4)), tmp_path / "image.nii.gz")
    oracle = nib.load(tmp_path / "image.nii.gz")
    assert oracle.get_data_dtype() == written
    np.testing.assert_array_equal(np.asarray(oracle.dataobj), data)


def test_written_header_says_nothing_but_geometry(tmp_path):
    path = tmp_path / "patient_name.nii.gz"
    write_nifti(Volume(np.zeros((2, 3, 4), dtype=np.uint8), np.eye(4)), path)
    packed = path.read_bytes()
    assert packed[3] == 0  # FLG: no name, no comment
    assert packed[4:8] == b"\0\0\0\0"  # no time
    header = nib.load(path).header
    assert [
        header[name].item()
        for name in ("descrip", "aux_file", "intent_name", "db_name", "data_type")
    ] == [b""] * 5
    assert not header.extensions
    assert (header["sform_code"], header["qform_code"], header.get_xyzt_units()[0]) == (1, 1, "mm")


def test_equal_volumes_give_equal_bytes_in_any_memory_order(tmp_path):
    data = np.random.default_rng(3).normal(size=(9, 8, 7)).astype(np.float32)
    write_nifti(Volume(data, np.eye(4)), tmp_path / "a.nii.gz")
    write_nifti(Volume(np.asfortranarray(data), np.eye(4)), tmp_path / "b.nii.gz")
    digests = {
        hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        for name in ("a.nii.gz", "b.nii.gz")
    }
    assert len(digests) == 1


def test_sheared_axes_survive_in_the_sform(tmp_path):
    affine = np.array([[1, 0.2, 0, 5], [0, 1, 0.1, 6], [0, 0, 2, 7], [0, 0, 0, 1.0]])
    write_nifti(Volume(np.zeros((3, 3, 3), dtype=np.uint8), affine), tmp_path / "image.nii")
    np.testing.assert_allclose(read_nifti(tmp_path / "image.nii").affine, affine, atol=1e-6)


@pytest.mark.real
def test_real_images_agree_with_nibabel(real_data):
    for path in (
        sorted(real_data.glob("native/*/*.nii.gz"))
        + sorted(real_data.glob("labelled/BraTS2021_01477/*.nii.gz"))[:2]
    ):
        volume, oracle = read_nifti(path), nib.load(path)
        np.testing.assert_allclose(volume.affine, oracle.affine, atol=1e-6)
        np.testing.assert_array_equal(volume.data, oracle.get_fdata(dtype=np.float32))
