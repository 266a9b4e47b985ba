"""Train and export the demo's teacher on synthetic studies; no patient is involved.

``python -m benchmarks.demo.teacher runs/demo-teacher`` writes ``src/gliodistill/demo/teacher/``;
stopped, it goes on where it was. The studies are those of cohort seed 9001, which no seed of the
demo reaches.
"""

import argparse
import shutil
from pathlib import Path

from gliodistill.demo.scenario import TEACHER, Scenario
from gliodistill.phantom.cohort import write_cohort
from gliodistill.recipes.schema import Recipe
from gliodistill.training.packaging import export
from gliodistill.training.run import train

RECIPE = Path(__file__).with_suffix(".yaml")
STUDIES, COHORT_SEED = 200, 9001
CARD = (
    "The teacher of `gliodistill demo`, for synthetic studies only: trained on"
    f" {STUDIES} synthetic studies (cohort seed {COHORT_SEED}), no patients. It is not a model for"
    " images of patients."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the studies and the training")
    out: Path = parser.parse_args().out
    recipe = Recipe.open(RECIPE)
    assert recipe.data.spacing is not None
    write_cohort(
        out / "studies",
        STUDIES,
        COHORT_SEED,
        spacing=recipe.data.spacing[0],
        difficulty=Scenario().difficulty,
    )
    run = out / "run"
    train(recipe, out / "studies", run, resume=run.exists())
    if TEACHER.exists():
        shutil.rmtree(TEACHER)
    export(run, TEACHER, name="demo-teacher", formats=("openvino",), card=CARD)


if __name__ == "__main__":
    main()
