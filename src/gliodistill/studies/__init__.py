"""Studies: named sequences on one grid, label conventions, and layouts on disk."""

from gliodistill.studies.cohort import Cohort, check_disjoint, open_cohort
from gliodistill.studies.inspection import Inspection, inspect
from gliodistill.studies.label_evidence import Detection, detect_convention
from gliodistill.studies.labels import CONVENTIONS, REGIONS, LabelConvention, Tissue
from gliodistill.studies.records import ImageFile, StudyRecord
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study, load_study, open_study

__all__ = [
    "CONVENTIONS",
    "REGIONS",
    "Cohort",
    "Detection",
    "ImageFile",
    "Inspection",
    "LabelConvention",
    "MRSequence",
    "Study",
    "StudyRecord",
    "Tissue",
    "check_disjoint",
    "detect_convention",
    "inspect",
    "load_study",
    "open_cohort",
    "open_study",
]
