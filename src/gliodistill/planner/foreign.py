"""A teacher of another tool as the planner's teacher: a recipe around it, from a shipped one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gliodistill.documents import Refusal
from gliodistill.documents.yaml_text import read_yaml
from gliodistill.errors import RecipeError
from gliodistill.planner.teacher import FRAME, Teacher
from gliodistill.recipes.catalogue import shipped_recipes
from gliodistill.recipes.reading import apply_settings
from gliodistill.recipes.schema import Recipe
from gliodistill.studies.sequence import MRSequence
from gliodistill.teachers import ForeignTeacher
from gliodistill.teachers import Teacher as Opened

STEP = 16
"""The student's patch has sides that are multiples of this."""
STAND_IN = {"name": "unet", "options": {"widths": [4, 8]}}
"""Network of the run that makes the recipe around the teacher a valid one; it is not trained."""


def of_foreign(named: ForeignTeacher, settings: Sequence[str] = ()) -> Teacher:
    """The planner's teacher: schedule and augmentation of ``compression``, the teacher's
    sequences, its voxel size, and patches no larger than its own.

    Args:
        named: the teacher.
        settings: ``key=value`` of the recipe, but for those of runs, which do not exist yet.

    Raises:
        GliodistillError: the teacher cannot be opened.
        RecipeError: a setting that does not fit.
    """
    opened = named.open()
    values = _around(opened, named)
    values = apply_settings(values, [s for s in settings if not s.startswith("runs.")])
    recipe = Recipe.of(values | {"runs": {"teacher": {"network": STAND_IN}}}, Path(FRAME))
    return Teacher("teacher", recipe, values, trained=False, named=named, opened=opened)


def _around(opened: Opened, named: ForeignTeacher) -> dict[str, Any]:
    values = read_yaml(shipped_recipes()[FRAME], Refusal(RecipeError, "cannot read the recipe"))
    data, sampling = values["data"], values["sampling"]
    takes = [str(s) for s in MRSequence if s in opened.sequences] or data["sequences"]
    patch = [
        min(side, STEP * -(-theirs // STEP))
        for side, theirs in zip(sampling["patch"], opened.patch or sampling["patch"], strict=True)
    ]
    spacing = data["spacing"] if opened.spacing is None else list(opened.spacing)
    kept = {key: values[key] for key in ("outputs", "augmentation", "training")}
    return {
        "name": "distil",
        "about": f"A student distilled from {named}, and the same student without distillation.",
        **kept,
        "data": data | {"sequences": takes, "spacing": spacing, "validation": 0.2},
        "sampling": sampling | {"patch": patch},
        "runs": {},
    }
