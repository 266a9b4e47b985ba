"""Label conventions and the regions of gliomas, of :mod:`gliodistill.tasks.conventions`."""

from gliodistill.tasks.conventions import (
    BRATS2013,
    BRATS2021,
    BRATS2023,
    BRATS2024,
    BRATS_PED,
    CONVENTIONS,
    CORE,
    GTV,
    MSD,
    REGION_TISSUES,
    REGIONS,
    LabelConvention,
    find_convention,
    how_to_declare,
    names,
    register,
)
from gliodistill.tasks.tissues import Tissue

__all__ = [
    "BRATS2013",
    "BRATS2021",
    "BRATS2023",
    "BRATS2024",
    "BRATS_PED",
    "CONVENTIONS",
    "CORE",
    "GTV",
    "MSD",
    "REGIONS",
    "REGION_TISSUES",
    "LabelConvention",
    "Tissue",
    "find_convention",
    "how_to_declare",
    "names",
    "register",
]
