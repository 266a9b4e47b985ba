"""Model packages: what a trained network needs to run anywhere and prove what it is (export lives
on the torch floor).
"""

from gliodistill.models.outputs import Outputs
from gliodistill.models.package import ModelPackage
from gliodistill.models.spec import InferenceSettings, ModelSpec, NetworkSpec, Step, TrainingSummary

__all__ = [
    "InferenceSettings",
    "ModelPackage",
    "ModelSpec",
    "NetworkSpec",
    "Outputs",
    "Step",
    "TrainingSummary",
]
