"""The way of a recipe through the code: which modules it enters, in order, until the first step.

    python -m benchmarks.recipe_path [RECIPE] [-o RESULT.json]

Calls are recorded from ``gliodistill train`` on two tiny synthetic studies until a method is asked
for its first losses. Only what a recipe decides is listed: packages ``recipes``, ``methods`` and
``training`` (in version 0.1 all of it lay in ``training``). Entering a module again and again is
what makes code hard to follow, so the count of each is given, and how often the recipe is read or
its names are looked up after the runs have begun (returns). To compare with an older version, run
this file with that version's ``src`` on ``PYTHONPATH``.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import gliodistill
from gliodistill.cli.main import run

ROOT = Path(gliodistill.__file__).parent
FOLLOWED = ("recipes", "methods", "training")
FAMILIES = ("training/transforms", "methods/segmentation")
"""Packages of small classes of one kind, each built in turn: a reader takes them for one module."""
READING = ("recipes/", "training/recipe", "training/shipped")
RESOLVING = ("training/resolve", "training/methods/__init__")
RUNNING = ("training/run", "training/running")
SETTINGS = ("training.steps=1", "sampling.patch=[32,32,32]", "data.validation=1")


class FirstStep(BaseException):
    """Raised in place of the first losses: the way ends here."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("recipe", nargs="?", default="any_subset")
    options.add_argument("-o", "--output", type=Path)
    chosen = options.parse_args()
    entered = follow(chosen.recipe)
    counts = Counter(entered)
    for module in dict.fromkeys(entered):
        print(f"{counts[module]:4}  {module}")
    returned = returns(entered)
    print(f"{returned} returns to reading or resolving after training began")
    print(
        f"{len(counts)} modules, entered {len(entered)} times from {chosen.recipe} to the first"
        " step"
    )
    if chosen.output:
        facts = {"recipe": chosen.recipe, "version": gliodistill.__version__}
        facts |= {
            "modules": dict(counts),
            "entries": len(entered),
            "returns": returned,
            "order": entered,
        }
        chosen.output.write_text(json.dumps(facts, indent=1) + "\n")


def returns(entered: list[str]) -> int:
    """How often the recipe is read, or its names are looked up, after the runs have begun."""
    begun = next(i for i, module in enumerate(entered) if module in RUNNING)
    return sum(module.startswith((*READING, *RESOLVING)) for module in entered[begun:])


def follow(recipe: str) -> list[str]:
    """Modules in the order they are entered, from the recipe to the first step of its first run."""
    entered: list[str] = []

    def watch(frame: FrameType, event: str, _: Any) -> None:
        if event != "call":
            return
        path = Path(frame.f_code.co_filename)
        if not path.is_relative_to(ROOT):
            return
        module = path.relative_to(ROOT).with_suffix("").as_posix()
        module = next((family for family in FAMILIES if module.startswith(f"{family}/")), module)
        if module.split("/")[0] not in FOLLOWED or frame.f_code.co_name.startswith("<"):
            return
        if frame.f_code.co_name == "losses":
            raise FirstStep
        if not entered or entered[-1] != module:
            entered.append(module)

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        if run(["phantom", str(data), "-n", "2", "--spacing", "4"]):
            sys.exit("no phantoms")
        words = ["train", recipe, "--data", str(data), "-o", str(Path(folder) / "run")]
        words += [word for setting in SETTINGS for word in ("--set", setting)]
        _import_all()
        sys.setprofile(watch)
        try:
            run(words)
        except FirstStep:
            return entered
        finally:
            sys.setprofile(None)
    sys.exit("the first step was not reached")


def _import_all() -> None:
    """Import what training needs beforehand: running a module's top level is not entering it."""
    for name in ("training.run", "training.watching", "training.running", "recipes.shipped"):
        try:
            __import__(f"gliodistill.{name}")
        except ImportError:
            continue


if __name__ == "__main__":
    main()
