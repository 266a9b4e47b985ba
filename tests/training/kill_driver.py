"""Train in children of one process, each killed with SIGKILL at a random moment; prints one line of
JSON a kill.

    python kill_driver.py RECIPE DATA OUT KILLS SEED

Torch is imported once; a child is a fork, a process of its own, and dies as one. It says through a
pipe when a step is done; the parent waits for a random number of steps and a random while, then
kills. One in four dies by the clock alone, at its start; one in four in the middle of writing a
file. With 0 kills the training runs to its end.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from gliodistill.errors import GliodistillError
from gliodistill.recipes.schema import Recipe
from gliodistill.training.checkpoint import read_tensors
from gliodistill.training.run import train


def start(recipe: Recipe, data: str, out: Path) -> tuple[int, int]:
    """A child that trains: its process id, and a pipe with one byte a step."""
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return child, read
    try:
        os.close(read)
        train(
            recipe,
            data,
            out,
            resume=True,
            labels="brats2021",
            jobs=1,
            watch=lambda run, steps, progress: progress.step and os.write(write, b"."),
        )
        os._exit(0)
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
        os._exit(1)


def look(recipe: Recipe, out: Path) -> dict[str, int | str | None]:
    """Step of each run's last checkpoint (None before the first), or what is wrong with it."""
    found: dict[str, int | str | None] = {}
    for run in recipe.runs:
        for name in ("best.safetensors", "last.safetensors"):
            file = out / run / name
            try:
                found[f"{run}/{name}"] = (
                    int(read_tensors(file)[1]["step"]) if file.exists() else None
                )
            except GliodistillError as error:
                found[f"{run}/{name}"] = str(error)
    return found


def wait_for_a_write(root: Path, child: int) -> None:
    """Until a half-written checkpoint shows, or the child has ended."""
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        for run in root.iterdir():
            if run.is_dir() and any(
                ".partial." in name and "safetensors" in name for name in os.listdir(run)
            ):
                return


def main(recipe_file: str, data: str, out: str, kills: int, seed: int) -> None:
    torch.set_num_threads(1)
    recipe, root, random = Recipe.open(recipe_file), Path(out), np.random.default_rng(seed)
    for number in range(kills):
        began = time.monotonic()
        child, pipe = start(recipe, data, root)
        steps = 0 if number % 4 == 1 else int(random.integers(1, 5))
        for _ in range(steps):
            if not os.read(pipe, 1):
                break  # it ended before; waitpid tells
        if number % 4 == 3:
            wait_for_a_write(root, child)
        else:
            time.sleep(random.uniform(0, 0.02) if steps else random.uniform(0, 0.3))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(pipe)
        left = sorted(path.name for path in root.rglob("*") if ".partial." in path.name)
        facts = {
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            "found": look(recipe, root),
            "partial": left,
        }
        print(json.dumps({**facts, "seconds": time.monotonic() - began}), flush=True)
    if kills == 0:
        child, pipe = start(recipe, data, root)
        _, status = os.waitpid(child, 0)
        sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
