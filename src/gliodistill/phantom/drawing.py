"""Draw the parameters of a phantom. The ranges are centred on what `benchmarks/phantom_realism.py`
measures on real cases.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import GliodistillError
from gliodistill.phantom.atlas import load_atlas
from gliodistill.phantom.other_tumours import BUILDS, smaller_head
from gliodistill.phantom.parameters import (
    AnatomyParameters,
    ArtefactParameters,
    ContrastParameters,
    Four,
    PhantomParameters,
    ShapeParameters,
    Triple,
    TumourParameters,
)
from gliodistill.registry import nearest

Rng = np.random.Generator


def draw_parameters(
    seed: int,
    index: int,
    difficulty: float = 1.0,
    shapes: Sequence[Path] = (),
    task: str = "glioma",
) -> PhantomParameters:
    """The parameters of study ``index`` of cohort ``seed``; studies are independent.

    Args:
        seed: any integer ≥ 0.
        index: which study, from 0.
        difficulty: 0 (clean, strong contrast) to 2 (noisy, faint); 1 resembles real cohorts.
        shapes: label maps whose tumour shapes are used in turn; by default growth is simulated.
        task: a shipped task, whose tumour it has.

    Raises:
        GliodistillError: a value out of range, or a label map that cannot be used.
    """
    for name, value in (("seed", seed), ("index", index)):
        if value < 0:
            raise GliodistillError(
                "phantoms are numbered from 0", field=name, got=value, expected="an integer ≥ 0"
            )
    if task not in ("goat", *BUILDS):
        raise GliodistillError(
            "no phantoms of this task",
            field="task",
            got=task,
            expected=", ".join((*BUILDS, "goat")),
            hint=nearest(task, BUILDS),
        )
    if shapes and task != "glioma":
        raise GliodistillError(
            "shapes are of gliomas", field="shapes", got=f"task {task}", expected="task glioma"
        )
    if not 0 <= difficulty <= 2:
        raise GliodistillError(
            "no such difficulty", field="difficulty", got=difficulty, expected="0 to 2"
        )
    # One random stream per part, so that a change of one leaves the others unchanged.
    anatomy, tumour, contrast, artefacts = (
        np.random.default_rng(s) for s in np.random.SeedSequence([seed, index]).spawn(4)
    )
    drawn = (
        draw_shape(tumour, shapes[_turn(seed, index, len(shapes))])
        if shapes
        else draw_tumour(tumour)
    )
    parameters = PhantomParameters(
        seed,
        index,
        float(difficulty),
        draw_anatomy(anatomy),
        drawn,
        draw_contrast(contrast, difficulty),
        draw_artefacts(artefacts, difficulty),
        task,
    )
    return smaller_head(task, parameters)


def _uniform(rng: Rng, low: float, high: float) -> float:
    return round(float(rng.uniform(low, high)), 4)


def _normal(rng: Rng, mean: float, deviation: float, low: float, high: float) -> float:
    return round(float(np.clip(rng.normal(mean, deviation), low, high)), 4)


def _maybe(rng: Rng, probability: float, low: float, high: float) -> float:
    """Uniform in a range with a probability, else 0; always two draws."""
    happens, value = rng.random() < probability, _uniform(rng, low, high)
    return value if happens else 0.0


def _triple(rng: Rng, deviation: float, limit: float) -> Triple:
    x, y, z = (_normal(rng, 0, deviation, -limit, limit) for _ in range(3))
    return x, y, z


def _seed(rng: Rng) -> int:
    return int(rng.integers(2**31))


def draw_anatomy(rng: Rng) -> AnatomyParameters:
    """A brain: BraTS brains (SRI24 space) measure about 138×172×139 mm where the atlas measures
    145×181×155.
    """
    size = _normal(rng, 1.0, 0.03, 0.92, 1.07)
    scale = tuple(
        round(size * base * _normal(rng, 1.0, 0.02, 0.93, 1.06), 4)
        for base in (0.945, 0.945, 0.925)
    )
    return AnatomyParameters(
        scale=(scale[0], scale[1], scale[2]),
        rotation_deg=(
            _normal(rng, 0, 4, -10, 10),
            _normal(rng, 0, 2.5, -8, 8),
            _normal(rng, 0, 2.5, -8, 8),
        ),
        shift_mm=(
            _normal(rng, 0, 2, -6, 6),
            _normal(rng, 0, 3, -8, 8),
            _normal(rng, -4, 3, -12, 4),
        ),
        elastic_mm=(_uniform(rng, 1.5, 3.6), _uniform(rng, 0.5, 1.5)),
        folding=_uniform(rng, 0.5, 1.3),
        sharpness=_uniform(rng, 2.0, 3.8),
        atrophy=_normal(rng, 1.3, 0.7, -0.2, 3.0),
        outline=_uniform(rng, 0.52, 0.82),
        seed=_seed(rng),
    )


def draw_tumour(rng: Rng) -> TumourParameters:
    """A tumour: volumes as in 360 BraTS 2020 patients (WT median 90 ml; TC/WT median 0.39; ET/TC
    median 0.62, none in 7 %).
    """
    kind = str(rng.choice(("ring", "patchy", "nodule", "nonenhancing"), p=(0.49, 0.3, 0.06, 0.15)))
    wt = float(np.clip(106 * rng.weibull(1.75), 6, 260))
    core = float(np.clip(rng.beta(1.9, 3.2), 0.03, 0.96))
    if kind == "nonenhancing":
        core = float(np.clip(rng.beta(2.4, 2.2), 0.08, 0.97))
    elif kind == "nodule":
        core = float(np.clip(rng.beta(2.2, 2.4), 0.08, 0.95))
    enhancing = {
        "ring": float(np.clip(rng.beta(6.0, 3.2), 0.2, 0.97)),
        "patchy": float(np.clip(rng.beta(5.0, 2.6), 0.15, 0.99)),
        "nodule": float(10 ** rng.uniform(-2.3, -0.5)),
        "nonenhancing": 0.0,
    }[kind]
    foci = int(rng.choice((1, 2, 3), p=(0.86, 0.1, 0.04)))
    return TumourParameters(
        kind=kind,
        wt_ml=round(wt, 3),
        tc_ml=round(wt * core, 3),
        et_ml=round(wt * core * enhancing, 3),
        foci_mm=_draw_foci(rng, foci),
        white_matter_ratio=(_uniform(rng, 2.0, 8.0), _uniform(rng, 8.0, 40.0)),
        unevenness=_uniform(rng, 0.2, 0.8),
        lopsidedness=_uniform(rng, 0.6, 2.6),
        roughness_mm=(_uniform(rng, 0.6, 2.6), _uniform(rng, 2.0, 7.0)),
        patchiness=_uniform(rng, 0.1, 0.45) if kind == "ring" else _uniform(rng, 0.5, 0.95),
        mass_effect_mm=round(min(1.0, (wt * core / 60) ** 0.5) * _uniform(rng, 1.0, 10.0), 4),
        seed=_seed(rng),
    )


def draw_shape(rng: Rng, file: Path) -> ShapeParameters:
    """Jitter of a real tumour's shape: enough for a different tumour, and small enough for a
    typical location.
    """
    from gliodistill.phantom.shapes import read_shape

    wt, tc, et = read_shape(file).volumes_ml
    size = _uniform(rng, 0.85, 1.15)
    scale = tuple(round(size * _uniform(rng, 0.92, 1.08), 4) for _ in range(3))
    return ShapeParameters(
        shape=file.name,
        wt_ml=wt,
        tc_ml=tc,
        et_ml=et,
        mirror=bool(rng.random() < 0.5),
        scale=(scale[0], scale[1], scale[2]),
        rotation_deg=_triple(rng, 8.0, 20.0),
        shift_mm=_triple(rng, 4.0, 8.0),
        roughness_mm=_uniform(rng, 0.3, 1.5),
        mass_effect_mm=round(min(1.0, (tc / 60) ** 0.5) * _uniform(rng, 1.0, 10.0), 4),
        seed=_seed(rng),
    )


def _turn(seed: int, index: int, count: int) -> int:
    """Each of ``count`` shapes once per round, in a new order each round."""
    round_, place = divmod(index, count)
    return int(np.random.default_rng([seed, round_]).permutation(count)[place])


def _draw_foci(rng: Rng, count: int) -> tuple[Triple, ...]:
    """Points in supratentorial white (mostly) or grey matter; further foci within 60 mm of the
    first.
    """
    places, likely = _tumour_sites()
    points: list[Triple] = []
    for _ in range(count):
        weight = likely
        if points:
            square = ((places - points[0]) ** 2).sum(axis=1)
            weight = likely * ((square > 18**2) & (square < 60**2))
        cumulative = np.cumsum(weight)
        x, y, z = places[np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")]
        points.append((float(x), float(y), float(z)))
    return tuple(points)


@lru_cache(maxsize=1)
def _tumour_sites() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points in MNI mm (N 3) where gliomas of adults start, with weights (N); without brain stem
    and cerebellum.
    """
    atlas = load_atlas(2)
    x, y, z = (
        corner + np.arange(n) * atlas.step_mm
        for corner, n in zip(atlas.corner_mm, atlas.grey.shape, strict=True)
    )
    below = (y[:, None] < -28) & (z[None, :] < -12 - 0.25 * (y[:, None] + 28))
    stem = (np.abs(x)[:, None, None] < 16) & (y[None, :, None] < -8) & (z[None, None, :] < -2)
    likely = (atlas.white + 0.4 * atlas.grey) * (atlas.depth > 6) * ~below[None] * ~stem
    where = np.argwhere(likely > 0.1)
    return where * atlas.step_mm + atlas.corner_mm, likely[likely > 0.1].astype(np.float64)


def draw_contrast(rng: Rng, difficulty: float) -> ContrastParameters:
    """Contrasts relative to white matter; oedema and tumour water lower T1 and raise T2."""
    keep = 1 - 0.25 * (difficulty - 1)
    """Scale the tumour's contrast."""
    t1_grey = _uniform(rng, 0.67, 0.91)
    t1_fluid = round(min(_uniform(rng, 0.25, 0.55), t1_grey - 0.14), 4)
    ce_grey = _normal(rng, t1_grey, 0.03, 0.68, 0.95)
    ce_fluid = round(min(_normal(rng, t1_fluid + 0.03, 0.03, 0.28, 0.64), ce_grey - 0.12), 4)
    t2_grey, t2_fluid = _uniform(rng, 1.15, 1.68), _uniform(rng, 2.2, 3.9)
    flair_grey, flair_fluid = _uniform(rng, 1.0, 1.34), _uniform(rng, 0.2, 0.65)

    water = float(rng.random())
    t1_oedema = 1 - keep * (0.02 + 0.2 * water + _uniform(rng, -0.03, 0.07))
    t2_oedema = max(1 + keep * (0.32 + 0.6 * water + _uniform(rng, -0.08, 0.2)), t2_grey * 1.08)
    flair_oedema = max(
        1 + keep * (0.25 + 0.5 * water + _uniform(rng, -0.05, 0.6)), flair_grey + 0.12
    )
    solid_t1 = 1 - keep * _uniform(rng, 0.08, 0.34)
    solid_t2 = max(1 + keep * _uniform(rng, 0.45, 1.25), t2_grey * 1.1)
    solid_flair = max(1 + keep * _uniform(rng, 0.25, 1.35), flair_grey + 0.1)
    necrosis_t1 = max(t1_fluid + 0.02, solid_t1 - _uniform(rng, 0.08, 0.3))
    necrosis_t2 = max(solid_t2 + 0.15, t2_fluid * _uniform(rng, 0.7, 0.98))
    necrosis_flair = max(flair_fluid + 0.08, _uniform(rng, 0.6, 2.2))
    rim_t1 = 1 - keep * _uniform(rng, 0.0, 0.32)
    rim_ce = max(1 + keep * abs(_normal(rng, 0.26, 0.16, 0.06, 0.8)), rim_t1 + 0.15)
    shift = [_normal(rng, 0.0, 0.015, -0.03, 0.03) for _ in range(3)]

    def four(t1: float, ce: float, t2: float, flair: float) -> Four:
        return round(t1, 4), round(ce, 4), round(t2, 4), round(flair, 4)

    means = {
        "WM": (1.0, 1.0, 1.0, 1.0),
        "GM": four(t1_grey, ce_grey, t2_grey, flair_grey),
        "CSF": four(t1_fluid, ce_fluid, t2_fluid, flair_fluid),
        "ED": four(t1_oedema, t1_oedema + shift[0], min(t2_oedema, t2_fluid - 0.1), flair_oedema),
        "NET": four(
            solid_t1, solid_t1 + shift[1] + 0.01, min(solid_t2, t2_fluid - 0.1), solid_flair
        ),
        "NCR": four(
            necrosis_t1, necrosis_t1 + shift[2] + 0.01, min(necrosis_t2, t2_fluid), necrosis_flair
        ),
        "ET": four(
            rim_t1,
            rim_ce,
            1 + keep * _uniform(rng, 0.4, 1.5),
            max(1 + keep * _uniform(rng, 0.2, 1.3), flair_grey + 0.05),
        ),
    }
    texture = tuple(
        _uniform(rng, low, high)
        for low, high in ((0.02, 0.06), (0.02, 0.06), (0.03, 0.09), (0.03, 0.08))
    )
    scale = tuple(round(float(np.exp(rng.uniform(np.log(150), np.log(1200)))), 1) for _ in range(4))
    return ContrastParameters(
        means=means,
        fluidity=_uniform(rng, 0.0, 1.0),
        variation=_uniform(rng, 0.5, 2.0),
        texture=(texture[0], texture[1], texture[2], texture[3]),
        oedema_fade=_uniform(rng, 0.0, 0.5),
        infiltration=_uniform(rng, 0.0, 0.35),
        bleed=_maybe(rng, 0.12, 0.15, 0.5),
        vessels=_maybe(rng, 0.9, 0.2, 1.8),
        meninges=_maybe(rng, 0.6, 0.1, 0.7),
        choroid=_maybe(rng, 0.85, 0.2, 0.9),
        hyperintensities=_maybe(rng, min(1.0, 0.5 * (0.5 + 0.5 * difficulty)), 0.05, 1.0),
        shade=_uniform(rng, 0.1, 0.95),
        residue=_maybe(rng, 0.4, 0.2, 0.9),
        scale=(scale[0], scale[1], scale[2], scale[3]),
        seed=_seed(rng),
    )


def draw_artefacts(rng: Rng, difficulty: float) -> ArtefactParameters:
    """Artefacts; ``difficulty`` scales their size and their frequency."""

    def four(low: float, high: float) -> Four:
        a, b, c, d = (round(difficulty * _uniform(rng, low, high), 4) for _ in range(4))
        return a, b, c, d

    def triples(deviation: float, limit: float) -> tuple[Triple, Triple, Triple, Triple]:
        return tuple(_triple(rng, deviation * difficulty, limit * difficulty) for _ in range(4))  # type: ignore[return-value]

    def axes(p: tuple[float, float, float]) -> tuple[int, int, int, int]:
        a, b, c, d = (int(rng.choice(3, p=p)) for _ in range(4))
        return a, b, c, d

    thick = (0.3, 0.1, 0.3, 0.4)
    slices = tuple(_maybe(rng, min(1.0, p * difficulty), 2.5, 6.5) for p in thick)
    cut_sequence, cut_share = (
        int(rng.integers(4)),
        _maybe(rng, 0.07 * difficulty, 0.08, 0.35) * float(rng.choice((-1, 1))),
    )
    cut = tuple(cut_share if number == cut_sequence else 0.0 for number in range(4))
    blur = tuple(_uniform(rng, 0.35, 0.9) for _ in range(4))
    return ArtefactParameters(
        bias=four(0.02, 0.12),
        blur_mm=(blur[0], blur[1], blur[2], blur[3]),
        slice_mm=(slices[0], slices[1], slices[2], slices[3]),
        slice_axis=axes((0.2, 0.1, 0.7)),
        shift_mm=triples(0.3, 0.9),
        rotation_deg=triples(0.3, 1.0),
        noise=(four(0.01, 0.05)[0], four(0.015, 0.06)[0], four(0.02, 0.08)[0], four(0.02, 0.08)[0]),
        cut=(cut[0], cut[1], cut[2], cut[3]),
        cut_axis=axes((0.1, 0.45, 0.45)),
        seed=_seed(rng),
    )
