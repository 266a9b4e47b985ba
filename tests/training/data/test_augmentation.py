"""Drawn, recorded, then applied."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from gliodistill.preparation import dequantise
from gliodistill.recipes.schema import AugmentationPart
from gliodistill.training.data.augmentation import (
    IntensityDraw,
    SpatialDraw,
    apply_intensity,
    draw_intensity,
    draw_kept,
    draw_spatial,
    read_patch,
)

NONE = SpatialDraw((False, False, False), None, None)
SILENT = IntensityDraw(None, None, None, None, None, None)


def image(seed=0, shape=(20, 22, 24), channels=2):
    return np.random.default_rng(seed).integers(1, 256, (channels, *shape), dtype=np.uint8)


def truth(seed=0, shape=(20, 22, 24)):
    return np.random.default_rng(seed).integers(0, 8, shape, dtype=np.uint8)


def turned(matrix=None, elastic=None):
    return SpatialDraw(
        (False, False, False), np.eye(3) if matrix is None else np.asarray(matrix, float), elastic
    )


CENTRE = np.array([10, 11, 12])


@pytest.mark.parametrize("patch", [(8, 8, 8), (7, 7, 7), (6, 9, 12)])
def test_no_draw_is_a_plain_cut_and_the_identity_map_too(patch):
    start = CENTRE - np.array(patch) // 2
    inner = tuple(slice(a, a + p) for a, p in zip(start, patch, strict=True))
    for draw in (NONE, turned(), turned(elastic=np.zeros((3, 4, 4, 4)))):
        levels, mask = read_patch(image(), truth(), CENTRE, patch, draw)
        np.testing.assert_array_equal(levels, image()[(slice(None), *inner)])
        np.testing.assert_array_equal(mask, truth()[inner])


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_flips_are_exact(axes):
    plain, plain_mask = read_patch(image(), truth(), CENTRE, (8, 6, 10), NONE)
    draw = SpatialDraw(tuple(axis in axes for axis in range(3)), None, None)
    levels, mask = read_patch(image(), truth(), CENTRE, (8, 6, 10), draw)
    np.testing.assert_array_equal(levels, np.flip(plain, [a + 1 for a in axes]))
    np.testing.assert_array_equal(mask, np.flip(plain_mask, axes))


@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize("plane", [(0, 1), (1, 2), (0, 2)])
def test_a_quarter_turn_is_rot90(side, plane):
    a, b = plane
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = 0
    matrix[a, b], matrix[b, a] = -1, 1  # reads at (−v, u): the image turns the other way
    plain, plain_mask = read_patch(image(), truth(), CENTRE, (side,) * 3, NONE)
    levels, mask = read_patch(image(), truth(), CENTRE, (side,) * 3, turned(matrix))
    np.testing.assert_array_equal(levels, np.rot90(plain, -1, (a + 1, b + 1)))
    np.testing.assert_array_equal(mask, np.rot90(plain_mask, -1, plane))


def test_any_turn_is_scipys():
    angle = np.deg2rad(17)
    matrix = (
        np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        / 1.17
    )
    levels, mask = read_patch(image(), truth(), CENTRE, (9, 9, 9), turned(matrix))
    offsets = np.stack(np.meshgrid(*[np.arange(9) - 4.0] * 3, indexing="ij"))
    points = np.einsum("ij,jxyz->ixyz", matrix, offsets) + CENTRE[:, None, None, None]
    for channel in range(2):
        expected = ndimage.map_coordinates(image()[channel].astype(float), points, order=1)
        assert np.abs(levels[channel] - expected).max() <= 0.51
    nearest = ndimage.map_coordinates(truth(), points, order=0)
    assert (mask == nearest).mean() > 0.99


def test_patches_reach_beyond_the_study_with_zeros():
    for draw in (NONE, turned()):
        levels, mask = read_patch(image(), truth(), np.array([0, 0, 0]), (8, 8, 8), draw)
        assert not levels[:, :4].any()
        assert not mask[:, :, :4].any()
        np.testing.assert_array_equal(levels[:, 4:, 4:, 4:], image()[:, :4, :4, :4])


def test_not_brain_is_not_dark():
    """At the rim of the brain values are interpolated among brain voxels only."""
    half = image()
    half[:] = 200
    half[:, :10] = 0
    turn = np.array([[0.9, -0.2, 0], [0.2, 0.9, 0], [0, 0, 1]])
    levels, _ = read_patch(half, None, CENTRE, (10, 10, 10), turned(turn))
    assert set(np.unique(levels)) == {0, 200}


def test_elastic_moves_points_by_the_drawn_displacement():
    shift = np.zeros((3, 4, 4, 4))
    shift[1] = 2.0  # the same everywhere: a translation
    levels, _ = read_patch(image(), None, CENTRE, (8, 8, 8), turned(elastic=shift))
    expected, _ = read_patch(image(), None, CENTRE + np.array([0, 2, 0]), (8, 8, 8), NONE)
    np.testing.assert_array_equal(levels, expected)


def test_a_draw_is_a_recording():
    part = AugmentationPart(
        spatial=1,
        gamma=1,
        noise=1,
        blur=1,
        brightness=1,
        contrast=1,
        low_resolution=1,
        modality_dropout={"p": 0.5},
    )
    first = [
        draw_spatial(part, np.random.default_rng(5)),
        draw_intensity(part, 4, np.random.default_rng(5)),
    ]
    again = [
        draw_spatial(part, np.random.default_rng(5)),
        draw_intensity(part, 4, np.random.default_rng(5)),
    ]
    for a, b in zip(first, again, strict=True):
        assert str(a) == str(b)
    one, two = (read_patch(image(), truth(), CENTRE, (8, 8, 8), first[0]) for _ in range(2))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    values = torch.from_numpy(dequantise(image(channels=4)))
    inside = torch.ones_like(values, dtype=torch.bool)
    assert torch.equal(
        apply_intensity(values, inside, first[1]), apply_intensity(values, inside, first[1])
    )


def test_no_intensity_draw_changes_nothing():
    values = torch.from_numpy(dequantise(image()))
    assert torch.equal(
        apply_intensity(values, torch.ones_like(values, dtype=torch.bool), SILENT), values
    )


def test_outside_stays_zero_and_brain_of_mean_intensity_does_not():
    """Level 128 reads as z = 0.0 and is brain all the same."""
    levels = image()
    levels[:, :5], levels[:, 5:10] = 0, 128
    values, inside = torch.from_numpy(dequantise(levels)), torch.from_numpy(levels > 0)
    all_ = np.ones(2)
    draw = IntensityDraw(1.2 * all_, 0.25 * all_, 0.8 * all_, (0.1, 3), 0.7 * all_, 0.6 * all_)
    result = apply_intensity(values, inside, draw)
    assert not result[~inside].any()
    assert torch.isfinite(result).all()
    brighter = apply_intensity(
        values, inside, IntensityDraw(None, 0.25 * all_, None, None, None, None)
    )
    torch.testing.assert_close(brighter[inside], values[inside] + 0.25)


def test_each_change_is_its_formula():
    levels = image()
    values, inside = torch.from_numpy(dequantise(levels)), torch.from_numpy(levels > 0)
    z = values.numpy().astype(np.float64)

    def change(**drawn):
        fields = {
            name: None for name in ("multiply", "add", "gamma", "noise", "blur", "zoom")
        } | drawn
        return apply_intensity(values, inside, IntensityDraw(**fields)).numpy()

    two = np.array([0.8, 1.3])
    np.testing.assert_allclose(
        change(multiply=two), z * two[:, None, None, None], rtol=1e-5, atol=1e-6
    )
    low, high = z.min(), z.max()
    expected = ((z[1] - low) / (high - low)) ** 1.3 * (high - low) + low
    np.testing.assert_allclose(change(gamma=two)[1], expected, atol=1e-4)
    noise = change(noise=(0.2, 9)) - z
    assert noise.std() == pytest.approx(0.2, rel=0.05)
    assert abs(noise.mean()) < 0.01
    blurred = ndimage.gaussian_filter(z[0], 0.8, mode="constant", truncate=2 / 0.8)
    np.testing.assert_allclose(change(blur=two)[0], blurred, atol=1e-4)
    assert change(zoom=np.array([0.5, 1.0]))[0].std() < z[0].std()
    np.testing.assert_allclose(change(zoom=np.array([0.5, 1.0]))[1], z[1], atol=1e-5)


def test_dropping_sequences_leaves_one():
    part, random = AugmentationPart(modality_dropout={"p": 1.0}), np.random.default_rng(0)
    kept = [draw_kept(part, (True, False, True, True), random) for _ in range(200)]
    assert all(sum(keep) == 1 for keep in kept)
    assert {keep.index(True) for keep in kept} == {0, 2, 3}
    never = [draw_kept(AugmentationPart(), (True, False), random) for _ in range(20)]
    assert set(never) == {(True, False)}


def test_dropped_by_half_every_subset_is_as_likely():
    random = np.random.default_rng(0)
    counts = Counter(
        draw_kept(AugmentationPart(modality_dropout={"p": 0.5}), (True,) * 4, random)
        for _ in range(3000)
    )
    assert len(counts) == 15
    assert stats.chisquare(list(counts.values())).pvalue > 0.01


def test_a_patch_may_be_spared_from_dropping():
    part, random = (
        AugmentationPart(modality_dropout={"p": 0.5, "keep_all": 0.6}),
        np.random.default_rng(0),
    )
    counts = Counter(draw_kept(part, (True, True, False, True), random) for _ in range(3000))
    assert len(counts) == 7
    # Spared, or drawn whole as one of seven subsets.
    expected = {kept: 3000 * (0.4 / 7 + 0.6 * (sum(kept) == 3)) for kept in counts}
    assert stats.chisquare(list(counts.values()), list(expected.values())).pvalue > 0.01


def test_probabilities_are_kept():
    part, random = (
        AugmentationPart(flip=0.25, spatial=0.5, elastic_voxels=0),
        np.random.default_rng(1),
    )
    draws = [draw_spatial(part, random) for _ in range(800)]
    assert np.mean([d.flips for d in draws]) == pytest.approx(0.25, abs=0.04)
    assert np.mean([d.matrix is not None for d in draws]) == pytest.approx(0.5, abs=0.06)
    assert all(d.elastic is None for d in draws)
    for draw in draws:
        if draw.matrix is not None:
            scale = np.linalg.det(draw.matrix) ** (-1 / 3)
            assert 0.8 <= scale <= 1.25
            np.testing.assert_allclose(draw.matrix @ draw.matrix.T * scale**2, np.eye(3), atol=1e-9)
