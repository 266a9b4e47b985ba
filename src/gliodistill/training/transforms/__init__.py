"""Augmentation: one documented class per transform, drawn first and applied after.

So a teacher and a student see the same patch, and a run can be replayed. A recipe gives each its
probability and ranges under ``augmentation`` (:mod:`gliodistill.recipes.transforms`).
"""

from gliodistill.training.transforms.base import Patch, PatchTransform, Transform
from gliodistill.training.transforms.bias import Bias
from gliodistill.training.transforms.blur import Blur
from gliodistill.training.transforms.brain_mask import BrainMask
from gliodistill.training.transforms.brightness import Brightness
from gliodistill.training.transforms.contrast import Contrast
from gliodistill.training.transforms.contrast_agent import ContrastAgent
from gliodistill.training.transforms.curve import Curve
from gliodistill.training.transforms.cut_field import CutField
from gliodistill.training.transforms.gamma import Gamma
from gliodistill.training.transforms.intensities import Intensities
from gliodistill.training.transforms.low_resolution import LowResolution
from gliodistill.training.transforms.misregistration import Misregistration
from gliodistill.training.transforms.modality_dropout import ModalityDropout
from gliodistill.training.transforms.noise import Noise
from gliodistill.training.transforms.registry import TRANSFORMS, names, register
from gliodistill.training.transforms.spatial import Spatial, read_patch
from gliodistill.training.transforms.thick_slices import ThickSlices
from gliodistill.training.transforms.transplant import Transplant
from gliodistill.training.transforms.windowing import Windowing

__all__ = [
    "TRANSFORMS",
    "Bias",
    "Blur",
    "BrainMask",
    "Brightness",
    "Contrast",
    "ContrastAgent",
    "Curve",
    "CutField",
    "Gamma",
    "Intensities",
    "LowResolution",
    "Misregistration",
    "ModalityDropout",
    "Noise",
    "Patch",
    "PatchTransform",
    "Spatial",
    "ThickSlices",
    "Transform",
    "Transplant",
    "Windowing",
    "names",
    "read_patch",
    "register",
]
