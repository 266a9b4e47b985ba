"""Standard codes (SNOMED CT, NCI Thesaurus) of regions and tissues, and their colours in viewers.

The types are those of DICOM's context group 7159, "Lesion Segmentation Types", where it has one.
"""

from dataclasses import dataclass

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from gliodistill.studies.labels import LabelConvention
from gliodistill.tasks.catalogue import glioma
from gliodistill.tasks.task import Task
from gliodistill.tasks.tissues import Look

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
    tissues: frozenset[str]


def _segment(label: str, look: Look, tissues: frozenset[str]) -> Segment:
    scheme, value, meaning = look.code
    return Segment(label, look.words.capitalize(), Code(value, scheme, meaning), look.rgb, tissues)


def region_segments(task: Task) -> tuple[Segment, ...]:
    """The regions of a task; where they nest, one voxel may lie in several."""
    return tuple(_segment(each.name, each.look, each.tissues) for each in task.regions)


REGION_SEGMENTS = region_segments(glioma())
"""Those of gliomas."""


def tissue_segments(convention: LabelConvention, task: Task | None = None) -> tuple[Segment, ...]:
    """The tissues that a convention draws, in the order of its codes; a voxel lies in one of
    them.
    """
    tissues = [str(convention.codes[code]) for code in sorted(convention.codes)]
    look = (task or glioma()).look_of_tissue
    return tuple(_segment(tissue, look(tissue), frozenset({tissue})) for tissue in tissues)
