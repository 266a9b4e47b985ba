"""Studies: named sequences on one grid, label conventions, and layouts on disk.

In reading order:

1. ``sequence``, ``labels``, ``ids``: the four sequences, tissues and regions, ids that name files.
2. ``vocabulary``, ``tokens``, ``naming``: what the name of a file says.
3. ``records``: the files of a study, not yet read.
4. ``layouts``: one layout a file; ``other_formats``: images in other formats; ``references``:
   label maps without images; ``problem``: problems and notes.
5. ``label_evidence`` and the other ``label_*``: which convention the codes of label maps are of.
6. ``cohort``: studies, patients, splits; ``origin``: labels that no expert made.
7. ``study``: a study that is read (``load_study`` of a record, ``open_study`` of a path).
8. ``image_checks``, ``inspection``, ``duplicates``: checks of images, a report on a data set,
   duplicate patients.
"""

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
