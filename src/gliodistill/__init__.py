"""gliodistill: brain-tumour segmentation made small and fast by knowledge distillation. Research
use, not a medical device.

    import gliodistill as gd
    gd.load_model().segment(gd.Study.open("patient")).save("labels.nii.gz")

Names are imported when first used, so that ``import gliodistill`` costs nothing and torch is loaded
by training alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gliodistill.errors import GliodistillError
    from gliodistill.evaluation.evaluate import evaluate
    from gliodistill.images.volume import Volume
    from gliodistill.inference.predictor import Predictor, load_model
    from gliodistill.inference.segmentation import Segmentation
    from gliodistill.phantom.cohort import make_phantom, write_cohort
    from gliodistill.preparation.preparation import Preparation
    from gliodistill.studies.cohort import Cohort, open_cohort
    from gliodistill.studies.labels import CONVENTIONS, LabelConvention
    from gliodistill.studies.sequence import Sequence
    from gliodistill.studies.study import Study

_HOMES = {
    "CONVENTIONS": "studies.labels",
    "Cohort": "studies.cohort",
    "GliodistillError": "errors",
    "LabelConvention": "studies.labels",
    "Predictor": "inference.predictor",
    "Preparation": "preparation.preparation",
    "Segmentation": "inference.segmentation",
    "Sequence": "studies.sequence",
    "Study": "studies.study",
    "Volume": "images.volume",
    "evaluate": "evaluation.evaluate",
    "load_model": "inference.predictor",
    "make_phantom": "phantom.cohort",
    "open_cohort": "studies.cohort",
    "write_cohort": "phantom.cohort",
}

__version__ = "0.1.0"

__all__ = [
    "CONVENTIONS",
    "Cohort",
    "GliodistillError",
    "LabelConvention",
    "Predictor",
    "Preparation",
    "Segmentation",
    "Sequence",
    "Study",
    "Volume",
    "evaluate",
    "load_model",
    "make_phantom",
    "open_cohort",
    "write_cohort",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"gliodistill.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'gliodistill' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
