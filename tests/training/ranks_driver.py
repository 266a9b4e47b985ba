"""Train under torchrun, interrupted after a step of the first rank.

torchrun --nproc-per-node 2 ranks_driver.py RECIPE DATA OUT STEP
"""

import os
import sys
from pathlib import Path

import torch

from gliodistill.recipes.schema import Recipe
from gliodistill.training.loop import Progress
from gliodistill.training.run import train


def main(recipe: str, data: str, out: str, last: int) -> None:
    """Train, and end this process without a word once ``last`` steps are done."""
    torch.set_num_threads(1)

    def watch(run: str, steps: int, progress: Progress) -> None:
        if progress.step == last:
            os._exit(7)

    train(Recipe.open(recipe), data, Path(out), watch=watch)


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
