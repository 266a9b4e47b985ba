import json

import numpy as np
import pytest

from gliodistill.errors import GliodistillError, LabelError, StudyError
from gliodistill.images import Volume, write_nifti
from gliodistill.phantom import (
    PhantomParameters,
    draw_parameters,
    make_phantom,
    render,
    write_cohort,
)
from gliodistill.phantom.fields import FIELD_MM, Grid
from gliodistill.phantom.parameters import ShapeParameters
from gliodistill.phantom.shapes import find_shapes, place, read_shape

COARSE = 3.0
SIDES = (80, 80, 52)


def ball_map(middle_mm, radii=(24.0, 14.0, 8.0), codes=(2, 1, 4), sides=SIDES):
    """Nested balls in the BraTS frame: oedema, necrosis, enhancing middle; the middle in mm of the
    field of view (RAS+).
    """
    spacing = np.array(FIELD_MM) / sides
    centres = [(np.arange(n) + 0.5) * s - 0.5 for n, s in zip(sides, spacing, strict=True)]
    away = np.sqrt(sum((np.ix_(*centres)[a] - middle_mm[a]) ** 2 for a in range(3)))
    data = np.zeros(sides, np.uint8)
    for radius, code in zip(radii, codes, strict=True):
        data[away <= radius] = code
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = [-(spacing[0] - 1) / 2, 239 - (spacing[1] - 1) / 2, (spacing[2] - 1) / 2]
    return Volume(np.ascontiguousarray(data[::-1, ::-1]), affine)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    write_nifti(ball_map((80.0, 120.0, 90.0)), folder / "right.nii.gz")
    write_nifti(ball_map((150.0, 90.0, 95.0), radii=(18.0, 9.0, 0.0)), folder / "left.nii.gz")
    return folder


def still(shape, **changes):
    values = {
        "mirror": False,
        "scale": (1.0, 1.0, 1.0),
        "rotation_deg": (0.0, 0.0, 0.0),
        "shift_mm": (0.0, 0.0, 0.0),
        "roughness_mm": 0.0,
    }
    return ShapeParameters("s", *shape.volumes_ml, **(values | changes), mass_effect_mm=2.0, seed=3)


def middle_of(parameters, shape):
    grid = Grid.field(2.0)
    regions, box = place(parameters, shape, grid)
    inside = np.argwhere(regions[0])
    return np.array(
        [
            axis[index]
            for axis, index in zip(
                grid.crop(box).axes, inside.mean(axis=0).round().astype(int), strict=True
            )
        ]
    )


def test_label_map_is_read_where_it_lies(shapes):
    shape = read_shape(shapes / "right.nii.gz")
    np.testing.assert_allclose(shape.middle_mm, (80, 120, 90), atol=2)
    for volume, radius in zip(shape.volumes_ml, (24, 14, 8), strict=True):
        assert volume == pytest.approx(4 / 3 * np.pi * radius**3 / 1000, rel=0.06)
    assert read_shape(shapes / "left.nii.gz").volumes_ml[2] == 0


def test_unmoved_shape_stays_and_keeps_its_volumes(shapes):
    shape = read_shape(shapes / "right.nii.gz")
    grid = Grid.field(2.0)
    regions, _ = place(still(shape), shape, grid)
    for region, volume in zip(regions, shape.volumes_ml, strict=True):
        assert region.sum() * grid.spacing**3 / 1000 == pytest.approx(volume, rel=0.08)
    np.testing.assert_allclose(middle_of(still(shape), shape), (80, 120, 90), atol=2)


def test_shift_mirror_and_scale_do_what_they_say(shapes):
    shape = read_shape(shapes / "right.nii.gz")
    np.testing.assert_allclose(
        middle_of(still(shape, shift_mm=(5.0, -6.0, 4.0)), shape), (85, 114, 94), atol=2
    )
    np.testing.assert_allclose(
        middle_of(still(shape, mirror=True), shape), (239 - 80, 120, 90), atol=2
    )
    grid = Grid.field(2.0)
    plain, large = (
        place(still(shape, scale=(s, s, s)), shape, grid)[0][0].sum() for s in (1.0, 1.2)
    )
    assert large / plain == pytest.approx(1.2**3, rel=0.05)


def test_a_turn_takes_an_eccentric_core_along(tmp_path):
    volume = ball_map((100.0, 120.0, 90.0), radii=(24.0, 0.0, 0.0))
    data = volume.data.copy()
    data[ball_map((112.0, 120.0, 90.0), radii=(7.0, 0.0, 0.0)).data == 2] = (
        1  # 12 mm to the right of the middle (RAS+)
    )
    write_nifti(volume.with_data(data), tmp_path / "a.nii.gz")
    shape = read_shape(tmp_path / "a.nii.gz")
    grid = Grid.field(2.0)
    regions, _ = place(still(shape, rotation_deg=(0.0, 0.0, 90.0)), shape, grid)
    whole, core = (np.argwhere(region).mean(axis=0) * 2.0 for region in regions[:2])
    x, y, z = core - whole
    assert abs(x) < 3 and abs(z) < 3 and abs(y) == pytest.approx(12, abs=3)


def test_phantom_has_the_shape_and_is_replayed(shapes):
    study = make_phantom(4, 0, COARSE, shapes=shapes)
    parameters = draw_parameters(4, 0, shapes=find_shapes(shapes))
    replayed = PhantomParameters.from_dict(json.loads(json.dumps(parameters.as_dict())))
    assert replayed == parameters
    again = render(replayed, COARSE, shapes)
    np.testing.assert_array_equal(study.truth.data, again.truth.data)
    tumour = parameters.tumour
    wt = study.convention.to_regions(study.truth.data)[0].sum() * study.grid.voxel_ml
    assert 0.4 * tumour.wt_ml < wt < 1.6 * tumour.wt_ml
    brain = np.any([image.data > 0 for image in study.images.values()], axis=0)
    assert not study.truth.data[~brain].any()


def test_every_shape_has_its_turn(shapes):
    used = [
        draw_parameters(9, index, shapes=find_shapes(shapes)).tumour.shape for index in range(6)
    ]
    assert all(set(used[k : k + 2]) == {"left.nii.gz", "right.nii.gz"} for k in (0, 2, 4))


def test_cohort_goes_on_and_refuses_other_tumours(shapes, tmp_path):
    folders = write_cohort(tmp_path / "c", 1, 4, spacing=COARSE, jobs=1, shapes=shapes)
    record = json.loads((folders[0] / f"{folders[0].name}_phantom.json").read_text())
    assert record["parameters"]["tumour"]["shape"] in {"left.nii.gz", "right.nii.gz"}
    assert write_cohort(tmp_path / "c", 1, 4, spacing=COARSE, jobs=1, shapes=shapes) == folders
    with pytest.raises(GliodistillError, match="other settings"):
        write_cohort(tmp_path / "c", 1, 4, spacing=COARSE, jobs=1)


@pytest.mark.parametrize(
    ("volume", "error", "message"),
    [
        (
            Volume(np.zeros(SIDES, np.uint8), ball_map((80, 120, 90)).affine),
            StudyError,
            "without a tumour",
        ),
        (Volume(np.ones((40, 40, 40), np.uint8), np.eye(4)), StudyError, "another frame"),
        (ball_map((80, 120, 90), codes=(2, 1, 3)), LabelError, "unknown label codes"),
    ],
)
def test_unusable_label_maps_are_refused(tmp_path, volume, error, message):
    write_nifti(volume, tmp_path / "bad.nii.gz")
    with pytest.raises(error, match=message):
        read_shape(tmp_path / "bad.nii.gz")


def test_a_folder_without_label_maps_is_refused(tmp_path):
    with pytest.raises(StudyError, match="no tumour shapes"):
        make_phantom(0, 0, COARSE, shapes=tmp_path / "nowhere")
