"""What other scanners do, against plain NumPy."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from gliodistill.training.transforms import (
    TRANSFORMS,
    Bias,
    Curve,
    CutField,
    Misregistration,
    ThickSlices,
    Windowing,
)
from gliodistill.training.transforms.bias import BiasDraw
from gliodistill.training.transforms.curve import KNOTS
from gliodistill.training.transforms.intensities import SCANNER
from gliodistill.training.transforms.thick_slices import ThickSlicesDraw
from gliodistill.training.transforms.windowing import WindowingDraw

SHAPE = (2, 9, 10, 12)
INSIDE = torch.ones(SHAPE, dtype=torch.bool)


def values(seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32))


def applied(transform, drawn):
    return transform.apply(values(), INSIDE, drawn).numpy()


@pytest.mark.parametrize("name", [*SCANNER, "windowing"])
def test_equal_seeds_equal_draws_and_results(name):
    transform = TRANSFORMS[name](**({"sequences": 1.0} if name == "thick_slices" else {}))
    first, again = (transform.draw(2, np.random.default_rng(7)) for _ in range(2))
    image = values()
    result = transform.apply(image, INSIDE, first)
    assert torch.equal(result, transform.apply(image, INSIDE, again))
    assert not torch.equal(result, image)
    assert torch.equal(image, values())  # not in place


def test_the_identity_curve_is_the_identity_even_beyond_its_knots():
    curve = np.stack([KNOTS, 2 * KNOTS])
    image = 3 * values()
    result = Curve().apply(image, INSIDE, curve)
    torch.testing.assert_close(result, torch.stack([image[0], 2 * image[1]]), rtol=1e-5, atol=1e-5)


def test_curves_are_numpys_interpolation_and_keep_the_order():
    curve = Curve().draw(2, np.random.default_rng(3))
    image = values().clamp(-3, 3)
    result = Curve().apply(image, INSIDE, curve).numpy()
    for channel in range(2):
        np.testing.assert_allclose(
            result[channel],
            np.interp(image[channel].numpy(), KNOTS, curve[channel]),
            atol=1e-5,
        )
        assert (np.diff(curve[channel]) > 0).all()


def test_a_shift_of_whole_voxels_is_a_roll_and_of_half_ones_the_mean():
    plain = values().numpy()
    moved = applied(Misregistration(), np.array([[1.0, 0, 0], [0, 0, -0.5]]))
    np.testing.assert_allclose(moved[0, 1:], plain[0, :-1], atol=1e-6)
    np.testing.assert_allclose(moved[0, 0], plain[0, 0], atol=1e-6)
    np.testing.assert_allclose(
        moved[1, ..., :-1], (plain[1, ..., :-1] + plain[1, ..., 1:]) / 2, atol=1e-6
    )


def test_slabs_are_means_and_thin_ones_leave_the_channel():
    plain = values().numpy()
    result = applied(ThickSlices(), ThickSlicesDraw(2, np.array([3.0, 1.0])))
    np.testing.assert_array_equal(result[1], plain[1])
    slabs = plain[0].reshape(9, 10, 4, 3).mean(axis=-1)
    expected = ndimage.map_coordinates(
        slabs,
        np.meshgrid(*map(np.arange, (9, 10)), (np.arange(12) + 0.5) / 3 - 0.5, indexing="ij"),
        order=1,
        mode="nearest",
    )
    np.testing.assert_allclose(result[0], expected, atol=1e-5)


def test_slices_with_gaps_are_means_of_the_middles_of_slabs():
    """Slabs of 3 voxels of which a third is not scanned: means of the middle two thirds."""
    plain = values().numpy()
    result = applied(ThickSlices(), ThickSlicesDraw(2, np.array([3.0, 1.0]), 1 / 3))
    parts = plain[0].reshape(9, 10, 4, 3)
    slabs = (parts[..., 0] / 2 + parts[..., 1] + parts[..., 2] / 2) / 2
    places = np.meshgrid(*map(np.arange, (9, 10)), (np.arange(12) + 0.5) / 3 - 0.5, indexing="ij")
    expected = ndimage.map_coordinates(slabs, places, order=1, mode="nearest")
    np.testing.assert_allclose(result[0], expected, atol=1e-5)
    np.testing.assert_array_equal(result[1], plain[1])


def test_all_sequences_may_have_thick_slices_along_a_chosen_axis():
    transform = ThickSlices(sequences=0.1, every=1.0, axes=(2,), gap=(0.1, 0.3))
    draws = [transform.draw(4, np.random.default_rng(seed)) for seed in range(20)]
    assert {draw.axis for draw in draws} == {2}
    assert all(len(set(draw.spacing)) == 4 and draw.spacing.min() >= 2 for draw in draws)
    assert all(0.1 <= draw.gap <= 0.3 for draw in draws)


def test_a_window_clips_and_leaves_so_many_grey_levels():
    drawn = WindowingDraw(np.array([-1.0, -4.0]), np.array([1.5, 2.0]), np.array([6.0, 4.0]))
    plain, result = values().numpy(), applied(Windowing(), drawn)
    np.testing.assert_allclose(np.unique(result[0]), np.linspace(-1, 1.5, 6), atol=1e-5)
    np.testing.assert_allclose(
        result[1], np.rint((plain[1].clip(-4, 2) + 4) / 2) * 2 - 4, atol=1e-5
    )


def test_a_constant_gain_multiplies_intensities():
    """Intensities are m + z standard deviations, m = mean / deviation: twice as bright, z-scores of
    the old mean and deviation.
    """
    gain = np.stack([np.full((3, 3, 3), np.log(2)), np.zeros((3, 3, 3))])
    result = applied(Bias(), BiasDraw(gain, np.array([4.0, 3.0])))
    z = values().numpy()
    np.testing.assert_allclose(result[0], 2 * (4 + z[0]) - 4, atol=1e-5)
    np.testing.assert_allclose(result[1], z[1], atol=1e-6)


def test_a_cut_field_ends_where_drawn():
    result = applied(CutField(), (1, 0, 0.5, True))
    np.testing.assert_array_equal(result[0], values()[0].numpy())
    assert not result[1, :4].any()
    np.testing.assert_array_equal(result[1, 4:], values()[1, 4:].numpy())
