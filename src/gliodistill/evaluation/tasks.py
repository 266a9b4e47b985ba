"""The regions of each segmentation task, as unions of tissues."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import EvaluationError
from gliodistill.studies.labels import REGION_TISSUES, LabelConvention, Tissue

Regions = Mapping[str, frozenset[Tissue]]
"""Region → the tissues whose union it is."""

_COMMON: dict[str, frozenset[Tissue]] = dict(REGION_TISSUES)
_CAVITY = {"RC": frozenset({Tissue.RC})}

TASKS: dict[str, Regions] = {
    "gli": _COMMON,
    "ssa": _COMMON,
    "men": _COMMON,
    "met": _COMMON,
    "ped": (
        _COMMON
        | {
            "NETC": frozenset({Tissue.NET}),
            "CC": frozenset({Tissue.CC}),
            "ED": frozenset({Tissue.ED}),
        }
    ),
    "gli-post": (
        _COMMON | {"NETC": frozenset({Tissue.NCR}), "SNFH": frozenset({Tissue.ED})} | _CAVITY
    ),
}
"""Task → its regions: glioma before treatment, in sub-Saharan Africa, meningioma, metastases,
children, glioma after treatment.

WT, TC and ET are the same in all tasks; the others are single tissues with the challenge's names:
NETC (non-enhancing core), SNFH (surrounding non-enhancing FLAIR hyperintensity), RC (resection
cavity), CC (cyst), ED (oedema).
"""


def task_regions(task: str) -> Regions:
    """The regions of a task.

    Raises:
        EvaluationError: an unknown task; the valid names are listed.
    """
    if task not in TASKS:
        raise EvaluationError(
            "unknown task", field="task", got=repr(task), expected=", ".join(TASKS)
        )
    return TASKS[task]


def region_masks(
    labels: NDArray[Any], convention: LabelConvention, regions: Sequence[frozenset[Tissue]]
) -> NDArray[np.bool_]:
    """Codes on X Y Z → one mask per region, bool on R X Y Z.

    Raises:
        LabelError: a code that ``convention`` does not know.
    """
    convention.check(labels)
    # A few comparisons are ten times faster than a lookup table.
    codes = np.ascontiguousarray(labels)
    masks = np.zeros((len(regions), *labels.shape), dtype=bool)
    for mask, tissues in zip(masks, regions, strict=True):
        for code, tissue in convention.codes.items():
            if tissue in tissues:
                mask |= codes == code
    return masks
