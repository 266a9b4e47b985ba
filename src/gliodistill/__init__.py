"""gliodistill: small, fast brain-tumour segmentation by knowledge distillation.

Research use, not a medical device.

    import gliodistill as gd

    # Use a model
    model = gd.load_model()                            # the shipped model
    segmentation = model.segment(gd.Study.open("patient"))
    segmentation.save("labels.nii.gz")
    gd.segment("export.zip")                           # DICOM, or NIfTI as scanned

    # Train: data, recipe, training, export
    cohort = gd.open_cohort("patients")
    recipe = gd.Recipe.open("compression")             # a shipped recipe, or a file
    experiment = gd.train(recipe, "patients", "runs/first")
    gd.export("runs/first", "model")

    # Evaluate
    scores = gd.evaluate("segmentations", "patients")
    gd.compare({"distilled": scores, "baseline": others})

    gd.evaluate(prediction, reference, spacing=(1, 1, 1))      # arrays, one study

    # See what there is: each lists its names
    gd.networks.names(), gd.losses.names(), gd.methods.names()

    # Extend: what recipes and options may name (docs/how-to/extend.md)
    gd.networks.register            # a network
    gd.losses.register              # a distillation loss
    gd.segmentation_losses.register # a segmentation loss
    gd.methods.register             # a method
    gd.teachers.register            # a kind of teacher that is no run of a recipe
    gd.transforms.register          # an augmentation transform
    gd.layouts.register             # how studies lie on disk
    gd.label_conventions.register   # what label codes mean
    gd.runtimes.register            # what runs a model
    gd.postprocessing.register      # a rule that cleans a segmentation up

Names are imported when first used: ``import gliodistill`` is cheap, and only training imports
torch.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gliodistill import distillation as losses
    from gliodistill import methods, networks, teachers
    from gliodistill.errors import GliodistillError
    from gliodistill.evaluation.comparison import compare
    from gliodistill.evaluation.evaluate import evaluate
    from gliodistill.images.volume import Volume
    from gliodistill.inference import postprocessing, runtimes
    from gliodistill.inference.predictor import Predictor, load_model, segment
    from gliodistill.inference.segmentation import Segmentation
    from gliodistill.methods import segmentation as segmentation_losses
    from gliodistill.phantom.cohort import make_phantom, write_cohort
    from gliodistill.preparation.preparation import Preparation
    from gliodistill.recipes.schema import Recipe
    from gliodistill.studies import labels as label_conventions
    from gliodistill.studies import layouts
    from gliodistill.studies.cohort import Cohort, open_cohort
    from gliodistill.studies.labels import CONVENTIONS, LabelConvention
    from gliodistill.studies.sequence import MRSequence
    from gliodistill.studies.study import Study
    from gliodistill.training import transforms
    from gliodistill.training.experiment import Experiment
    from gliodistill.training.packaging import export
    from gliodistill.training.run import train

_HOMES = {
    "CONVENTIONS": "studies.labels",
    "Cohort": "studies.cohort",
    "Experiment": "training.experiment",
    "GliodistillError": "errors",
    "LabelConvention": "studies.labels",
    "MRSequence": "studies.sequence",
    "Predictor": "inference.predictor",
    "Preparation": "preparation.preparation",
    "Recipe": "recipes.schema",
    "Segmentation": "inference.segmentation",
    "Study": "studies.study",
    "Volume": "images.volume",
    "compare": "evaluation.comparison",
    "evaluate": "evaluation.evaluate",
    "export": "training.packaging",
    "load_model": "inference.predictor",
    "make_phantom": "phantom.cohort",
    "open_cohort": "studies.cohort",
    "segment": "inference.predictor",
    "train": "training.run",
    "write_cohort": "phantom.cohort",
}
_PACKAGES = {
    "label_conventions": "studies.labels",
    "layouts": "studies.layouts",
    "losses": "distillation",
    "methods": "methods",
    "networks": "networks",
    "postprocessing": "inference.postprocessing",
    "runtimes": "inference.runtimes",
    "segmentation_losses": "methods.segmentation",
    "teachers": "teachers",
    "transforms": "training.transforms",
}
_TORCH = {
    "Experiment",
    "export",
    "losses",
    "methods",
    "networks",
    "segmentation_losses",
    "train",
    "transforms",
}
"""What needs torch."""

__version__ = "0.2.0"

__all__ = [
    "CONVENTIONS",
    "Cohort",
    "Experiment",
    "GliodistillError",
    "LabelConvention",
    "MRSequence",
    "Predictor",
    "Preparation",
    "Recipe",
    "Segmentation",
    "Study",
    "Volume",
    "compare",
    "evaluate",
    "export",
    "label_conventions",
    "layouts",
    "load_model",
    "losses",
    "make_phantom",
    "methods",
    "networks",
    "open_cohort",
    "postprocessing",
    "runtimes",
    "segment",
    "segmentation_losses",
    "teachers",
    "train",
    "transforms",
    "write_cohort",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"gliodistill.{_HOMES[name]}"), name)
    if name in _PACKAGES:
        return import_module(f"gliodistill.{_PACKAGES[name]}")
    raise AttributeError(f"module 'gliodistill' has no attribute {name!r}")


def __dir__() -> list[str]:
    # Where torch is not installed, help() must not touch what needs it.
    hidden = () if _has_torch() else _TORCH
    return [*(name for name in __all__ if name not in hidden), "__version__"]


def _has_torch() -> bool:
    try:
        return find_spec("torch") is not None
    except (ImportError, ValueError):
        return False
