"""What damaged and hostile files do: ``python -m benchmarks.fuzz -n 100000 -o RESULT.json``.

Files of every kind that the toolkit reads (``fuzz_targets.py``) are spoilt one at a time
(``fuzz_mutations.py``) and read. Counted are, a kind: refused in one line, accepted (the same as
the good file, or other and as an independent reader has it), wrong, foreign exceptions, warnings,
slow (more than two seconds of processor time), greedy (more than 500 MB), crashed and hung.

Every case follows from the seed and its index: a finding is a pair of them, and

    python -m benchmarks.fuzz --seed S --replay INDEX

runs it again and shows where it was raised. Inputs are trained on this machine; another processor
may give other weights, and with them other bytes for the same index.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import platform
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from multiprocessing.connection import wait
from pathlib import Path
from random import Random
from typing import Any

SLOW_SECONDS, GREEDY_BYTES, HUNG_SECONDS, BATCH = 2.0, 500 << 20, 60.0, 50
OUTCOMES = (
    "refused", "same", "differs", "wrong", "foreign", "warned", "slow", "greedy", "crashed", "hung",
)  # fmt: skip
BAD = OUTCOMES[3:]


def run_case(root: Path, seed: int, index: int, raising: bool = False) -> tuple[str, str, str]:
    """One mutation.

    Returns:
        the kind, the outcome, and what to say of a bad one.
    """
    from benchmarks.fuzz_targets import TARGETS, Wrong, sign
    from gliodistill.errors import GliodistillError, GliodistillWarning

    random = Random(f"{seed}:{index}")
    target = random.choices(TARGETS, [one.weight for one in TARGETS])[0]
    file, mutation = random.choice(target.places(root))
    before = file.read_bytes()
    after = mutation(before, random)
    description = root / "model" / "model.json"
    sealed = description.read_bytes() if target.sign else b""
    outcome, words = "same", ""
    file.write_bytes(after)
    if target.sign:
        sign(description.parent)
    began, resident = time.process_time(), _memory("VmRSS")
    _forget_peak()
    try:
        with (
            warnings.catch_warnings(record=True) as warned,
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("always")
            outcome = target.use(root, file, before, after, random)
        foreign = [one for one in warned if not issubclass(one.category, GliodistillWarning)]
        if foreign:  # ours are notes, a line each
            outcome, words = "warned", f"{foreign[0].category.__name__}: {foreign[0].message}"
    except GliodistillError as error:
        outcome = "refused"
        line = str(error)
        if "\n" in line or len(line) > 9000 or not line.isprintable():
            outcome, words = "wrong", f"an error that is not one short line: {line[:300]!r}"
    except Wrong as error:
        if raising:
            raise
        outcome, words = "wrong", str(error)
    except Exception as error:
        if raising:
            raise
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        outcome, words = "foreign", f"{type(error).__name__} at {place}: {error}"
    finally:
        file.write_bytes(before)
        if target.sign:
            description.write_bytes(sealed)
    if outcome in ("refused", "same", "differs"):
        if (seconds := time.process_time() - began) > SLOW_SECONDS:
            outcome, words = "slow", f"{seconds:.1f} s"
        elif (more := _memory("VmHWM") - resident) > GREEDY_BYTES:
            outcome, words = "greedy", f"{more >> 20} MB"
    told = f"{file.relative_to(root)}: {words}"[:500]
    return target.name, outcome, ascii(told)[1:-1] if outcome in BAD else ""


def _memory(name: str) -> int:
    """A line of this process's status, in bytes; 0 where there is none."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) << 10
    return 0


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def work(inputs: Path, seed: int, pipe: Any, current: Any) -> None:
    """Run batches of cases on a copy of the inputs until there are no more."""
    os.environ["OMP_NUM_THREADS"] = "1"
    gone = contextlib.suppress(BrokenPipeError, EOFError)  # whoever started it was stopped
    with gone, tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        root = Path(folder) / "inputs"
        shutil.copytree(inputs, root)
        while (batch := pipe.recv()) is not None:
            done = []
            for index in batch:
                current[0], current[1], current[2] = index, time.process_time(), time.monotonic()
                done.append((index, *run_case(root, seed, index)))
            current[2] = 0.0
            pipe.send(done)


class Worker:
    """A process, its batch, and the case it is at."""

    def __init__(self, inputs: Path, seed: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.current = context.Array("d", [0.0, 0.0, 0.0], lock=False)
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=work, args=(inputs, seed, theirs, self.current), daemon=True
        )
        self.process.start()
        theirs.close()
        self.batch: list[int] = []

    def give(self, batch: list[int] | None) -> None:
        """Hand it a batch, or None to end it."""
        self.batch = batch or []
        with contextlib.suppress(BrokenPipeError):
            self.pipe.send(batch)

    @property
    def hung(self) -> bool:
        """Whether it is at one case for too long: of the processor's time, or an hour."""
        _, cpu, began = self.current
        if not (self.batch and began):
            return False
        waited, used = time.monotonic() - began, 0.0
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
            used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") - cpu
        return used > HUNG_SECONDS or waited > 3600


def fuzz(inputs: Path, seed: int, start: int, count: int, jobs: int, said: Any) -> dict[str, Any]:
    """Run ``count`` cases from ``start`` on in ``jobs`` processes; one that dies or hangs is a
    finding, and its batch goes on in another.
    """
    waiting = [
        list(range(i, min(i + BATCH, start + count))) for i in range(start, start + count, BATCH)
    ][::-1]
    counts: dict[str, Counter[str]] = {}
    findings: list[dict[str, Any]] = []
    workers = [Worker(inputs, seed) for _ in range(min(jobs, len(waiting)))]
    done, told = 0, time.monotonic()

    def note(index: int, kind: str, outcome: str, words: str) -> None:
        nonlocal done
        done += 1
        counts.setdefault(kind, Counter())[outcome] += 1
        if outcome in BAD:
            findings.append({"index": index, "kind": kind, "outcome": outcome, "what": words})
            said(f"{index} {kind}: {outcome}: {words}")

    for worker in workers:
        worker.give(waiting.pop())
    while any(worker.batch for worker in workers):
        wait([worker.pipe for worker in workers if worker.batch], timeout=5)
        for place, worker in enumerate(workers):
            if not worker.batch:
                continue
            results = None
            with contextlib.suppress(EOFError, OSError):
                results = worker.pipe.recv() if worker.pipe.poll() else None
            if results is not None:
                for result in results:
                    note(*result)
                worker.give(waiting.pop() if waiting else None)
            elif worker.hung or not worker.process.is_alive():
                outcome = "hung" if worker.hung else "crashed"
                worker.process.kill()
                worker.process.join()
                index = int(worker.current[0])
                note(index, "?", outcome, f"exit code {worker.process.exitcode}")
                # Cases before it have no lasting effect: they are run again, with those after it.
                workers[place] = Worker(inputs, seed)
                rest = [one for one in worker.batch if one != index]
                workers[place].give(rest or (waiting.pop() if waiting else None))
        if time.monotonic() - told > 60:
            told = time.monotonic()
            said(f"{done} of {count}, {len(findings)} findings")
    for worker in workers:
        worker.process.join(10)
    return {
        "counts": {
            kind: {outcome: counts[kind][outcome] for outcome in OUTCOMES}
            for kind in sorted(counts)
        },
        "findings": sorted(findings, key=lambda one: one["index"]),
    }


def as_markdown(document: dict[str, Any]) -> str:
    """The counts as a table."""
    mutations, seed = document["mutations"], document["seed"]
    bad = ("wrong", "foreign", "warned", "slow", "greedy", "crashed", "hung")
    lines = [
        f"{mutations:,} mutations, seed {seed}, gliodistill {document['gliodistill']}.",
        "",
        f"| kind | mutations | refused | accepted, same | accepted, differs | {' | '.join(bad)} |",
        f"|---|{'---|' * (4 + len(bad))}",
    ]
    for kind, counts in {**document["counts"], "all": document["total"]}.items():
        numbers = [sum(counts.values()), *(counts[name] for name in OUTCOMES[:3])]
        numbers += [counts[name] for name in bad]
        lines.append(f"| {kind} | {' | '.join(f'{number:,}' for number in numbers)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-n", "--count", type=int, default=100_000, help="mutations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="index of the first")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--nice", type=int, default=19)
    parser.add_argument("--inputs", type=Path, help="folder of the good files, to keep")
    parser.add_argument("--replay", type=int, help="run this one case, and raise what it raises")
    parser.add_argument("-o", "--output", type=Path, help="JSON to write, and its table as .md")
    words = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.nice(words.nice)
    from benchmarks.fuzz_targets import make_inputs
    from gliodistill import __version__
    from gliodistill.files import write_text
    from gliodistill.models.package import versions_in_use

    with tempfile.TemporaryDirectory(prefix="fuzz-inputs-") as folder:
        inputs = words.inputs or Path(folder)
        if not (inputs / "studies.json").exists():
            inputs.mkdir(parents=True, exist_ok=True)
            make_inputs(inputs, words.seed)
        if words.replay is not None:
            copy = Path(folder) / "copy"
            shutil.copytree(inputs, copy)
            print(*run_case(copy, words.seed, words.replay, raising=True))
            return 0
        began = time.perf_counter()
        result = fuzz(
            inputs,
            words.seed,
            words.start,
            words.count,
            words.jobs,
            lambda line: print(line, flush=True),
        )
    total = Counter()
    for counts in result["counts"].values():
        total.update(counts)
    document = {
        "gliodistill": __version__,
        "seed": words.seed,
        "mutations": sum(total.values()),
        "seconds": round(time.perf_counter() - began),
        "processes": words.jobs,
        "machine": platform.machine(),
        "versions": versions_in_use(
            "numpy", "nibabel", "openvino", "onnxruntime", "torch", "PyYAML"
        ),
        "total": {outcome: total[outcome] for outcome in OUTCOMES},
        **result,
    }
    print(json.dumps(document["total"]))
    if words.output:
        write_text(words.output, json.dumps(document, indent=1) + "\n")
        write_text(words.output.with_suffix(".md"), as_markdown(document))
    return int(any(total[outcome] for outcome in BAD))


if __name__ == "__main__":
    sys.exit(main())
