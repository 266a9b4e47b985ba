"""Model packages: everything a trained network needs to run, with checksums; export needs torch."""

from gliodistill.models.outputs import OutputChannels
from gliodistill.models.package import ModelPackage
from gliodistill.models.spec import InferenceSettings, ModelSpec, NetworkSpec, Step, TrainingSummary

__all__ = [
    "InferenceSettings",
    "ModelPackage",
    "ModelSpec",
    "NetworkSpec",
    "OutputChannels",
    "Step",
    "TrainingSummary",
]
