"""Rule sets, which define the metrics. One file per set."""

from gliodistill.errors import EvaluationError
from gliodistill.evaluation.rules.base import METRICS, Region, Rules
from gliodistill.evaluation.rules.brats2023 import Brats2023
from gliodistill.evaluation.rules.brats2024 import Brats2024
from gliodistill.evaluation.rules.brats2025 import Brats2025
from gliodistill.evaluation.rules.brats2026 import Brats2026
from gliodistill.evaluation.rules.plain import Plain
from gliodistill.evaluation.tasks import bring, challenges, scored_task

RULES: dict[str, type[Rules]] = {
    kind.name: kind for kind in (Plain, Brats2023, Brats2024, Brats2025, Brats2026)
}
"""Every rule set by name."""

__all__ = ["METRICS", "RULES", "Region", "Rules", "get_rules"]


def get_rules(name: str, task: str = "gli", tolerance_mm: float | None = None) -> Rules:
    """The rule set called ``name``, for a task.

    Args:
        name: one of :data:`RULES`.
        task: a challenge, a shipped task, or the path of one
            (:func:`gliodistill.evaluation.tasks.scored_task`).
        tolerance_mm: of the surface Dice; default: the rule set's own.

    Raises:
        EvaluationError: an unknown name or task (the valid ones are listed), or a tolerance that is
            not positive.
    """
    if name not in RULES:
        raise EvaluationError(
            "unknown rule set", field="rules", got=repr(name), expected=", ".join(RULES)
        )
    found, _ = scored_task(task)
    if task not in challenges():
        task = bring(found)  # a user's own file is called by its name in results
    return RULES[name](task, tolerance_mm)
