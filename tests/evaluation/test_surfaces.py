"""Surfaces against geometry, distances against all pairs."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation_shapes import SPACINGS, blobs, box, speckled, surface_of, to_nearest
from gliodistill.evaluation.lesions import components
from gliodistill.evaluation.surfaces import Surface, SurfaceDistances


@pytest.mark.parametrize("spacing", SPACINGS)
def test_patches_of_one_voxel_are_an_octahedron(spacing: tuple[float, float, float]) -> None:
    surface = Surface.patches(box((3, 3, 3), (slice(1, 2),) * 3), spacing)
    x, y, z = (step / 2 for step in spacing)
    assert len(surface.points) == 8
    assert surface.amount() == pytest.approx(
        8 * math.sqrt((x * y) ** 2 + (y * z) ** 2 + (z * x) ** 2) / 2
    )


@pytest.mark.parametrize("size", [(4, 5, 6), (2, 2, 2), (3, 1, 2)])
def test_patches_of_a_box_are_its_faces_with_edges_and_corners_cut(
    size: tuple[int, int, int],
) -> None:
    surface = Surface.patches(np.ones(size, dtype=bool), (1, 1, 1))
    a, b, c = (side - 1 for side in size)
    area = 2 * (a * b + b * c + c * a) + 4 * (a + b + c) * math.sqrt(0.5) + 8 * math.sqrt(3) / 8
    assert surface.amount() == pytest.approx(area)


def test_every_way_to_fill_a_corner_has_an_area() -> None:
    for way in range(1, 255):
        mask = np.unpackbits(np.array([way], dtype=np.uint8)).reshape(2, 2, 2).astype(bool)
        areas = [
            Surface.patches(turned, (1, 1, 1)).amount()
            for turned in (mask, mask[::-1], mask.transpose(2, 0, 1))
        ]
        assert areas[0] > 0
        assert areas == pytest.approx([areas[0]] * 3)


@settings(max_examples=50, deadline=None)
@given(speckled())
def test_surface_voxels_are_those_an_erosion_takes(mask: np.ndarray) -> None:
    assert np.array_equal(Surface.voxels(mask).points, surface_of(mask))
    other_order = np.asfortranarray(mask)
    assert np.array_equal(Surface.voxels(other_order).points, surface_of(mask))
    assert np.array_equal(
        Surface.patches(other_order, (1, 1, 1)).points, Surface.patches(mask, (1, 1, 1)).points
    )


def test_a_mask_that_fills_the_image_has_its_border_as_surface() -> None:
    assert len(Surface.voxels(np.ones((5, 6, 7), dtype=bool)).points) == 5 * 6 * 7 - 3 * 4 * 5


@pytest.mark.parametrize("kind", ["voxels", "patches"])
def test_points_know_their_component(kind: str) -> None:
    mask = blobs(3)
    labels, count = components(mask)
    surface = Surface.voxels(mask) if kind == "voxels" else Surface.patches(mask, (1, 1, 1))
    assert count > 2
    for label in range(1, count + 1):
        alone = (
            Surface.voxels(labels == label)
            if kind == "voxels"
            else Surface.patches(labels == label, (1, 1, 1))
        )
        part = surface[surface.labels(labels) == label]
        assert np.array_equal(part.points, alone.points)
        assert part.amount() == pytest.approx(alone.amount())


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(3))
def test_distances_are_to_the_nearest(seed: int, spacing: tuple[float, float, float]) -> None:
    first, second = Surface.voxels(blobs(seed)), Surface.voxels(blobs(seed + 10, share=0.05))
    distances = SurfaceDistances.of(first, second, spacing)
    assert distances.forth == pytest.approx(
        to_nearest(first.points, second.points, spacing), abs=1e-12
    )
    assert distances.back == pytest.approx(
        to_nearest(second.points, first.points, spacing), abs=1e-12
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 1000), st.sampled_from(SPACINGS))
def test_distances_between_parts_are_those_measured_anew(
    one: int, other: int, spacing: tuple[float, float, float]
) -> None:
    first, second = (
        Surface.voxels(blobs(one, (9, 8, 7))),
        Surface.patches(blobs(other, (9, 8, 7)), spacing),
    )
    random = np.random.default_rng(one)
    chosen = [random.random(len(surface.points)) < 0.4 for surface in (first, second)]
    for kept in chosen:
        kept[0] = True
    part = SurfaceDistances.of(first, second, spacing).between(*chosen)
    anew = SurfaceDistances.of(first[chosen[0]], second[chosen[1]], spacing)
    assert np.array_equal(part.forth, anew.forth)
    assert np.array_equal(part.back, anew.back)


def test_hd95_by_area_is_where_95_percent_of_the_area_ends() -> None:
    distances = SurfaceDistances.of(
        Surface.patches(blobs(1), (1, 2, 1)), Surface.patches(blobs(2), (1, 2, 1)), (1, 2, 1)
    )
    worst = 0.0
    for values, surface in ((distances.forth, distances.first), (distances.back, distances.second)):
        assert surface.weights is not None
        worst = max(
            worst,
            min(
                d
                for d in np.unique(values)
                if surface.weights[values <= d].sum() >= 0.95 * surface.weights.sum()
            ),
        )
    assert distances.hd95_by_area() == worst


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI calling itself
@pytest.mark.parametrize("spacing", SPACINGS)
def test_surface_dice_agrees_with_monai(spacing: tuple[float, float, float]) -> None:
    torch = pytest.importorskip("torch")
    from monai.metrics import compute_surface_dice

    a, b = blobs(4), blobs(4, width=1.6)
    first, second = (torch.from_numpy(m)[None, None].float() for m in (a, b))
    oracle = compute_surface_dice(
        first, second, class_thresholds=[1.0], include_background=True, spacing=spacing
    )
    assert SurfaceDistances.of(Surface.voxels(a), Surface.voxels(b), spacing).surface_dice(
        1.0
    ) == pytest.approx(float(oracle), abs=1e-6)


def test_two_sheets_are_within_their_distance_of_each_other_and_no_less() -> None:
    a, b = (
        box((12, 6, 6), (slice(3, 4), slice(None), slice(None))),
        box((12, 6, 6), (slice(5, 6), slice(None), slice(None))),
    )
    for surfaces in (
        (Surface.voxels(a), Surface.voxels(b)),
        (Surface.patches(a, (1.5, 1, 1)), Surface.patches(b, (1.5, 1, 1))),
    ):
        distances = SurfaceDistances.of(*surfaces, (1.5, 1, 1))
        assert distances.surface_dice(3.0) == 1.0
        assert distances.hd95_of_both_directions() == pytest.approx(3.0)
    voxels = SurfaceDistances.of(Surface.voxels(a), Surface.voxels(b), (1.5, 1, 1))
    assert voxels.surface_dice(2.9) == 0.0
    assert voxels.surface_dice_of_directions(2.9) == 0.0
