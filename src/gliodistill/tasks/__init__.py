"""Tasks: label sets as data. What is segmented, how it is coded, painted, named and scored.

A task is a YAML file, shipped (:func:`~gliodistill.tasks.catalogue.shipped_tasks`) or a user's own.
Recipes, networks, model packages, predictors, evaluation and reports take their regions from it.
"""

from gliodistill.tasks.catalogue import find_task, glioma, shipped_tasks
from gliodistill.tasks.conventions import CONVENTIONS, LabelConvention, find_convention
from gliodistill.tasks.task import Task, TaskRegion
from gliodistill.tasks.tissues import Tissue

__all__ = [
    "CONVENTIONS",
    "LabelConvention",
    "Task",
    "TaskRegion",
    "Tissue",
    "find_convention",
    "find_task",
    "glioma",
    "shipped_tasks",
]
