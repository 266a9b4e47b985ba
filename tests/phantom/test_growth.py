import numpy as np
import pytest

from gliodistill.phantom import draw_parameters
from gliodistill.phantom.anatomy import Anatomy, brain_box, make_anatomy
from gliodistill.phantom.fields import Grid
from gliodistill.phantom.growth import Front, diffusivity
from gliodistill.phantom.tumour import delineate, grow_in, grown_core, push


def front_speed(diffusion: float, proliferation: float, length: int = 400) -> float:
    """Voxels per step, late in a one-dimensional run."""
    start = np.zeros((length, 1, 1), np.float32)
    start[:5] = 1
    front = Front(start, np.full_like(start, diffusion), proliferation)
    while not np.isfinite(front.arrival[300, 0, 0]):
        front.step()
    return 120 / float(front.arrival[300, 0, 0] - front.arrival[180, 0, 0])


@pytest.mark.parametrize(
    ("diffusion", "proliferation"), [(0.15, 0.02), (0.15, 0.05), (0.1, 0.02), (0.05, 0.01)]
)
def test_front_runs_at_the_fisher_speed(diffusion, proliferation):
    # Fisher 1937: 2 √(D ρ). Time steps of finite size, the slow approach from below and the window
    # take a few percent.
    assert front_speed(diffusion, proliferation) == pytest.approx(
        2 * np.sqrt(diffusion * proliferation), rel=0.07
    )


def test_density_stays_in_bounds_and_is_kept_by_diffusion_alone():
    rng = np.random.default_rng(0)
    start = (rng.random((12, 11, 10)) < 0.05).astype(np.float32)
    front = Front(start, (0.15 * rng.random(start.shape)).astype(np.float32), 0.0)
    for _ in range(50):
        front.step()
    assert front.density.sum() == pytest.approx(start.sum(), rel=1e-4)
    assert front.density.min() >= -1e-6
    assert front.density.max() <= 1 + 1e-6


def test_step_is_the_explicit_scheme_written_plainly():
    rng = np.random.default_rng(1)
    u, d = rng.random((6, 5, 4)), 0.16 * rng.random((6, 5, 4))
    front = Front(u.astype(np.float32), d.astype(np.float32), 0.1)
    front.step()
    new = u + 0.1 * u * (1 - u)
    for index in np.ndindex(u.shape):
        for axis in range(3):
            for side in (-1, 1):
                other = list(index)
                other[axis] += side
                if 0 <= other[axis] < u.shape[axis]:
                    o = tuple(other)
                    new[index] += 2 * d[index] * d[o] / (d[index] + d[o]) * (u[o] - u[index])
    np.testing.assert_allclose(front.density, new, atol=1e-6)


def slab(white: float, grey: float, fluid: float, length: int = 120) -> Anatomy:
    shape = (length, 1, 1)
    ones = np.ones(shape, np.float32)
    grid = Grid((np.arange(length) * 2.5, np.zeros(1), np.zeros(1)), 2.5)
    return Anatomy(
        grid,
        ones > 0,
        ones * np.float32(grey),
        ones * np.float32(white),
        ones * np.float32(fluid),
        ones,
        ones,
    )


def test_white_matter_is_faster_than_grey_and_fluid_is_a_wall():
    start = np.zeros((120, 1, 1), np.float32)
    start[:4] = 1
    reach = {}
    for name, anatomy in {
        "white": slab(1, 0, 0),
        "grey": slab(0, 1, 0),
        "fluid": slab(0, 0, 1),
    }.items():
        front = Front(start, diffusivity(anatomy, 9.0), 0.05)
        for _ in range(120):
            front.step()
        reach[name] = int(np.isfinite(front.arrival).sum())
    assert reach["fluid"] == 4
    # Speed goes with the root of D: 3 times for 9.
    assert (reach["white"] - 4) / (reach["grey"] - 4) == pytest.approx(3, rel=0.2)


@pytest.mark.parametrize("index", [0, 1, 2, 3])
def test_regions_are_nested_in_the_brain_and_out_of_the_ventricles(index):
    parameters = draw_parameters(21, index)
    field = Grid.field(3.0)
    grid = field.crop(brain_box(parameters.anatomy, field))
    growth = grow_in(parameters.tumour, parameters.anatomy)
    pushed = push(parameters.tumour, grown_core(parameters.tumour, growth), growth.grid, grid)
    anatomy = make_anatomy(parameters.anatomy, grid, pushed.displacement, pushed.effacement)
    tumour = delineate(parameters.tumour, growth, anatomy, pushed.displacement)
    assert tumour.core.any()
    assert not (tumour.enhancing & ~tumour.core).any()
    assert not (tumour.core & ~tumour.whole).any()
    assert not (tumour.whole & ~anatomy.brain[tumour.box]).any()
    assert not (tumour.whole & (anatomy.fluid[tumour.box] >= 0.5)).any()


def test_mass_effect_points_away_from_the_core_and_is_as_large_as_drawn():
    parameters = draw_parameters(21, 0)
    growth = grow_in(parameters.tumour, parameters.anatomy)
    moved = np.stack(
        push(
            parameters.tumour, grown_core(parameters.tumour, growth), growth.grid, growth.grid
        ).displacement
    )
    size = np.sqrt((moved**2).sum(axis=0))
    assert size.max() == pytest.approx(parameters.tumour.mass_effect_mm, rel=0.02)
    times = np.sort(growth.core.ravel())
    core = growth.core <= times[int(parameters.tumour.tc_ml / 2.5**3 * 1000)]
    middle = np.argwhere(core).mean(axis=0)
    outwards = np.moveaxis(np.indices(core.shape), 0, -1) - middle
    near = (size > 0.7 * size.max()) & ~core
    assert (np.einsum("n i, i n -> n", outwards[near], moved[:, near]) > 0).mean() > 0.95


def test_tissue_shares_sum_to_one_in_the_brain():
    parameters = draw_parameters(21, 0)
    field = Grid.field(3.0)
    anatomy = make_anatomy(parameters.anatomy, field.crop(brain_box(parameters.anatomy, field)))
    total = anatomy.grey + anatomy.white + anatomy.fluid
    np.testing.assert_allclose(total[anatomy.brain], 1, atol=1e-4)
    assert not total[~anatomy.brain].any()
    assert 1000 < anatomy.brain.sum() * 0.027 < 2000
