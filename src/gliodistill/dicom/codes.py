"""Standard codes (SNOMED CT, NCI Thesaurus) of regions and tissues, and their colours in viewers.

The types are those of DICOM's context group 7159, "Lesion Segmentation Types", where it has one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from gliodistill.studies.labels import REGION_TISSUES, LabelConvention, Tissue

ABNORMAL = codes.SCT.MorphologicallyAbnormalStructure
BRAIN = codes.SCT.Brain
ARTIFICIAL_INTELLIGENCE = codes.DCM.ArtificialIntelligence


@dataclass(frozen=True)
class Segment:
    """Something that a label map shows.

    Attributes:
        label: short name, e.g. "WT".
        name: in words.
        type: what it is, as a code.
        colour: red, green, blue; 0 to 255.
        tissues: it is their union.
    """

    label: str
    name: str
    type: Code
    colour: tuple[int, int, int]
    tissues: frozenset[Tissue]


_NEOPLASM = codes.SCT.Neoplasm
_ENHANCING = codes.NCIt.EnhancingLesion
_NOT_ENHANCING = codes.NCIt.NonEnhancingLesion
_GREEN, _RED, _YELLOW, _BLUE = (60, 180, 75), (220, 60, 50), (255, 215, 0), (80, 130, 255)

REGION_SEGMENTS = (
    Segment("WT", "Whole tumour", _NEOPLASM, _GREEN, REGION_TISSUES["WT"]),
    Segment("TC", "Tumour core", _NEOPLASM, _RED, REGION_TISSUES["TC"]),
    Segment("ET", "Enhancing tumour", _ENHANCING, _YELLOW, REGION_TISSUES["ET"]),
)
"""Nested: one voxel may lie in all three."""

TISSUE_SEGMENTS: Mapping[Tissue, Segment] = {
    tissue: Segment(tissue.value, name, code, colour, frozenset({tissue}))
    for tissue, name, code, colour in (
        (Tissue.NCR, "Necrotic core", codes.SCT.Necrosis, _RED),
        (Tissue.ED, "Oedema", codes.SCT.Edema, _GREEN),
        (Tissue.ET, "Enhancing tumour", _ENHANCING, _YELLOW),
        (Tissue.NET, "Non-enhancing tumour", _NOT_ENHANCING, _RED),
        (Tissue.CC, "Cyst", codes.SCT.Cyst, _BLUE),
        (Tissue.RC, "Resection cavity", codes.SCT.Lesion, _BLUE),
    )
}
"""A voxel lies in one of them."""


def tissue_segments(convention: LabelConvention) -> tuple[Segment, ...]:
    """Those that a convention draws, in the order of its codes."""
    tissues = [convention.codes[code] for code in sorted(convention.codes)]
    return tuple(TISSUE_SEGMENTS[tissue] for tissue in tissues)
