"""What a network sees of a study, and the way back."""

from dataclasses import replace
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gliodistill.errors import PackageError, StudyError
from gliodistill.images import Volume
from gliodistill.preparation import Preparation
from gliodistill.preparation.quantise import STEP
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study
from tiny_cohort import AFFINE, SHAPE, study
from way_back import to_native

ORIENTATIONS = [
    (order, signs) for order in permutations(range(3)) for signs in product((-1, 1), repeat=3)
]


def reoriented(original: Study, order: tuple[int, ...], signs: tuple[int, ...]) -> Study:
    """The same study as another scanner would have stored it (by nibabel)."""

    def turn(volume: Volume) -> Volume:
        image = nib.Nifti1Image(volume.data.astype(np.int16), volume.affine)
        turned = image.as_reoriented(np.array(list(zip(order, signs, strict=True))))
        return Volume(np.asarray(turned.dataobj).astype(volume.data.dtype), turned.affine)

    return replace(
        original,
        images={s: turn(v) for s, v in original.images.items()},
        truth=turn(original.truth),
    )


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_inversion_at_native_spacing_is_exact_for_every_orientation(order, signs):
    case = reoriented(study(), order, signs)
    prepared = Preparation().apply(case)
    assert prepared.spacing == (1.0, 1.0, 1.0)
    expected = case.convention.to_regions(case.truth.data)
    np.testing.assert_array_equal(
        to_native(prepared, prepared.truth_regions().astype(np.float32), 0.5), expected
    )


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS[::5])
@pytest.mark.parametrize("spacing", [None, (1.5, 1.5, 2.0)])
def test_the_same_brain_gives_the_same_numbers_however_it_is_stored(order, signs, spacing):
    plain, turned = (
        Preparation(spacing=spacing).apply(study()),
        Preparation(spacing=spacing).apply(reoriented(study(), order, signs)),
    )
    np.testing.assert_array_equal(plain.image, turned.image)
    np.testing.assert_array_equal(plain.truth, turned.truth)
    np.testing.assert_allclose(plain.affine, turned.affine, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float64])
def test_the_type_of_voxels_does_not_matter(dtype):
    case = study()
    other = replace(
        case, images={s: Volume(v.data.astype(dtype), v.affine) for s, v in case.images.items()}
    )
    np.testing.assert_array_equal(Preparation().apply(case).image, Preparation().apply(other).image)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 50), st.floats(-100, 1000), st.sampled_from([None, (2.0, 2.0, 2.0)]))
def test_scale_and_offset_of_the_scanner_do_not_matter(scale, offset, spacing):
    case = study()
    changed = {}
    for sequence, volume in case.images.items():
        brain = volume.data != 0
        # 300 keeps brain away from 0, which means "no brain".
        changed[sequence] = Volume(
            np.where(brain, (volume.data - 200) * scale + offset + 300, 0).astype(np.float64),
            volume.affine,
        )
    before = Preparation(spacing=spacing).apply(case)
    after = Preparation(spacing=spacing).apply(replace(case, images=changed))
    np.testing.assert_array_equal(before.image == 0, after.image == 0)
    assert np.abs(before.image.astype(int) - after.image).max() <= 1  # rounding of float32
    assert (before.image != after.image).mean() < 0.01


def test_normalised_means_mean_0_and_deviation_1_of_the_brain():
    random, brain = np.random.default_rng(0), study().images[MRSequence.T1].data != 0
    image = np.where(brain, random.normal(900, 70, SHAPE), 0)
    prepared = Preparation(percentiles=(0, 100)).apply(
        Study("a", "a", {MRSequence.T1: Volume(image, AFFINE)})
    )
    values = prepared.values()[0][prepared.image[0] > 0]
    assert values.mean() == pytest.approx(0, abs=0.01)
    assert values.std() == pytest.approx(1, abs=0.01)


def test_a_few_extreme_voxels_do_not_move_the_rest():
    case = study()
    wild = case.images[MRSequence.T2].data.copy()
    x, y, z = (side // 2 for side in SHAPE)
    wild[x, y, z] = 1e6
    prepared = Preparation().apply(case)
    other = Preparation().apply(
        replace(case, images={**case.images, MRSequence.T2: Volume(wild, AFFINE)})
    )
    difference = np.abs(prepared.values() - other.values())
    assert np.median(difference[2][prepared.image[2] > 0]) < 3 * STEP


def test_a_missing_sequence_is_all_zero_and_said_so():
    case = study(lacking=(MRSequence.T1CE, MRSequence.FLAIR))
    prepared = Preparation().apply(case)
    assert prepared.present == (True, False, True, False)
    assert not prepared.image[[1, 3]].any()
    assert not prepared.values()[[1, 3]].any()
    whole = Preparation().apply(study())
    np.testing.assert_array_equal(prepared.image[[0, 2]], whole.image[[0, 2]])


def test_the_order_of_channels_is_that_of_the_settings():
    prepared = Preparation().apply(study())
    swapped = Preparation((MRSequence.FLAIR, MRSequence.T1)).apply(study())
    np.testing.assert_array_equal(swapped.image, prepared.image[[3, 0]])


def test_labels_survive_two_millimetres_and_back():
    shape = (64, 60, 56)
    case = study(3, shape)
    prepared = Preparation(spacing=(2.0, 2.0, 2.0)).apply(case)
    assert prepared.spacing == pytest.approx((2, 2, 2))
    back = to_native(prepared, prepared.truth_regions().astype(np.float32), 0.5)
    truth = case.convention.to_regions(case.truth.data)
    assert back.shape == truth.shape
    for region, least in zip(range(3), (0.95, 0.93, 0.85), strict=True):
        assert dice(back[region], truth[region]) > least
    whole, core, enhancing = prepared.truth_regions()
    assert (core <= whole).all()
    assert (enhancing <= core).all()


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (0.75, 1.5, 1.0), None])
def test_the_affine_says_where_each_voxel_is(spacing):
    """An image that is a linear function of world position is that function of the prepared grid's
    positions.
    """
    angle, slope = 0.2, np.array([3.0, -2.0, 4.0])
    affine = np.array(
        [
            [-np.cos(angle), np.sin(angle), 0, 12],
            [np.sin(angle), np.cos(angle), 0, -8],
            [0, 0, -1.0, 30],
            [0, 0, 0, 1],
        ]
    )
    index = np.stack([*np.indices(SHAPE), np.ones(SHAPE)])
    world = np.einsum("ij,jxyz->ixyz", affine, index)[:3]
    image = 500 + np.einsum("i,ixyz->xyz", slope, world)
    image[np.ix_(*[(0, 1, -2, -1)] * 3)] = 0  # background in the corners
    prepared = Preparation(spacing=spacing, margin_mm=0).apply(
        Study("a", "a", {MRSequence.T1: Volume(image, affine)})
    )
    index = np.stack([*np.indices(prepared.shape), np.ones(prepared.shape)])
    expected = 500 + np.einsum(
        "i,ixyz->xyz", slope, np.einsum("ij,jxyz->ixyz", prepared.affine, index)[:3]
    )
    inner = (slice(2, -2),) * 3  # the rim sees one side only
    x, y = expected[inner].ravel(), prepared.values()[0, 2:-2, 2:-2, 2:-2].ravel()
    fitted = np.polyval(np.polyfit(x, y, 1), x)
    assert np.abs(fitted - y).max() < STEP


def test_the_box_holds_the_brain_and_a_margin():
    case = study()
    prepared = Preparation(margin_mm=2).apply(case)
    brain = np.any([v.canonical().data != 0 for v in case.images.values()], axis=0)
    for axis, side in enumerate(prepared.box):
        line = np.flatnonzero(brain.any(axis=tuple(a for a in range(3) if a != axis)))
        assert (side.start, side.stop) == (line[0] - 2, line[-1] + 3)
    outside = np.ones(brain.shape, bool)
    outside[prepared.on_grid[0]] = False
    assert not (brain & outside).any()
    assert not to_native(prepared, np.ones((1, *prepared.shape), np.float32), 0.5)[0][
        case.images[MRSequence.T1].from_canonical(outside)
    ].any()


@pytest.mark.parametrize("spacing", [None, (1.5, 2.0, 1.2)])
def test_a_brain_at_the_border_of_its_image_looks_as_on_a_larger_grid(spacing):
    """The margin goes on beyond the image: the network sees the same numbers, and its answer comes
    back to the same voxels.
    """
    whole = study()
    brain = np.any([image.data != 0 for image in whole.images.values()], axis=0)
    first, last = np.argwhere(brain).min(axis=0), np.argwhere(brain).max(axis=0)
    box = tuple(slice(low, high + 1) for low, high in zip(first, last, strict=True))
    moved = AFFINE.copy()
    moved[:3, 3] = AFFINE[:3] @ [*first, 1]
    images = {sequence: Volume(image.data[box], moved) for sequence, image in whole.images.items()}
    tight = replace(whole, images=images, truth=Volume(whole.truth.data[box], moved))
    a, b = (Preparation(spacing=spacing).apply(case) for case in (whole, tight))
    np.testing.assert_array_equal(b.image, a.image)
    np.testing.assert_array_equal(b.truth, a.truth)
    np.testing.assert_allclose(b.affine, a.affine, atol=1e-9)
    scores = np.random.default_rng(1).normal(size=(2, *a.shape)).astype(np.float32)
    np.testing.assert_array_equal(to_native(b, scores, 0.0), to_native(a, scores, 0.0)[:, *box])
    values = np.stack([np.where(brain, np.arange(brain.size).reshape(brain.shape) % 7, 0)])
    np.testing.assert_array_equal(b.from_native(values[:, *box]), a.from_native(values))


def test_no_brain_no_sequence_no_truth_no_convention():
    empty = Study("a", "a", {MRSequence.T1: Volume(np.zeros(SHAPE), AFFINE)})
    with pytest.raises(StudyError, match="images are empty"):
        Preparation().apply(empty)
    with pytest.raises(StudyError, match="no usable sequence"):
        Preparation((MRSequence.FLAIR,)).apply(study(lacking=(MRSequence.FLAIR,)))
    with pytest.raises(StudyError, match="label convention"):
        Preparation().apply(replace(study(), convention=None))
    with pytest.raises(StudyError, match="no reference segmentation"):
        Preparation().apply(replace(study(), truth=None)).truth_regions()


def test_a_flat_sequence_counts_as_missing():
    case = study()
    for fill in (0.0, 7.0):
        flat = Volume((case.images[MRSequence.T1].data != 0).astype(np.float32) * fill, AFFINE)
        prepared = Preparation().apply(replace(case, images={**case.images, MRSequence.T1: flat}))
        assert prepared.present == (False, True, True, True)
        assert not prepared.image[0].any()
        assert ["T1" in note.text for note in prepared.notes] == [True]


def test_settings_go_through_json():
    for settings_ in (
        Preparation(),
        Preparation((MRSequence.T2,), (1.0, 2.0, 0.5), 0.0, (2.0, 98.0), 20.0),
    ):
        assert Preparation.from_dict(settings_.to_dict()) == settings_
    assert (
        "bias_mm" not in Preparation().to_dict()
    )  # as in packages from before it could be taken off


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"spacing": [1, 1]}, "preparation"),
        ({"spacing": [1, 0, 1]}, "preparation.spacing"),
        ({"spacing": [1, float("nan"), 1]}, "preparation.spacing"),
        ({"sequences": []}, "preparation.sequences"),
        ({"sequences": ["T1", "T1"]}, "preparation.sequences"),
        ({"sequences": ["T9"]}, "preparation"),
        ({"margin_mm": -1}, "preparation.margin_mm"),
        ({"percentiles": [99, 1]}, "preparation.percentiles"),
        ({"bias_mm": 0}, "preparation.bias_mm"),
        ({"bias_mm": None}, "preparation"),
        ({"extra": 1}, "preparation"),
    ],
)
def test_settings_that_do_not_fit(change, field):
    with pytest.raises(PackageError) as caught:
        Preparation.from_dict({**Preparation().to_dict(), **change})
    assert caught.value.field == field
