from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import SlidingWindowInferer
from numpy.typing import NDArray

from gliodistill.inference import tiling

sides = st.tuples(*[st.integers(3, 21)] * 3)


def by_windows(*arguments: object) -> NDArray[np.float32]:
    """All slabs as one map."""
    return np.concatenate(list(tiling.by_windows(*arguments)), axis=1)


def uneven(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Two channels that depend on where in the window a voxel lies, so that only the right blending
    is right.
    """
    ramp = np.indices(image.shape[2:]).sum(axis=0) / 10
    values = image[:, :1].astype(np.float32) / 50
    return np.concatenate([values * np.sin(ramp), values - ramp], axis=1).astype(np.float32)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.7])
@pytest.mark.parametrize(
    ("shape", "patch"),
    [
        ((37, 29, 41), (16, 12, 20)),
        ((32, 24, 40), (16, 12, 20)),
        ((10, 29, 21), (16, 12, 20)),
        ((5, 6, 7), (8, 8, 8)),
    ],
)
def test_agrees_with_monai(
    shape: tuple[int, int, int], patch: tuple[int, int, int], overlap: float
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    oracle = SlidingWindowInferer(patch, sw_batch_size=1, overlap=overlap, mode="gaussian")

    def network(window: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(uneven(window.numpy()))

    expected = oracle(torch.from_numpy(image.astype(np.float32))[None], network)[0].numpy()
    np.testing.assert_allclose(by_windows(image, uneven, patch, overlap), expected, atol=2e-5)


@settings(max_examples=60, deadline=None)
@given(shape=sides, patch=sides, overlap=st.floats(0, 0.9), divisor=st.sampled_from([1, 2, 4]))
def test_constant_field_stays_constant(
    shape: tuple[int, int, int], patch: tuple[int, int, int], overlap: float, divisor: int
) -> None:
    def constant(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert all(side % divisor == 0 for side in image.shape[2:])
        return np.full((1, 3, *image.shape[2:]), 2.5, dtype=np.float32)

    logits = by_windows(np.ones((1, *shape), np.uint8), constant, patch, overlap, divisor)
    assert logits.shape == (3, *shape)
    np.testing.assert_allclose(logits, 2.5, rtol=2e-5)  # float32 sums over up to a thousand windows


@pytest.mark.parametrize("divisor", [1, 4, 16])
def test_voxelwise_network_gives_the_same_whole_and_by_windows(divisor: int) -> None:
    def voxelwise(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        return image.astype(np.float32) / 10

    image = np.random.default_rng(1).integers(0, 256, (2, 19, 23, 17), dtype=np.uint8)
    whole = tiling.whole(image, voxelwise, divisor)
    np.testing.assert_array_equal(whole, image.astype(np.float32) / 10)
    np.testing.assert_allclose(
        by_windows(image, voxelwise, (8, 8, 8), 0.5, divisor), whole, rtol=1e-5
    )


@pytest.mark.parametrize(
    "run", [tiling.whole, lambda *a: by_windows(a[0], a[1], (16, 16, 16), 0.5, a[2])]
)
def test_padding_is_empty_and_sides_fit(run: Callable[..., NDArray[np.float32]]) -> None:
    seen: list[NDArray[np.uint8]] = []

    def network(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(image)
        return image.astype(np.float32)

    run(np.full((1, 9, 10, 11), 7, np.uint8), network, 8)
    assert all(
        image.dtype == np.uint8 and all(side % 8 == 0 for side in image.shape[2:]) for image in seen
    )
    assert set(np.unique(seen[0])) == {0, 7}
    assert (seen[0] == 7).sum() == 9 * 10 * 11


def test_slabs_hold_no_more_than_a_window_along_x() -> None:
    def network(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        return image.astype(np.float32)

    slabs = list(tiling.by_windows(np.ones((1, 50, 9, 9), np.uint8), network, (12, 8, 8), 0.5))
    assert sum(slab.shape[1] for slab in slabs) == 50
    assert max(slab.shape[1] for slab in slabs) <= 12
