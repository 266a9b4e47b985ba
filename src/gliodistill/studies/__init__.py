"""Studies: named sequences on one grid, label conventions, and the layouts they come in."""

from gliodistill.studies.cohort import Cohort, check_disjoint, open_cohort
from gliodistill.studies.labels import CONVENTIONS, REGIONS, LabelConvention, Tissue
from gliodistill.studies.sequence import Sequence
from gliodistill.studies.study import ImageFile, Study, StudyRecord

__all__ = [
    "CONVENTIONS",
    "REGIONS",
    "Cohort",
    "ImageFile",
    "LabelConvention",
    "Sequence",
    "Study",
    "StudyRecord",
    "Tissue",
    "check_disjoint",
    "open_cohort",
]
