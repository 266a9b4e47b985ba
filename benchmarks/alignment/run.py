"""Accuracy and time of registration: synthetic heads, and patients moved by known transforms.

    python -m benchmarks.alignment.run ../shared/data

writes benchmarks/results/alignment/results.json and results.md. ``--engines`` compares SimpleITK,
greedy and elastix on the synthetic heads, with one thread and two; it needs ``picsl-greedy`` and
``itk-elastix``. Seconds are of processor time: others compute on the machine.
"""

import argparse
import json
import resource
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.alignment.cases import Case, patients, phantoms
from benchmarks.alignment.engines import ENGINES, PACKAGES
from benchmarks.provenance import processor, versions, write_results
from gliodistill.alignment.registration import register

RESULTS = Path(__file__).parents[1] / "results" / "alignment" / "results"
AIM_MM = (1.0, 2.0)
"""Median and 95th percentile."""


def main() -> None:
    """Run all, or the comparison of engines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--patients", type=int, default=2, help="of each group")
    parser.add_argument("--phantoms", type=int, default=2)
    parser.add_argument("--engines", action="store_true")
    parser.add_argument("--resume", action="store_true", help="keep the pairs measured before")
    arguments = parser.parse_args()
    kept = RESULTS.with_suffix(".json")
    facts: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    if arguments.engines:
        facts["engines"] = engines(phantoms(min(2, arguments.phantoms)))
    else:
        rows: list[dict[str, Any]] = facts.setdefault("pairs", []) if arguments.resume else []
        left = Counter(row["group"] for row in rows)
        sources = (patients(arguments.data, arguments.patients), phantoms(arguments.phantoms))
        for case in chain(*sources):
            left[case.group] -= 1
            if left[case.group] >= 0:
                continue
            rows.append(measured(case))
            facts |= {"pairs": rows, "accuracy": summary(rows)}
            write(facts)  # at once: it takes long
        facts["wrong_pairs"] = wrong_pairs(arguments.data, arguments.patients)
    write(facts)


def write(facts: dict[str, Any]) -> None:
    """Both files."""
    facts = facts | {
        "machine": processor(),
        "versions": versions("gliodistill", "numpy", "SimpleITK"),
    }
    write_results(RESULTS, facts, page(facts))


def processor_seconds() -> float:
    """Of this process, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measured(case: Case) -> dict[str, Any]:
    """One registration."""
    began = processor_seconds()
    found = register(case.fixed, case.moving, case.fixed_mask, case.moving_mask)
    errors = case.errors(found.matrix)
    row = {
        "group": case.group,
        "disturbance": case.disturbance,
        "pair": case.pair,
        "median": float(np.median(errors)),
        "p95": float(np.percentile(errors, 95)),
        "seconds": processor_seconds() - began,
        "similarity": found.similarity,
        "overlap": found.overlap,
        "failed": found.failed,
    }
    print(row, flush=True)
    return row


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
            "flagged": sum(row["failed"] for row in some),
            "lost_unflagged": sum(row["p95"] > 5 and not row["failed"] for row in some),
            "processor_seconds": float(np.median([row["seconds"] for row in some])),
            "least_similarity": min(row["similarity"] for row in some),
            "least_overlap": min(row["overlap"] for row in some),
        }
        for (group, disturbance), some in strata.items()
    ]


def wrong_pairs(data: Path, n: int) -> dict[str, Any]:
    """Scans of two patients: what a failure looks like at best."""
    seen: dict[str, Case] = {}
    rows = []
    for case in patients(data, n):
        other = seen.get(case.group)
        if other is not None and other.fixed is case.fixed:
            continue
        seen[case.group] = case
        if other is not None:
            found = register(other.fixed, case.moving, other.fixed_mask, case.moving_mask)
            rows.append((found.similarity, found.overlap, found.failed))
    similarity, overlap, failed = zip(*rows, strict=True)
    return {
        "pairs": len(rows),
        "greatest_similarity": max(similarity),
        "greatest_overlap": max(overlap),
        "flagged": sum(failed),
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
    """The tables as Markdown."""
    return "\n".join([*accuracy(facts), *compared(facts)]) + "\n"


def accuracy(facts: dict[str, Any]) -> Iterator[str]:
    """The table of `register`."""
    yield "# Registration"
    yield ""
    yield "Target registration error over the brain, in mm. Median: of the pairs' medians. 95 %:"
    yield "95th percentile of the pairs' own 95th percentiles. Lost: more than 5 mm and not flagged."
    yield ""
    yield "| scans | disturbance | pairs | median | 95 % | flagged | lost | processor s |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|"
    for row in facts.get("accuracy", ()):
        yield (
            f"| {row['group']} | {row['disturbance']} | {row['pairs']} | {row['median_mm']:.2f} |"
            f" {row['p95_mm']:.2f} | {row['flagged']} | {row['lost_unflagged']} |"
            f" {row['processor_seconds']:.1f} |"
        )
    if wrong := facts.get("wrong_pairs"):
        yield ""
        yield (
            f"Scans of two different patients ({wrong['pairs']} pairs) reach a similarity of"
            f" {wrong['greatest_similarity']:.3f} and an overlap of"
            f" {wrong['greatest_overlap']:.3f}; {wrong['flagged']} are flagged."
        )


def compared(facts: dict[str, Any]) -> Iterator[str]:
    """The table of engines."""
    if "engines" not in facts:
        return
    yield ""
    yield "## Engines"
    yield ""
    yield "Synthetic heads as scanned; greedy and elastix start 5° and 5 mm from the truth."
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
