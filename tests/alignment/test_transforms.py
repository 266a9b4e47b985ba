"""Transforms that others read as they were meant."""

import numpy as np
import pytest
import SimpleITK as sitk

from alignment.conftest import rigid
from gliodistill.alignment import read_transform, write_transform
from gliodistill.errors import ImageError


def test_an_independent_reader_maps_points_as_we_do(tmp_path):
    matrix = rigid(25.0, 12.0, np.array([5.0, -20.0, 30.0]))
    write_transform(matrix, tmp_path / "t1.tfm")
    transform = sitk.ReadTransform(str(tmp_path / "t1.tfm"))
    lps = np.array([-1.0, -1.0, 1.0])
    for point in np.random.default_rng(0).uniform(-80, 80, (5, 3)):
        ours = (matrix @ [*point, 1.0])[:3]
        theirs = lps * transform.TransformPoint((lps * point).tolist())
        np.testing.assert_allclose(theirs, ours, atol=1e-9)
    np.testing.assert_array_equal(read_transform(tmp_path / "t1.tfm"), matrix)


def test_transforms_of_others_with_a_centre_are_read(tmp_path):
    affine = sitk.AffineTransform(3)
    affine.SetCenter((10.0, 20.0, -5.0))
    affine.Rotate(0, 1, 0.3)
    affine.SetTranslation((1.0, 2.0, 3.0))
    sitk.WriteTransform(affine, str(tmp_path / "theirs.tfm"))
    point = np.array([30.0, -40.0, 50.0])
    lps = np.array([-1.0, -1.0, 1.0])
    ours = (read_transform(tmp_path / "theirs.tfm") @ [*point, 1.0])[:3]
    np.testing.assert_allclose(ours, lps * affine.TransformPoint((lps * point).tolist()))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "something else",
        "#Insight Transform File V1.0\nTransform: BSplineTransform_double_3_3\n"
        "Parameters: 1 2\nFixedParameters: 0\n",
        "#Insight Transform File V1.0\nTransform: AffineTransform_double_3_3\n"
        "Parameters: 1 0 0 0 1 0 0 0 1 0 0 nan\nFixedParameters: 0 0 0\n",
    ],
)
def test_other_files_are_refused(tmp_path, text):
    file = tmp_path / "x.tfm"
    file.write_text(text)
    with pytest.raises(ImageError, match=r"x\.tfm: not a transform"):
        read_transform(file)
