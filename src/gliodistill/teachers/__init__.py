"""Teachers that are no run of the recipe: what other tools trained or predicted."""

from gliodistill.teachers.base import Prediction, Teacher
from gliodistill.teachers.files import FromFiles
from gliodistill.teachers.graphs import Onnx, OpenVINO
from gliodistill.teachers.networks import FromStateDict, MonaiBundle
from gliodistill.teachers.nnunet import NnUNet
from gliodistill.teachers.package import EnsembleOfTeachers, FromPackage
from gliodistill.teachers.registry import (
    TEACHERS,
    ForeignTeacher,
    kind_at,
    parse_teacher,
    register_teacher,
)

names = TEACHERS.names
"""Names of all kinds of teachers, sorted: what a method's ``teacher`` may name."""
register = register_teacher
"""``gd.teachers.register``: another name for :func:`register_teacher`."""

__all__ = [
    "TEACHERS",
    "EnsembleOfTeachers",
    "ForeignTeacher",
    "FromFiles",
    "FromPackage",
    "FromStateDict",
    "MonaiBundle",
    "NnUNet",
    "Onnx",
    "OpenVINO",
    "Prediction",
    "Teacher",
    "kind_at",
    "names",
    "parse_teacher",
    "register",
    "register_teacher",
]
