"""Which runs a protocol asks for, and training them: one process a core, each run as soon as its
teachers are there.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from gliodistill.recipes.schema import Recipe
from gliodistill.training.resolve import resolve_run


def expand(values: dict[str, Any], once: list[str], seeds: list[int]) -> dict[str, Any]:
    """The recipe with every run once a seed (``name-0``, ``name-1``, …), but for those that are
    trained ``once``.
    """

    def renamed(run: Any, seed: int) -> Any:
        return f"{run}-{seed}" if run in values["runs"] and run not in once else run

    runs = {}
    for name, run in values["runs"].items():
        if name in once:
            runs[name] = run
            continue
        for seed in seeds:
            copy = {**run, "seed": seed}
            if "init_from" in run:
                copy["init_from"] = renamed(run["init_from"], seed)
            options = dict(run.get("method", {}).get("options", {}))
            for key in ("teacher", "teachers"):
                if isinstance(options.get(key), list):
                    options[key] = [renamed(each, seed) for each in options[key]]
                elif isinstance(options.get(key), str):
                    options[key] = renamed(options[key], seed)
            if "method" in run:
                copy["method"] = {**run["method"], "options": options}
            runs[f"{name}-{seed}"] = copy
    return {**values, "runs": runs}


def write_recipe(values: dict[str, Any], path: Path) -> Recipe:
    """Write and check the recipe of a protocol."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return Recipe.open(path)


def train(
    recipe_file: Path,
    data: Path,
    out: Path,
    wanted: list[str],
    cores: list[int],
    extra: list[str],
    log: Path,
) -> None:
    """Train ``wanted`` runs through the program that users run, one thread and one core each; goes
    on where it was stopped.
    """
    recipe = Recipe.open(recipe_file)
    log.parent.mkdir(parents=True, exist_ok=True)
    program = [
        sys.executable,
        "-m",
        "gliodistill",
        "train",
        str(recipe_file),
        "--data",
        str(data),
        "-o",
        str(out),
        "--resume",
        *extra,
    ]

    def finished(name: str) -> bool:
        return (out / name / "summary.json").exists()

    def ready(name: str) -> bool:
        return all(finished(teacher) for teacher in resolve_run(recipe, name).needs)

    def start(name: str, core: int) -> subprocess.Popen[bytes]:
        with log.open("ab") as sink:
            process = subprocess.Popen(
                [*program, "--only", name],
                stdout=sink,
                stderr=sink,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        os.sched_setaffinity(process.pid, {core})
        print(
            f"{time.strftime('%H:%M:%S')} core {core}: {name} ({len(waiting)} waiting)", flush=True
        )
        return process

    waiting = [name for name in wanted if not finished(name)]
    running: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}
    shared = [out / "recipe.yaml", *([out / "cache-pseudo" / "cache.json"] if extra else [])]
    try:
        while waiting or running:
            for core in cores:
                name = next((name for name in waiting if ready(name)), None)
                # The first process makes what all share; the others join it.
                if (
                    core in running
                    or name is None
                    or (running and not all(file.exists() for file in shared))
                ):
                    continue
                waiting.remove(name)
                running[core] = name, start(name, core)
            if waiting and not running:
                raise SystemExit(f"teachers are missing for {', '.join(waiting)}")
            time.sleep(1)
            for core, (name, process) in list(running.items()):
                if process.poll() is not None:
                    del running[core]
                    if process.returncode:
                        raise SystemExit(f"{name} failed: see {log}")
    finally:
        for _, process in running.values():
            process.terminate()
