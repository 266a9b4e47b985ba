"""Tumours other than gliomas before treatment: what each task's phantoms have instead.

Each builds on the glioma of the same draw: its brain, contrast and artefacts, and, where it helps,
its growth. What else is random comes from the tumour's own seed, so that a task and the parameters
of a study describe it wholly. Realism: shapes, sizes, numbers and contrasts are plausible, after
the descriptions of the BraTS data sets; nothing was fitted to patients. docs/phantoms.md says what
is left out.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gliodistill.phantom.anatomy import Anatomy, make_anatomy
from gliodistill.phantom.fields import Grid, smooth_noise
from gliodistill.phantom.growth import GROWTH_MM
from gliodistill.phantom.parameters import Four, PhantomParameters, TumourParameters
from gliodistill.phantom.tumour import (
    Overlay,
    Tumour,
    delineate,
    grow_in,
    grown_core,
    push,
)

Build = Callable[[PhantomParameters, TumourParameters, Grid], tuple[Anatomy, Tumour]]
PONS_MM = (0.0, -26.0, -33.0)
"""Centre of the pons in MNI space, where a diffuse midline glioma starts."""


def build(
    task: str, parameters: PhantomParameters, tumour: TumourParameters, grid: Grid
) -> tuple[Anatomy, Tumour]:
    """The brain and the tumour of a task's phantom.

    Args:
        task: a shipped task.
        parameters: of the study.
        tumour: those of its glioma.
        grid: of the result.
    """
    if task == "goat":
        task = ("glioma", "meningioma", "metastases", "paediatric")[parameters.index % 4]
    return BUILDS[task](parameters, tumour, grid)


def smaller_head(task: str, parameters: PhantomParameters) -> PhantomParameters:
    """The parameters with a child's brain, about 12 % smaller, where the task is children's."""
    mixed = task == "goat" and parameters.index % 4 == 3
    if task != "paediatric" and not mixed:
        return parameters
    x, y, z = (round(0.88 * side, 4) for side in parameters.anatomy.scale)
    return replace(parameters, anatomy=replace(parameters.anatomy, scale=(x, y, z)))


def _glioma(
    parameters: PhantomParameters, tumour: TumourParameters, grid: Grid
) -> tuple[Anatomy, Tumour]:
    growth = grow_in(tumour, parameters.anatomy)
    pushed = push(tumour, grown_core(tumour, growth), growth.grid, grid)
    anatomy = make_anatomy(parameters.anatomy, grid, pushed.displacement, pushed.effacement)
    return anatomy, delineate(tumour, growth, anatomy, pushed.displacement)


def _after_treatment(
    parameters: PhantomParameters, tumour: TumourParameters, grid: Grid
) -> tuple[Anatomy, Tumour]:
    """A resection cavity in place of most of the core: filled with fluid, blood at its wall, and a
    rim of residual tumour that enhances in places; in a fifth of the studies no tumour is left.
    """
    random = np.random.default_rng(tumour.seed + 1)
    anatomy, grown = _glioma(parameters, replace(tumour, mass_effect_mm=0.0), grid)
    part = grid.crop(grown.box)
    cleared, share = random.random() < 0.2, float(random.uniform(0.35, 0.85))
    # The surgeon's way in comes from one side; the wall is smooth.
    depth = _depth(grown.core, grid.spacing)
    score = -depth + 1.5 * smooth_noise(tumour.seed + 31, 9.0, part)
    cavity = grown.core & (score <= _level(np.where(grown.core, score, np.inf), grown.core, share))
    if cleared:
        cavity = grown.core.copy()
    core = grown.core & ~cavity
    patchy = smooth_noise(tumour.seed + 32, 6.0, part) > random.uniform(-0.4, 0.6)
    near = _near(cavity, max(float(random.uniform(2.0, 5.0)), 1.5 * grid.spacing), grid.spacing)
    enhancing = core & near & patchy
    whole = grown.whole & ~cavity
    wall = cavity & _near(~cavity, 1.5 * grid.spacing, grid.spacing)
    blood = (wall & (smooth_noise(tumour.seed + 33, 5.0, part) > 0.4)).astype(np.float32)
    fluid = _mean(parameters, "CSF", (1.12, 1.12, 0.97, 1.35))
    bright = _mean(parameters, "WM", (1.25, 1.3, 0.9, 1.2))
    overlays = (
        Overlay(cavity.astype(np.float32), fluid),
        Overlay(np.float32(random.uniform(0.0, 0.9)) * blood, bright),
    )
    return anatomy, replace(
        grown, whole=whole, core=core, enhancing=enhancing, others={"RC": cavity}, overlays=overlays
    )


def _metastases(
    parameters: PhantomParameters, tumour: TumourParameters, grid: Grid
) -> tuple[Anatomy, Tumour]:
    """One to twelve round lesions of 2 to 25 mm at the border of grey and white matter; the larger
    have a necrotic centre, and oedema along white matter.
    """
    random = np.random.default_rng(tumour.seed + 2)
    anatomy = make_anatomy(parameters.anatomy, grid)
    count = int(random.choice((1, 2, 3, 5, 8, 12), p=(0.3, 0.2, 0.2, 0.15, 0.1, 0.05)))
    border = anatomy.brain & (anatomy.white > 0.25) & (anatomy.grey > 0.2) & (anatomy.depth > 4)
    places = np.argwhere(border if border.any() else anatomy.brain)
    shape = anatomy.brain.shape
    whole, core, enhancing = (np.zeros(shape, bool) for _ in range(3))
    distance = np.ones(shape, np.float32)
    ragged = smooth_noise(tumour.seed + 41, 5.0, grid)
    room = anatomy.brain & (anatomy.fluid < 0.6)
    along = np.clip(0.35 + 0.9 * anatomy.white, 0.35, 1.25)
    for _ in range(count):
        # Diameters of metastases are skewed: most are small, a few large.
        radius = 0.5 * float(np.clip(np.exp(random.normal(1.9, 0.6)), 2.0, 25.0))
        middle = places[int(random.integers(len(places)))]
        away = _away(middle, grid) * (1 + 0.12 * ragged)
        here = room & (away <= radius)
        here[tuple(middle)] = True
        core |= here
        ring = here & (away >= radius - max(1.5, 0.35 * radius)) if radius > 5 else here
        enhancing |= ring
        swelling = max(radius + 0.5, radius * float(random.uniform(1.0, 2.6)) + radius - 4)
        reach = away / np.maximum(radius + (swelling - radius) * along, 0.5)
        whole |= here | (room & (reach <= 1) & (radius > 3))
        distance = np.minimum(distance, np.clip((away - radius) / max(swelling - radius, 1), 0, 1))
    whole |= core
    box = (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
    return anatomy, Tumour(whole, core, enhancing & core, distance.astype(np.float32), box)


def _meningioma(
    parameters: PhantomParameters, tumour: TumourParameters, grid: Grid
) -> tuple[Anatomy, Tumour]:
    """A round mass on the dura that pushes the brain: solid, bright with contrast and even, with a
    thin dural tail (in the image, not in the reference) and, in half of the studies, oedema.
    """
    random = np.random.default_rng(tumour.seed + 3)
    radius = float(np.clip(np.exp(random.normal(2.6, 0.35)), 6.0, 30.0))
    whole_grid = Grid.field(GROWTH_MM)
    rough = make_anatomy(parameters.anatomy, whole_grid)
    upper = np.asarray(whole_grid.axes[2])[None, None, :] > np.percentile(whole_grid.axes[2], 35)
    shell = rough.brain & (rough.depth < 4) & upper
    middle = np.argwhere(shell)[int(random.integers(int(shell.sum())))]
    # The middle lies inside, so that most of the mass is where the brain was.
    centre = np.array([axis[i] for axis, i in zip(whole_grid.axes, middle, strict=True)])
    inwards = np.argwhere(rough.brain).mean(axis=0) - middle
    centre = centre + inwards / np.linalg.norm(inwards) * 0.55 * radius
    seen = rough.brain & (_distance(centre, whole_grid) < radius)
    strong = replace(
        tumour,
        tc_ml=round(4.19 * radius**3 / 1000, 3),
        mass_effect_mm=round(min(9.0, 0.3 * radius), 3),
    )
    pushed = push(strong, seen, whole_grid, grid)
    anatomy = make_anatomy(parameters.anatomy, grid, pushed.displacement, pushed.effacement)
    away = _distance(centre, grid) * (1 + 0.05 * smooth_noise(tumour.seed + 51, 9.0, grid))
    mass = (away <= radius) & anatomy.brain
    mass |= (away <= away[anatomy.brain].min() + 1e-6) & anatomy.brain
    calcified = mass & (smooth_noise(tumour.seed + 52, 4.0, grid) > random.uniform(1.2, 2.5))
    swollen = random.random() < 0.5
    oedema_mm = float(random.uniform(3.0, 16.0)) if swollen else 0.0
    reach = away - radius - oedema_mm * np.clip(0.2 + anatomy.white, 0.2, 1.1)
    whole = mass | ((reach <= 0) & anatomy.brain & (anatomy.fluid < 0.5) & (oedema_mm > 0))
    tail = anatomy.brain & (anatomy.depth < 2.0) & (away < radius * 1.45) & ~mass
    distance = np.clip((away - radius) / max(oedema_mm, 1.0), 0, 1).astype(np.float32)
    solid = _mean(parameters, "GM", (1.0, float(random.uniform(1.7, 2.6)), 1.05, 1.15))
    texture = 1 + 0.05 * smooth_noise(tumour.seed + 53, 4.0, grid)
    enhancing = mass & ~calcified
    overlays = (
        Overlay(enhancing.astype(np.float32) * texture, solid),
        Overlay(0.7 * tail.astype(np.float32), solid),
        Overlay(calcified.astype(np.float32), _mean(parameters, "WM", (0.6, 0.7, 0.5, 0.6))),
    )
    shape = anatomy.brain.shape
    box = (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
    others = {"GTV": mass}
    return anatomy, Tumour(whole, mass, enhancing, distance, box, others, overlays)


def _child(
    parameters: PhantomParameters, tumour: TumourParameters, grid: Grid
) -> tuple[Anatomy, Tumour]:
    """A diffuse midline glioma: it swells the pons, enhances little or not, may hold a cyst, and
    has little oedema.
    """
    random = np.random.default_rng(tumour.seed + 4)
    volume = float(np.clip(np.exp(random.normal(3.2, 0.5)), 5.0, 70.0))
    share = float(random.uniform(0.8, 0.98))
    enhancing = float(random.choice((0.0, 0.05, 0.25), p=(0.4, 0.4, 0.2)))
    x, y, z = (float(round(at + random.normal(0, 2.5), 2)) for at in PONS_MM)
    midline = replace(
        tumour,
        kind="nodule" if enhancing else "nonenhancing",
        wt_ml=round(volume, 3),
        tc_ml=round(share * volume, 3),
        et_ml=round(enhancing * volume, 3),
        foci_mm=((x, y, z),),
        lopsidedness=0.4,
        mass_effect_mm=round(min(4.0, 0.1 * volume), 3),
    )
    anatomy, grown = _glioma(parameters, midline, grid)
    part = grid.crop(grown.box)
    cyst = np.zeros_like(grown.core)
    if random.random() < 0.35 and grown.core.any():
        free = grown.core & ~grown.enhancing
        score = -_depth(free, grid.spacing) + smooth_noise(tumour.seed + 61, 6.0, part)
        cyst = free & (score <= _level(np.where(free, score, np.inf), free, 0.15))
    overlay = Overlay(cyst.astype(np.float32), _mean(parameters, "CSF", (1.05, 1.05, 1.0, 1.3)))
    return anatomy, replace(grown, others={"CC": cyst}, overlays=(overlay,))


BUILDS: dict[str, Build] = {
    "glioma": _glioma,
    "glioma-post": _after_treatment,
    "metastases": _metastases,
    "meningioma": _meningioma,
    "meningioma-rt": _meningioma,
    "paediatric": _child,
}


def _mean(parameters: PhantomParameters, tissue: str, factors: Four) -> Four:
    """A mean of each sequence, relative to that of a tissue."""
    t1, ce, t2, flair = (
        round(mean * factor, 4)
        for mean, factor in zip(parameters.contrast.means[tissue], factors, strict=True)
    )
    return t1, ce, t2, flair


def _distance(centre: NDArray[np.float64], grid: Grid) -> NDArray[np.float32]:
    """Distance from a point, mm."""
    squares = [(axis - at) ** 2 for axis, at in zip(grid.axes, centre, strict=True)]
    distance: NDArray[np.float32] = np.sqrt(sum(np.ix_(*squares))).astype(np.float32)
    return distance


def _away(voxel: NDArray[np.intp], grid: Grid) -> NDArray[np.float32]:
    return _distance(np.array([axis[i] for axis, i in zip(grid.axes, voxel, strict=True)]), grid)


def _depth(mask: NDArray[np.bool_], spacing: float) -> NDArray[np.float32]:
    """Distance to the border of a mask, mm inside it."""
    from scipy import ndimage

    padded = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1, 1:-1]
    depth: NDArray[np.float32] = (padded * spacing).astype(np.float32)
    return depth


def _near(mask: NDArray[np.bool_], reach_mm: float, spacing: float) -> NDArray[np.bool_]:
    """Voxels up to so far from a mask."""
    from scipy import ndimage

    if not mask.any():
        return np.zeros_like(mask)
    near: NDArray[np.bool_] = ndimage.distance_transform_edt(~mask) * spacing <= reach_mm
    return near


def _level(values: NDArray[np.floating], inside: NDArray[np.bool_], share: float) -> float:
    """The value that a share of the voxels inside does not exceed; at least one."""
    count = max(1, round(share * int(inside.sum())))
    return float(np.partition(values[inside], count - 1)[count - 1]) if inside.any() else -np.inf
