"""All random parameters of a phantom, drawn before rendering, so that a study can be recorded and
reproduced.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

Triple = tuple[float, float, float]
Four = tuple[float, float, float, float]
"""One number per sequence, in canonical order T1, T1CE, T2, FLAIR."""

KINDS = ("ring", "patchy", "nodule", "nonenhancing")
TISSUES = ("WM", "GM", "CSF", "ED", "NET", "NCR", "ET")
"""Tissues with their own mean: NET is solid non-enhancing core, NCR fluid necrosis; both carry
one label.
"""


@dataclass(frozen=True)
class AnatomyParameters:
    """The healthy brain.

    Attributes:
        scale: size relative to the atlas, per axis.
        rotation_deg: turns about X, Y, Z.
        shift_mm: offset of the brain's centre from the centre of the field of view.
        elastic_mm: standard deviation of the displacement at 45 mm and at 15 mm correlation length.
        folding: standard deviation of the noise on the tissues' log-odds; varies the gyri.
        sharpness: exponent on the tissue probabilities.
        atrophy: log-odds added to fluid: wider sulci and ventricles.
        outline: level of the blurred brain mask for skull-stripping; 0.5 is the atlas's surface,
            more is tighter.
        seed: of the random fields.
    """

    scale: Triple
    rotation_deg: Triple
    shift_mm: Triple
    elastic_mm: tuple[float, float]
    folding: float
    sharpness: float
    atrophy: float
    outline: float
    seed: int


@dataclass(frozen=True)
class TumourParameters:
    """The parameters of a simulated tumour.

    Attributes:
        kind: one of ``KINDS``: pattern of enhancement in the core.
        wt_ml, tc_ml, et_ml: target volumes of the nested regions, if the brain has room.
        foci_mm: seed points in MNI mm; the first is the main one.
        white_matter_ratio: how many times faster than in grey matter cells diffuse in white matter,
            while the core grows and while the oedema spreads.
        unevenness: standard deviation of the log proliferation rate.
        lopsidedness: standard deviation over directions of the log speed of oedema.
        roughness_mm: noise on the borders of core and whole tumour.
        patchiness: 0 is a clean rim around the necrosis, 1 is all noise.
        mass_effect_mm: largest displacement of the surroundings.
        seed: of the random fields.
    """

    kind: str
    wt_ml: float
    tc_ml: float
    et_ml: float
    foci_mm: tuple[Triple, ...]
    white_matter_ratio: tuple[float, float]
    unevenness: float
    lopsidedness: float
    roughness_mm: tuple[float, float]
    patchiness: float
    mass_effect_mm: float
    seed: int


@dataclass(frozen=True)
class ShapeParameters:
    """The parameters of a tumour with a given shape.

    Attributes:
        shape: name of the label map's file.
        wt_ml, tc_ml, et_ml: volumes in the label map.
        mirror: left to right.
        scale: per axis.
        rotation_deg: turns about X, Y, Z, around the tumour's centre.
        shift_mm: translation.
        roughness_mm: standard deviation of a smooth displacement of the borders.
        mass_effect_mm: largest displacement of the surroundings.
        seed: of the random fields.
    """

    shape: str
    wt_ml: float
    tc_ml: float
    et_ml: float
    mirror: bool
    scale: Triple
    rotation_deg: Triple
    shift_mm: Triple
    roughness_mm: float
    mass_effect_mm: float
    seed: int


@dataclass(frozen=True)
class ContrastParameters:
    """The contrast of each tissue.

    Attributes:
        means: tissue → mean intensity in T1, T1CE, T2, FLAIR, relative to white matter (1).
        fluidity: mean share of fluid (NCR) against solid (NET) in the non-enhancing core.
        variation: amplitude of the slow variation inside oedema, core and enhancement.
        texture: relative standard deviation of the normal tissue's texture, per sequence.
        oedema_fade: reduction of oedema contrast at its border against the core (0 to 1).
        infiltration: share of normal anatomy visible in the solid core.
        bleed: T1 brightening of blood products in parts of the core (0: none).
        vessels, meninges, choroid: enhancement of normal structures in T1CE, relative to white
            matter (0: none).
        hyperintensities: amount of white-matter hyperintensities without tumour (0: none, 1:
            many).
        shade: darkness of dura and bone left at the surface (0: none).
        residue: brightness of remains of skull-stripping at the surface (0: none).
        scale: intensity of white matter per sequence, in scanner units.
        seed: of the random fields.
    """

    means: dict[str, Four]
    fluidity: float
    variation: float
    texture: Four
    oedema_fade: float
    infiltration: float
    bleed: float
    vessels: float
    meninges: float
    choroid: float
    hyperintensities: float
    shade: float
    residue: float
    scale: Four
    seed: int


@dataclass(frozen=True)
class ArtefactParameters:
    """The artefacts of scanner and preprocessing, per sequence in canonical order.

    Attributes:
        bias: standard deviation of the log bias field.
        blur_mm: standard deviation of the point spread.
        slice_mm: slice thickness along ``slice_axis`` (0: as fine as the grid).
        slice_axis: 0, 1 or 2.
        shift_mm, rotation_deg: misregistration against the reference.
        noise: Rician noise, relative to white matter.
        cut: share of the field lost, along ``cut_axis`` (0: none), from its low end or, if
            negative, its high end.
        cut_axis: 0, 1 or 2.
        seed: of bias fields and noise.
    """

    bias: Four
    blur_mm: Four
    slice_mm: Four
    slice_axis: tuple[int, int, int, int]
    shift_mm: tuple[Triple, Triple, Triple, Triple]
    rotation_deg: tuple[Triple, Triple, Triple, Triple]
    noise: Four
    cut: Four
    cut_axis: tuple[int, int, int, int]
    seed: int


@dataclass(frozen=True)
class PhantomParameters:
    """All parameters of a synthetic study; the same parameters and spacing give the same voxels.

    Attributes:
        seed, index: of the random draw.
        difficulty: 1 is similar to real cohorts; less is cleaner, more is noisier and fainter.
        anatomy, tumour, contrast, artefacts: the four parts.
        task: whose tumour it has (:mod:`.other_tumours`); that of other tasks than ``glioma``
            is made from the four parts.
    """

    seed: int
    index: int
    difficulty: float
    anatomy: AnatomyParameters
    tumour: TumourParameters | ShapeParameters
    contrast: ContrastParameters
    artefacts: ArtefactParameters
    task: str = "glioma"

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and mappings, for JSON; gliomas name no task."""
        plain = asdict(self)
        if self.task == "glioma":
            del plain["task"]
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`as_dict`, also after JSON has turned tuples into lists."""
        parts: dict[str, Any] = {
            "anatomy": AnatomyParameters,
            "tumour": ShapeParameters if "shape" in plain["tumour"] else TumourParameters,
            "contrast": ContrastParameters,
            "artefacts": ArtefactParameters,
        }
        built = {
            name: part(**{key: _tuples(value) for key, value in plain[name].items()})
            for name, part in parts.items()
        }
        task = plain.get("task", "glioma")
        return cls(plain["seed"], plain["index"], plain["difficulty"], **built, task=task)


def _tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value
