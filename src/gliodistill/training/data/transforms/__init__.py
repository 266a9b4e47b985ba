"""Augmentation: one documented class per transform, drawn first and applied after.

So a teacher and a student see the same patch, and a run can be replayed. A recipe gives each its
probability and ranges under ``augmentation`` (:mod:`gliodistill.recipes.transforms`).
"""

from gliodistill.training.data.transforms.base import Transform
from gliodistill.training.data.transforms.bias import Bias
from gliodistill.training.data.transforms.blur import Blur
from gliodistill.training.data.transforms.brightness import Brightness
from gliodistill.training.data.transforms.contrast import Contrast
from gliodistill.training.data.transforms.curve import Curve
from gliodistill.training.data.transforms.cut_field import CutField
from gliodistill.training.data.transforms.gamma import Gamma
from gliodistill.training.data.transforms.intensities import Intensities
from gliodistill.training.data.transforms.low_resolution import LowResolution
from gliodistill.training.data.transforms.misregistration import Misregistration
from gliodistill.training.data.transforms.modality_dropout import ModalityDropout
from gliodistill.training.data.transforms.noise import Noise
from gliodistill.training.data.transforms.registry import TRANSFORMS, names, register
from gliodistill.training.data.transforms.spatial import Spatial, read_patch
from gliodistill.training.data.transforms.thick_slices import ThickSlices
from gliodistill.training.data.transforms.transplant import Transplant

__all__ = [
    "TRANSFORMS",
    "Bias",
    "Blur",
    "Brightness",
    "Contrast",
    "Curve",
    "CutField",
    "Gamma",
    "Intensities",
    "LowResolution",
    "Misregistration",
    "ModalityDropout",
    "Noise",
    "Spatial",
    "ThickSlices",
    "Transform",
    "Transplant",
    "names",
    "read_patch",
    "register",
]
