"""Accuracy and time of registration: synthetic heads, and patients moved by known transforms.

    python -m benchmarks.alignment.run ../shared/data --patients 6

writes benchmarks/results/alignment/results.json and results.md. A run that was stopped goes on with
``--resume``. ``--study`` measures the wall-clock of a whole study on two threads.
``--engines`` compares SimpleITK, greedy and elastix on the synthetic heads, with one thread and
two; it needs ``picsl-greedy`` and ``itk-elastix``. Seconds of a pair are of processor time: others
compute on the machine.
"""

import argparse
import json
import resource
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.alignment.cases import PHANTOM_SEED, SCANNED, Case, Matrix, cases, phantom
from benchmarks.alignment.engines import ENGINES, PACKAGES
from benchmarks.alignment.notice import noticed
from benchmarks.alignment.wrong import stuck
from benchmarks.provenance import command, load, processor, versions, write_results
from gliodistill.alignment.registration import Registration, register
from gliodistill.files import write_text

THREADS = 2
"""Of a whole study."""

RESULTS = Path(__file__).parents[1] / "results" / "alignment" / "results"


def main() -> None:
    """Run all, or the comparison of engines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="../shared/data")
    parser.add_argument("--patients", type=int, default=6, help="of each group")
    parser.add_argument("--resume", action="store_true", help="keep the pairs measured before")
    parser.add_argument("--engines", action="store_true")
    parser.add_argument("--study", action="store_true")
    parser.add_argument("--page", action="store_true", help="only write the page anew")
    arguments = parser.parse_args()
    kept = RESULTS.with_suffix(".json")
    facts: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    commands = facts.setdefault("commands", {})
    if arguments.engines:
        commands["engines"] = command()
        facts["engines"] = engines(case for number in range(2) for case in phantom(number))
    elif arguments.study:
        commands["study"] = command()
        facts["study"] = whole_study()
    elif not arguments.page:
        rows = facts.get("pairs", []) if arguments.resume else []
        commands["pairs"] = command()
        for some in measured(cases(arguments.data, arguments.patients), rows):
            rows += some
            facts["pairs"] = rows
            write(facts)  # at once: it takes long
    write(facts)


def write(facts: dict[str, Any]) -> None:
    """All files."""
    rows = facts["pairs"]
    facts = facts | {
        "command": facts["commands"].get("pairs", ""),
        "accuracy": summary([row for row in rows if row["kind"] == "found"]),
        "noticed": noticed(rows),
        "machine": processor(),
        "versions": versions("gliodistill", "numpy", "SimpleITK"),
    }
    write_results(RESULTS, facts, page(facts))
    for name, table in (("accuracy", accuracy), ("check", checked)):
        text = "\n".join(table(facts)) + "\n"
        write_text(RESULTS.with_name(f"registration_{name}.md"), text)


def processor_seconds() -> float:
    """Of this process, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measured(cases: Iterable[Case], known: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The rows of each case that is not among the ``known``: found, wrong optimum, wrong patient.

    Wrong optima are looked for in every second case; a scan of another patient is compared once a
    patient.
    """
    done = {_key(row) for row in known}
    scanned: dict[tuple[str, int], Matrix] = {}
    last: dict[str, Case] = {}
    for index, case in enumerate(cases):
        other = last.get(case.group)
        first = other is None or other.number != case.number
        if first:
            last[case.group] = case
        facts = {"group": case.group, "number": case.number, "disturbance": case.disturbance}
        facts["pair"] = case.pair
        if _key(facts) in done:
            continue
        began = processor_seconds()
        found = register(case.fixed, case.moving, case.fixed_mask, case.moving_mask)
        row = facts | {"kind": "found", "seconds": processor_seconds() - began} | _told(found)
        row |= _errors(case, found.matrix)
        if case.group == "raw heads":
            if case.disturbance == SCANNED:
                scanned[case.group, case.number] = found.matrix
            elif (case.group, case.number) in scanned:
                again = case.errors(found.matrix, case.move @ scanned[case.group, case.number])
                row |= {"again": float(np.median(again))}
                row |= {"again95": float(np.percentile(again, 95))}
        rows = [row]
        if index % 2 == 0:
            rows += [
                facts | {"kind": "wrong optimum"} | _errors(case, matrix) | values
                for matrix, values in stuck(case)
            ]
        if other is not None and first:
            found = register(other.fixed, case.moving, other.fixed_mask, case.moving_mask)
            rows.append(facts | {"kind": "wrong patient"} | _told(found))
        for row in rows:
            print(row, flush=True)
        yield rows


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["group"], row["number"], row["disturbance"], row["pair"]


def _told(found: Registration) -> dict[str, float]:
    names = ("similarity", "overlap", "disagreement", "sharpness")
    return {name: getattr(found, name) for name in names}


def _errors(case: Case, matrix: Matrix) -> dict[str, float]:
    errors = case.errors(matrix)
    return {"median": float(np.median(errors)), "p95": float(np.percentile(errors, 95))}


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each group and disturbance."""
    strata = defaultdict(list)
    for row in rows:
        strata[row["group"], row["disturbance"]].append(row)
    return [
        {
            "group": group,
            "disturbance": disturbance,
            "pairs": len(some),
            "median_mm": float(np.median([row["median"] for row in some])),
            "p95_mm": float(np.percentile([row["p95"] for row in some], 95)),
            "worst_mm": max(row["p95"] for row in some),
            "processor_seconds": float(np.median([row["seconds"] for row in some])),
            **_again([row for row in some if "again" in row]),
        }
        for (group, disturbance), some in sorted(strata.items())
    ]


def _again(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Against the registration of the same scans before they were moved."""
    if not rows:
        return {}
    return {
        "again_median_mm": float(np.median([row["again"] for row in rows])),
        "again_p95_mm": float(np.percentile([row["again95"] for row in rows], 95)),
    }


def whole_study() -> dict[str, Any]:
    """Wall-clock of the stages of a synthetic study of four sequences, two of them thin."""
    from gliodistill.alignment.study import align_study
    from gliodistill.brain import extract_brain
    from gliodistill.phantom.raw import make_raw

    study = make_raw(PHANTOM_SEED, 2)
    before, began = load(), processor_seconds()
    clock = time.perf_counter()
    aligned = align_study(study.images, extract=extract_brain, threads=THREADS)
    return {
        "threads": THREADS,
        "sequences": len(aligned.images),
        "seconds": dict(aligned.seconds),
        "wall_seconds": time.perf_counter() - clock,
        "processor_seconds": processor_seconds() - began,
        "load": before,
    }


def engines(cases: Iterable[Case]) -> list[dict[str, Any]]:
    """Every engine on the same pairs."""
    rows = defaultdict(list)
    for case in (case for case in cases if case.disturbance == "as scanned"):
        for name, threads in ((name, threads) for name in ENGINES for threads in (1, 2)):
            if name == "SimpleITK" and threads > 1:
                continue
            began = processor_seconds()
            errors = case.errors(ENGINES[name](case, threads))
            row = (np.median(errors), np.percentile(errors, 95), processor_seconds() - began)
            rows[name, threads].append([float(value) for value in row])
            print(case.pair, name, threads, row, flush=True)
    return [
        {
            "engine": name,
            "threads": threads,
            "pairs": len(some),
            "median_mm": float(np.median([row[0] for row in some])),
            "worst_mm": max(row[1] for row in some),
            "processor_seconds": float(np.median([row[2] for row in some])),
            **PACKAGES[name],
        }
        for (name, threads), some in rows.items()
    ]


def page(facts: dict[str, Any]) -> str:
    """All tables as Markdown."""
    lines = ["# Registration", "", *accuracy(facts), "", "## What the check notices", ""]
    return "\n".join([*lines, *checked(facts), *compared(facts)]) + "\n"


def accuracy(facts: dict[str, Any]) -> Iterator[str]:
    """The table of `register`."""
    yield "| scans | disturbance | pairs | median | 95 % | again | processor s |"
    yield "|---|---|--:|--:|--:|--:|--:|"
    for row in facts["accuracy"]:
        again = (
            f"{row['again_median_mm']:.2f}, {row['again_p95_mm']:.2f}"
            if "again_median_mm" in row
            else "–"
        )
        yield (
            f"| {row['group']} | {row['disturbance']} | {row['pairs']} | {row['median_mm']:.2f} |"
            f" {row['p95_mm']:.2f} | {again} | {row['processor_seconds']:.1f} |"
        )
    yield ""
    yield "Target registration error over the brain, in mm. Median: of the pairs' medians. 95 %:"
    yield "95th percentile of the pairs' own 95th percentiles. Again: distance (median, 95 %) to the"
    yield "registration of the same scans before they were moved."
    if study := facts.get("study"):
        yield (
            f"A study of {study['sequences']} sequences took {study['wall_seconds']:.0f} s of"
            f" wall-clock and {study['processor_seconds']:.0f} s of"
        )
        yield (
            f"processor time on {study['threads']} threads, brain extraction included, on a machine"
            f" with a load of {study['load']:.0f}."
        )


def checked(facts: dict[str, Any]) -> Iterator[str]:
    """The table of the check."""
    found = facts["noticed"]
    yield "| registrations | number | left out | doubtful | pass |"
    yield "|---|--:|--:|--:|--:|"
    for name, row in found["counts"].items():
        yield f"| {name} | {row['n']} | {row['left_out']} | {row['doubtful']} | {row['pass']} |"
    yield ""
    yield f"Left out: similarity below {found['similar']:g}, overlap below"
    yield f"{found['overlapping']:g} or sharpness below {found['peaked']:g}. Doubtful: disagreement"
    yield f"above {found['agreeing_mm']:g} mm or sharpness below {found['sharp']:g}."
    if derived := found["derived"]:
        yield (
            f"The thresholds of doubt are derived from {derived['right']} right registrations of"
            f" other patients ({derived['agreeing_mm']:g} mm, {derived['sharp']:g})."
        )


def compared(facts: dict[str, Any]) -> Iterator[str]:
    """The table of engines."""
    if "engines" not in facts:
        return
    yield ""
    yield "## Engines"
    yield ""
    yield "Synthetic heads as scanned; greedy and elastix start 5° and 5 mm from the truth."
    yield from facts.get("engines_note", ())
    yield ""
    yield "| engine | threads | pairs | median mm | worst 95 % mm | processor s | wheels MB |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for row in facts["engines"]:
        yield (
            f"| {row['engine']} {row['version']} | {row['threads']} | {row['pairs']} |"
            f" {row['median_mm']:.2f} | {row['worst_mm']:.2f} | {row['processor_seconds']:.1f} |"
            f" {row['wheels_mb']:.0f} |"
        )


if __name__ == "__main__":
    main()
