"""Metrics against MONAI, brute force and hand-made shapes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter

from gliodistill.evaluation.metrics import dice, volume_ml
from gliodistill.evaluation.rules.base import Region
from gliodistill.evaluation.surfaces import Surface, SurfaceDistances

SPACINGS = [(1.0, 1.0, 1.0), (0.7, 1.3, 5.0), (2.0, 0.5, 1.1)]


def blob(
    seed: int, shape: tuple[int, int, int] = (26, 31, 19), threshold: float = 0.4
) -> np.ndarray:
    noise = gaussian_filter(
        np.random.default_rng(seed).standard_normal(shape), 2.5, mode="constant"
    )
    return noise > threshold * noise.std()


def hd95_mm(a: np.ndarray, b: np.ndarray, spacing: tuple[float, float, float]) -> float | None:
    if not a.any() or not b.any():
        return None
    surfaces = Surface.voxels(a), Surface.voxels(b)
    return SurfaceDistances.of(*surfaces, spacing).hd95_of_worse_direction()


def brute_force_hd95(a: np.ndarray, b: np.ndarray, spacing: tuple[float, float, float]) -> float:
    """All pairs of surface voxels, float64, the surface by looking at each voxel's six neighbours."""

    def surface(mask: np.ndarray) -> np.ndarray:
        filled = {tuple(p) for p in np.argwhere(mask)}
        steps = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
        return np.array(
            [
                p
                for p in sorted(filled)
                if any((p[0] + x, p[1] + y, p[2] + z) not in filled for x, y, z in steps)
            ]
        )

    first, second = surface(a) * np.array(spacing), surface(b) * np.array(spacing)
    distances = np.sqrt(((first[:, None] - second[None]) ** 2).sum(axis=2))
    return max(np.percentile(distances.min(axis=1), 95), np.percentile(distances.min(axis=0), 95))


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI calling itself
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_hd95_and_dice_agree_with_monai(seed: int, spacing: tuple[float, float, float]) -> None:
    torch = pytest.importorskip("torch")
    from monai.metrics import compute_dice, compute_hausdorff_distance

    a, b = blob(seed), blob(seed + 100, threshold=0.9)
    first, second = (torch.from_numpy(m)[None, None].float() for m in (a, b))
    oracle = compute_hausdorff_distance(
        first, second, include_background=True, percentile=95, spacing=spacing
    )
    assert hd95_mm(a, b, spacing) == pytest.approx(float(oracle), abs=1e-4)
    assert dice(a, b) == pytest.approx(
        float(compute_dice(first, second, include_background=True)), abs=1e-6
    )


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(4))
def test_hd95_agrees_with_brute_force(seed: int, spacing: tuple[float, float, float]) -> None:
    a, b = blob(seed, (12, 9, 10), 1.0), blob(seed + 50, (12, 9, 10), 0.7)
    assert hd95_mm(a, b, spacing) == pytest.approx(brute_force_hd95(a, b, spacing), abs=1e-9)


def test_hd95_of_two_sheets_is_their_distance() -> None:
    a, b = np.zeros((2, 20, 8, 8), dtype=bool)
    a[3], b[11] = True, True
    assert hd95_mm(a, b, (1.5, 1, 1)) == pytest.approx(12.0)


def test_hd95_leaves_out_a_stray_voxel_but_the_maximum_would_not() -> None:
    truth = np.zeros((40, 40, 40), dtype=bool)
    truth[15:25, 15:25, 15:25] = True
    prediction = truth.copy()
    prediction[39, 39, 39] = True
    assert hd95_mm(prediction, truth, (1, 1, 1)) == 0.0


masks = arrays(bool, (5, 4, 6))


@settings(max_examples=60, deadline=None)
@given(masks, masks, st.sampled_from(SPACINGS))
def test_properties(a: np.ndarray, b: np.ndarray, spacing: tuple[float, float, float]) -> None:
    hd, overlap = hd95_mm(a, b, spacing), dice(a, b)
    assert hd == hd95_mm(b, a, spacing)
    assert overlap == dice(b, a)
    assert (hd is None) == (not a.any() or not b.any())
    assert (overlap is None) == (not a.any() and not b.any())
    if a.any():
        assert hd95_mm(a, a, spacing) == 0.0
        assert dice(a, a) == 1.0
    if hd is not None:
        assert hd == pytest.approx(brute_force_hd95(a, b, spacing), abs=1e-9)
        # Moving both masks together, or mirroring both, changes nothing.
        moved = [np.pad(m, ((2, 0), (0, 3), (1, 1)))[::-1] for m in (a, b)]
        assert hd95_mm(*moved, spacing) == pytest.approx(hd, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(masks, masks)
def test_rates_by_counting_voxels_one_by_one(prediction: np.ndarray, truth: np.ndarray) -> None:
    pairs = list(zip(prediction.ravel().tolist(), truth.ravel().tolist(), strict=True))
    hits, misses = pairs.count((True, True)), pairs.count((False, True))
    alarms, rejections = pairs.count((True, False)), pairs.count((False, False))
    counted = Region(prediction, truth, (1, 1, 1), 0.001).counted()
    assert counted["sensitivity"] == (hits / (hits + misses) if hits + misses else None)
    specificity = counted["specificity"]
    assert (
        specificity is None
        if alarms + rejections == 0
        else specificity == pytest.approx(rejections / (alarms + rejections))
    )
    # What was cropped away counts as rejected.
    x, y, z = truth.shape
    cropped = Region(prediction, truth, (1, 1, 1), 0.001, (x, y, z + 5)).counted()
    more = 5 * x * y
    assert cropped["specificity"] == pytest.approx(
        (rejections + more) / (alarms + rejections + more)
    )


def test_volume_in_millilitres() -> None:
    mask = np.zeros((10, 10, 10), dtype=bool)
    mask[:5, :2, :3] = True
    assert volume_ml(mask, 0.008) == pytest.approx(30 * 8 / 1000)
