"""A proposed student as two runs of its teacher's recipe: without and with distillation."""

import copy
from pathlib import Path
from typing import Any

from gliodistill.planner.shapes import Shape
from gliodistill.planner.teacher import Teacher
from gliodistill.recipes.schema import Recipe, RunPart
from gliodistill.training.resolve import resolve

INHERITED = ("sequences", "outputs", "augmentation", "training")
"""Keys that the student inherits from its teacher's run, if not default."""


def student_runs(teacher: Teacher, shape: Shape) -> dict[str, Any]:
    """Run name → run: the baseline and the student distilled with soft targets, under unused names.

    In a training's recipe, both inherit sequences, outputs, augmentation and schedule of the
    teacher's run; shared keys are omitted.
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
    if teacher.named is not None:
        method = {"name": "compression", "options": {"teacher": teacher.named.as_dict()}}
        return {"baseline": baseline, "distilled": distilled | {"method": method}}
    method = {"name": "compression", "options": {"teacher": teacher.run}}
    name, number = "planned", 2
    while {name, f"{name}_baseline"} & teacher.recipe.runs.keys():
        name, number = f"planned{number}", number + 1
    return {f"{name}_baseline": baseline, name: distilled | {"method": method}}


def extended(teacher: Teacher, runs: dict[str, Any]) -> dict[str, Any]:
    """The teacher's recipe extended with ``runs``, as plain values, validated.

    Raises:
        RecipeError: the runs do not fit the recipe.
    """
    values = teacher.values | {"runs": teacher.values["runs"] | runs}
    resolve(Recipe.of(values, Path("recipe.yaml")))
    return values
