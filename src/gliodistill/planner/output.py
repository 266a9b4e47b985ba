"""A plan's folder: the recipe to train, the runs to copy, the figures, the page."""

import json
import os

from gliodistill.files import atomic_folder
from gliodistill.planner.planning import Plan
from gliodistill.reports.pages.plan import write_plan_report


def write_plan(plan: Plan, out: str | os.PathLike[str]) -> None:
    """Write ``student.yaml``, ``recipe.yaml``, ``plan.json`` and ``plan.html``, atomically.

    Raises:
        OutputError: ``out`` exists or cannot be written.
    """
    facts = plan.as_dict()
    with atomic_folder(out) as folder:
        (folder / "student.yaml").write_text(plan.fragment(), encoding="utf-8")
        (folder / "recipe.yaml").write_text(plan.recipe(), encoding="utf-8")
        (folder / "plan.json").write_text(
            json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8"
        )
        write_plan_report(folder / "plan.html", facts, plan.fragment())
