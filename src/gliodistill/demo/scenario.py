"""The demo's scenario: few labelled studies, many unlabelled ones, and a trained teacher from the
package.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from gliodistill.models.package import ModelPackage
from gliodistill.recipes.schema import Recipe

TEACHER = Path(__file__).parent / "teacher"
"""Model package of the teacher: trained by ``benchmarks/demo/teacher.py`` on synthetic studies
only.
"""
SEED = 6
"""Of the cohorts and of the training that ``gliodistill demo`` shows."""
DEVELOPMENT_SEED = 0
"""The seed on which every setting was chosen. No result of it is reported."""


@dataclass(frozen=True)
class Scenario:
    """Numbers and difficulty of the studies.

    Attributes:
        labelled: studies with a reference segmentation to train on.
        unlabelled: studies that the teacher labels.
        testing: labelled studies that no network trains on.
        difficulty: of the synthetic studies, 0 to 2.
    """

    labelled: int = 2
    unlabelled: int = 40
    testing: int = 24
    difficulty: float = 0.5

    def cohorts(self, seed: int) -> dict[str, tuple[int, int]]:
        """Folder → number of studies and seed of its cohort; no two seeds share a study."""
        sizes = {
            "labelled": self.labelled,
            "unlabelled": self.unlabelled,
            "testing": self.testing,
        }
        return {
            name: (size, 10 * seed + place)
            for place, (name, size) in enumerate(sizes.items(), start=1)
        }

    def fingerprint(self, recipe: Recipe) -> str:
        """SHA-256 of what decides the demo's result: scenario, teacher, and what the recipe says.

        Seed, machine and the defaults of keys that the recipe leaves out are not in it.
        """
        facts = {
            "scenario": asdict(self),
            "teacher": ModelPackage.open(TEACHER).weights_sha256,
            "data": recipe.data.model_dump(mode="json", exclude_unset=True),
            "sampling": recipe.sampling.model_dump(mode="json", exclude_unset=True),
            "runs": {
                name: run.model_dump(mode="json", exclude_unset=True, exclude={"seed"})
                for name, run in recipe.runs.items()
            },
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def with_seed(recipe: Recipe, seed: int) -> Recipe:
    """``recipe`` with every run's first weights and patches drawn from ``seed``."""
    runs = {name: run.model_copy(update={"seed": seed}) for name, run in recipe.runs.items()}
    return recipe.model_copy(update={"runs": runs})
