"""A proposed student as two runs of its teacher's recipe: without and with distillation."""

import copy
from pathlib import Path
from typing import Any

from gliodistill.planner.shapes import Shape
from gliodistill.planner.teacher import Teacher
from gliodistill.recipes.schema import Recipe, RunPart
from gliodistill.training.resolve import resolve

INHERITED = ("sequences", "outputs", "augmentation", "training")
"""What the student takes over from its teacher's run, where that is no default."""


def student_runs(teacher: Teacher, shape: Shape) -> dict[str, Any]:
    """Run name → run: the untaught twin and the student taught by soft targets, under names that
    the recipe has free.

    Of a training, both say what its teacher's run says of sequences, outputs, augmentation and
    schedule; where the recipe says it once for all runs, they leave it out.
    """
    own: dict[str, Any] = {}
    if teacher.trained:
        said = RunPart.model_validate(teacher.values["runs"][teacher.run]).model_dump(
            mode="json", exclude_defaults=True
        )
        own = {key: said[key] for key in INHERITED if key in said}
    baseline, distilled = (
        {"network": {"name": shape.network, "options": shape.options}, **copy.deepcopy(own)}
        for _ in range(2)
    )
    method = {"name": "compression", "options": {"teacher": teacher.run}}
    name, number = "planned", 2
    while {name, f"{name}_baseline"} & teacher.recipe.runs.keys():
        name, number = f"planned{number}", number + 1
    return {f"{name}_baseline": baseline, name: distilled | {"method": method}}


def extended(teacher: Teacher, runs: dict[str, Any]) -> dict[str, Any]:
    """The teacher's recipe with ``runs`` after its own, as plain values; valid, or an error.

    Raises:
        RecipeError: the runs do not fit the recipe.
    """
    values = teacher.values | {"runs": teacher.values["runs"] | runs}
    resolve(Recipe.of(values, Path("recipe.yaml")))
    return values
