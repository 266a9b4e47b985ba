"""Kill every command that writes, at random instants, and look at what lies there.

    python -m benchmarks.kills --kills 1000 --seed 1 -o benchmarks/results/hardening/kills.json

Every command runs in a child forked from this process, which has imported everything and started no
thread, so a kill costs little more than the time until it. Half of the children are killed
(SIGKILL) at a random instant of the command's usual time, half as soon as something half-written
shows after a random instant. Some kills in a row hit the same folder, each command going on from
what the last one left; then the command is run to its end. Looked at:

* after every kill: each file under a final name is whole: what is in an undisturbed result is
  equal to it, a checkpoint can be read, a log and ``volumes.csv`` hold whole lines of it;
* at the end: the same files with the same content as the undisturbed result (bit for bit, but for
  seconds and, in a plan, what was timed), and nothing half-written left.

What is done is in the result: called again, it goes on. Nothing is learnt from how long things take
here.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import gliodistill.demo.run
import gliodistill.planner.output
import gliodistill.reports.pages.comparison  # noqa: F401 (what commands import, imported once)
from gliodistill.cli.main import run
from gliodistill.errors import GliodistillError
from gliodistill.files import make_folder, write_text
from gliodistill.models.telemetry import import_openvino
from gliodistill.training.checkpoint import read_tensors, weights_hash

IN_A_ROW = 5
TIMES = {"seconds", "latency_s", "throughput", "measured", "best_s"}
"""Keys of JSON that say how long something took."""

STUDENT = {"name": "unet", "options": {"widths": [4, 8]}}
TEACHER = {"name": "unet", "options": {"widths": [6, 12]}}
RECIPE: dict[str, Any] = {
    "name": "tiny",
    "data": {"validation": 1},
    "sampling": {"patch": [16, 16, 16], "batch": 2},
    "training": {
        "steps": 8,
        "warmup": 2,
        "optimiser": {"rate": 0.01},
        "precision": "float32",
        "device": "cpu",
        "validate_every": 3,
        "save_every": 1,
    },
    "runs": {
        "teacher": {"network": TEACHER, "seed": 7},
        "distilled": {
            "network": STUDENT,
            "method": {"name": "compression", "options": {"teacher": "teacher"}},
        },
    },
}


@dataclass(frozen=True)
class Command:
    """One command line.

    Attributes:
        words: run in a folder of its own; ``-o`` is relative to it.
        share: of all kills.
        once: whether it refuses an output that is complete.
        exact: whether the same files must have the same content at the end.
    """

    words: list[str]
    share: float
    once: bool = False
    exact: bool = True


@dataclass
class Count:
    """What became of one command."""

    kills: int = 0
    while_writing: int = 0
    ended_before: int = 0
    completed: int = 0
    leftovers_after_kills: int = 0
    half_written: int = 0
    differing: int = 0
    left_at_the_end: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


def commands(work: Path) -> dict[str, Command]:
    """All that write, on what :func:`set_up` made."""
    data, model, one = str(work / "data"), str(work / "model"), ["--jobs", "1"]
    seen, scores = str(work / "segmented"), [f"{n}={work / n}" for n in ("scores", "others")]
    recipe, trained = str(work / "tiny.yaml"), str(work / "trained")
    threads = ["--threads", "1"]
    plan = ["--budget", "params<=90%", "--shape", "16,16,16", "--seconds", "0", "-o", "plan"]
    return {
        "segment": Command(
            ["segment", data, "-m", model, "-o", "out", "--probabilities", "--resume", *threads],
            0.2,
        ),
        "prepare": Command(["prepare", data, "-o", "cache", "--jobs", "2"], 0.25),
        "pseudo-label": Command(
            ["pseudo-label", data, "-m", model, "-o", "pseudo", "--soft", "--resume", *threads],
            0.2,
        ),
        "train": Command(
            ["train", recipe, "--data", data, "-o", "run", "--resume", "--labels", "brats2021"],
            0.07,
        ),
        "export": Command(["export", trained, "-o", "model"], 0.06, once=True),
        "phantom": Command(["phantom", "made", "-n", "2", "--spacing", "6", *one], 0.06),
        "evaluate": Command(["evaluate", seen, data, "-o", "scores", *one], 0.1),
        "compare": Command(["compare", *scores, "-o", "page.html"], 0.08),
        "plan": Command(
            ["plan", "--teacher", f"{trained}/teacher", *plan, *threads], 0.02, True, exact=False
        ),
    }


def set_up(work: Path) -> None:
    """Studies, a recipe, a training, its model, its segmentations and their scores."""
    if (work / "others").exists():
        return
    recipe = work / "tiny.yaml"
    write_text(recipe, yaml.safe_dump(RECIPE, sort_keys=False))
    data = str(work / "data")
    segmented = [str(work / "segmented"), data, "--jobs", "1"]
    train = ["train", str(recipe), "--data", data, "--labels", "brats2021", "--resume"]
    for words in (
        ["phantom", data, "-n", "4", "--spacing", "6", "--difficulty", "0", "--jobs", "1"],
        [*train, "-o", str(work / "trained"), "--set", "training.steps=60"],
        ["export", str(work / "trained"), "-o", str(work / "model")],
        ["segment", data, "-m", str(work / "model"), "-o", str(work / "segmented"), "--resume"],
        ["evaluate", *segmented, "-o", str(work / "scores")],
        ["evaluate", *segmented, "-o", str(work / "others")],
    ):
        if words[0] == "export" and (work / "model").exists():
            continue
        if code := wait(start(words, work)):
            raise SystemExit(f"cannot set up: {' '.join(words)} ended with {code}")


def start(words: list[str], folder: Path) -> int:
    """A child that runs the program in ``folder``; its process id."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        os.chdir(folder)
        with Path(os.devnull).open("w") as null, (folder / "said.txt").open("w") as said:
            sys.stdout, sys.stderr = null, said
            code = run(words)
            (folder / "modules.txt").write_text("\n".join(sys.modules))
    finally:
        os._exit(code)


def undisturbed(name: str, command: Command, first: Path, reference: Path) -> float:
    """Run twice undisturbed; the seconds of the second time. What the first had to import is
    imported here, so that no later child spends its time with that.
    """
    seconds = 0.0
    for folder in (first, reference):
        folder.mkdir()
        began = time.monotonic()
        if code := wait(start(command.words, folder)):
            said = (folder / "said.txt").read_text()
            raise SystemExit(f"{name} ended with {code} undisturbed: {said}")
        seconds = time.monotonic() - began
        for module in (folder / "modules.txt").read_text().split():
            with suppress(Exception):
                import_module(module)
    if found := differences(first, reference, command.exact):
        raise SystemExit(f"{name} is not the same twice: {', '.join(found)}")
    return seconds


def wait(child: int) -> int:
    """Until it has ended: its exit code, negative if a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def has_ended(child: int) -> bool:
    """Without taking it away."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def half_written(folder: Path) -> list[str]:
    """What lies there under a temporary name."""
    return [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if ".partial." in path.name
    ]


def kill_once(words: list[str], folder: Path, usual: float, random: np.random.Generator) -> str:
    """Start, kill, and say how it died."""
    child = start(words, folder)
    until = time.monotonic() + random.uniform(0, usual)
    while time.monotonic() < until and not has_ended(child):
        time.sleep(min(0.002, max(0.0, until - time.monotonic())))
    if random.random() < 0.5:
        while not has_ended(child) and not half_written(folder):
            time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    if wait(child) != -signal.SIGKILL:
        return "ended before"
    return "while writing" if half_written(folder) else "killed"


def files_of(folder: Path) -> dict[str, Path]:
    """Every file under a final name."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if path.is_file() and not hidden and name.name not in ("said.txt", "modules.txt"):
            found[name.as_posix()] = path
    return found


def content(path: Path) -> Any:
    """What a file says, without the time that it took to make.

    Raises:
        GliodistillError, ValueError, OSError: it is not whole.
    """
    if path.suffix == ".safetensors" and path.parent.name in RECIPE["runs"]:
        tensors, facts = read_tensors(path)
        return weights_hash(tensors), timeless(facts)
    if path.suffix == ".json":
        return timeless(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [timeless(json.loads(line)) for line in whole_lines(path.read_text())]
    return path.read_bytes()


def timeless(value: Any) -> Any:
    """``value`` without keys that say how long something took."""
    if isinstance(value, dict):
        return {key: timeless(part) for key, part in value.items() if key not in TIMES}
    return [timeless(part) for part in value] if isinstance(value, list) else value


def whole_lines(text: str) -> list[str]:
    """Lines that end; a log is written line by line, and the last may be cut."""
    return text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]


def faults(folder: Path, reference: Path, exact: bool) -> list[str]:
    """Files under a final name that are not whole."""
    expected, found = files_of(reference), []
    for name, path in files_of(folder).items():
        try:
            there = content(path)
            if name not in expected:
                found.append(f"{name}: strange")
            elif not exact or path.name in ("last.safetensors", "best.safetensors", "data.json"):
                continue  # could be read; of an earlier step
            elif path.suffix == ".jsonl":
                if content(expected[name])[: len(there)] != there:
                    found.append(f"{name}: another log")
            elif path.suffix == ".csv":
                lines = set(expected[name].read_text().splitlines())
                if not set(path.read_text().splitlines()) <= lines:
                    found.append(f"{name}: other lines")
            elif there != content(expected[name]):
                found.append(f"{name}: differs")
        except (GliodistillError, ValueError, OSError) as error:
            found.append(f"{name}: {error}")
    return found


def differences(folder: Path, reference: Path, exact: bool) -> list[str]:
    """What is not as in the undisturbed result."""
    here, there = files_of(folder), files_of(reference)
    found = [f"{name}: missing or strange" for name in sorted(here.keys() ^ there.keys())]
    if exact:
        found += [
            f"{name}: differs"
            for name in sorted(here.keys() & there.keys())
            if content(here[name]) != content(there[name])
        ]
    return found


def chain(
    command: Command, place: Path, reference: Path, usual: float, number: int, seed: int, kills: int
) -> Count:
    """Kills in a row on one folder, then the command to its end."""
    random, count, began = np.random.default_rng([seed, number]), Count(), time.monotonic()
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = Path(name)
        for _ in range(kills):
            how = kill_once(command.words, folder, usual, random)
            count.kills += how != "ended before"
            count.while_writing += how == "while writing"
            count.ended_before += how == "ended before"
            count.leftovers_after_kills += bool(half_written(folder))
            found = faults(folder, reference, command.exact)
            count.half_written += bool(found)
            count.problems += found
            if how == "ended before":  # nothing is left to kill in this folder
                break
        complete = command.once and not differences(folder, reference, False)
        if not complete and (code := wait(start(command.words, folder))):
            count.problems.append(f"ended with {code}: {(folder / 'said.txt').read_text()[:300]}")
        found = differences(folder, reference, command.exact)
        # A command that was killed after its last rename had nothing left to do, nor to tidy.
        left = [] if complete else [p.name for p in folder.rglob(".*")]
        count.completed, count.differing = 1, int(bool(found))
        count.left_at_the_end = len(left)
        count.problems += found + [f"left: {name}" for name in left]
    count.seconds = time.monotonic() - began
    return count


def add(total: Count, more: Count) -> Count:
    """Both together."""
    sums = {name: value + getattr(more, name) for name, value in vars(total).items()}
    return Count(**sums | {"seconds": round(sums["seconds"], 1), "problems": sums["problems"][:50]})


def write_result(file: Path, seed: int, counts: dict[str, Count]) -> None:
    """The counts as JSON, and as a table beside it."""
    everything = {
        "seed": seed,
        "kills": sum(count.kills for count in counts.values()),
        "commands": {known: asdict(count) for known, count in counts.items()},
    }
    columns = (
        "kills",
        "while_writing",
        "completed",
        "half_written",
        "differing",
        "left_at_the_end",
    )
    words = ("kills", "amid a write", "run to the end", "half-written", "other result", "leftovers")
    rows = [(f"`{known}`", *(getattr(c, name) for name in columns)) for known, c in counts.items()]
    rows.append(("all", *(sum(getattr(c, name) for c in counts.values()) for name in columns)))
    lines = [f"| command | {' | '.join(words)} |", "|---" + "|---:" * len(words) + "|"]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    make_folder(file.parent)
    write_text(file, json.dumps(everything, indent=1) + "\n")
    write_text(file.with_suffix(".md"), "\n".join(lines) + "\n")


def merge(files: list[Path], out: Path) -> None:
    """One result of several calls with ``--only`` and one seed."""
    read = [json.loads(file.read_text()) for file in files]
    counts: dict[str, Count] = {}
    for result in read:
        for name, values in result["commands"].items():
            found = Count(**values)
            if name not in counts or counts[name].kills < found.kills:
                counts[name] = found
    write_result(out, read[0]["seed"], counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000, help="of all commands together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="commands")
    parser.add_argument("--merge", nargs="*", type=Path, help="results of other calls; kill nobody")
    parser.add_argument("--work", type=Path, help="folder to work in, kept (default: temporary)")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    if options.merge:
        merge(options.merge, options.output)
        return
    import_openvino()
    if options.work is not None:
        measure(options, make_folder(options.work).resolve(), print)
        return
    with tempfile.TemporaryDirectory() as name:
        measure(options, Path(name).resolve(), print)


def measure(options: argparse.Namespace, work: Path, say: Callable[[str], None]) -> None:
    """Chains of every command until each has its share of kills."""
    set_up(work)
    all_commands = commands(work)
    chosen = {name: all_commands[name] for name in options.only or all_commands}
    shares = sum(command.share for command in chosen.values())
    kept: dict[str, Any] = {}
    if options.output.exists():
        kept = json.loads(options.output.read_text())
        if kept["seed"] != options.seed:
            raise SystemExit(f"{options.output} is of seed {kept['seed']}")
    counts = {name: Count(**value) for name, value in kept.get("commands", {}).items()}
    for name, command in chosen.items():
        wanted = round(options.kills * command.share / shares)
        place = Path(tempfile.mkdtemp(dir=work, prefix=f"{name}-"))
        reference = place / "undisturbed"
        usual = undisturbed(name, command, place / "first", reference)
        total = counts.setdefault(name, Count())
        while total.kills < wanted:
            many = min(IN_A_ROW, wanted - total.kills)
            number = 1000 * list(all_commands).index(name) + total.completed
            total = add(total, chain(command, place, reference, usual, number, options.seed, many))
            counts[name] = total
            write_result(options.output, options.seed, counts)
        say(f"{name}: {total}")


if __name__ == "__main__":
    main()
