"""How well series are told apart: every real patient at hand, prepared brains and raw heads, with
names withheld, with names that do not tell of contrast, and (of DICOM) with every attribute.

    python -m benchmarks.series_classification ../shared/data

writes benchmarks/results/series_classification/results.json and results.md. Thresholds were set on
the same patients; the appearance was learnt on 25 of the prepared ones (`labelled/`), which makes
their row optimistic. Wrong answers are counted by whether a doubt was told beside them.
"""

import argparse
import csv
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.provenance import write_results
from gliodistill.dicom.candidate import Candidate, of_series
from gliodistill.dicom.classify import classify
from gliodistill.dicom.grids import Grid
from gliodistill.dicom.scan import Scan
from gliodistill.images.nifti import read_nifti
from gliodistill.images.volume import Volume
from gliodistill.models.package import ModelPackage
from gliodistill.models.shipped import find_model
from gliodistill.studies.sequence import MRSequence
from gliodistill.trust.appearance_model import AppearanceModel

RESULTS = Path(__file__).parent / "results" / "series_classification"
PLAIN = {s: "T1" if s in (MRSequence.T1, MRSequence.T1CE) else str(s) for s in MRSequence}
"""Names as hospitals give them: nothing of contrast."""

MODES = ("names withheld", "names without contrast")
BRAINIX = {301: "T2", 401: "FLAIR", 601: "T1CE", 5339: "other"}
"""Series number → what it is; the T1 is one after contrast, as its publishers say."""


def patients(data: Path) -> Iterator[tuple[str, dict[MRSequence, Path]]]:
    """Group and files of each patient."""
    with (data / "lgg" / "lgg.csv").open() as file:
        form = {row["id"]: row["form"] for row in csv.DictReader(file)}
    for folder in ("labelled", "labelled_more", "unlabelled", "no_tumour", "lgg"):
        for patient in sorted(path for path in (data / folder).iterdir() if path.is_dir()):
            files = {
                s: file
                for s in MRSequence
                if (file := patient / f"{patient.name}_{s.lower()}.nii.gz").exists()
            }
            group = "prepared, learnt on" if folder == "labelled" else "prepared, other"
            if folder == "lgg":
                group = "raw heads" if form.get(patient.name) == "head" else "native, stripped"
            if files:
                yield group, files
    native = data / "native" / "ms_patient01"
    names = {MRSequence.T1: "T1W", MRSequence.T2: "T2W", MRSequence.FLAIR: "FLAIR"}
    yield "raw heads", {s: native / f"study1_{name}.nii.gz" for s, name in names.items()}


def candidates(files: dict[MRSequence, Path], named: bool) -> list[Candidate]:
    """Images of one patient under neutral keys, in canonical order."""
    found = []
    for number, (sequence, file) in enumerate(files.items()):
        image = read_nifti(file)
        names = (PLAIN[sequence],) if named else ()
        grid = Grid(image.shape, image.affine)
        found.append(Candidate(str(number), names, {}, grid, None, 0, partial(_same, image)))
    return found


def _same(image: Volume) -> Volume:
    return image


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    reference = ModelPackage.open(find_model()).spec.reference
    assert reference is not None
    tables: dict[str, dict[str, Counter[str]]] = {}
    silent: Counter[str] = Counter()
    counted: Counter[str] = Counter()
    seconds = []
    for group, files in patients(data):
        counted[group] += 1
        for mode in MODES:
            started = time.perf_counter()
            some = candidates(files, mode != MODES[0])
            read = time.perf_counter()
            choice = classify(some, reference)
            seconds.append((read - started, time.perf_counter() - read))
            table = tables.setdefault(f"{group}, {mode}", defaultdict(Counter))
            for sequence, opinion in zip(files, choice.opinions, strict=True):
                answer = str(opinion.sequence or opinion.other or "left open")
                table[str(sequence)][answer] += 1
                right = opinion.sequence is sequence
                if not right and opinion.sequence is not None and not opinion.doubts:
                    silent[f"{group}, {mode}"] += 1
    result = {
        "patients": dict(counted),
        "tables": {
            name: {s: dict(row) for s, row in table.items()} for name, table in tables.items()
        },
        "wrong_without_a_doubt": dict(silent),
        "median_seconds": sorted(taken for _, taken in seconds)[len(seconds) // 2],
        "brainix": brainix(data, reference),
    }
    write_results(RESULTS / "results", result, page(result))


def brainix(data: Path, reference: AppearanceModel) -> list[dict[str, str]]:
    """The DICOM study, with and without its attributes."""
    rows = []
    with Scan(data / "dicom" / "BRAINIX") as scan:
        plain = [of_series(series) for series in scan.series]
        blind = [replace(one, names=(), attributes={}) for one in plain]
        pairs = zip(
            scan.series,
            classify(plain, reference).opinions,
            classify(blind, reference).opinions,
            strict=True,
        )
        for series, told, withheld in pairs:
            rows.append(
                {
                    "is": BRAINIX[series.number or 0],
                    "with attributes": str(told.sequence or told.other or "left open")
                    + (" (doubtful)" if told.doubts else ""),
                    "attributes withheld": str(withheld.sequence or withheld.other or "left open")
                    + (" (doubtful)" if withheld.doubts else ""),
                }
            )
    return rows


def page(result: dict) -> str:
    """The tables as Markdown."""
    lines = [
        "# Telling series apart",
        "",
        "Rows: what an image is. Columns: what it was taken for. Names withheld: appearance alone."
        " Names without contrast: T1 and T1CE are both called T1.",
        f"Median time for a patient, after reading: {result['median_seconds']:.1f} s.",
        "Made by `python -m benchmarks.series_classification ../shared/data`.",
        "",
    ]
    columns = [*map(str, MRSequence), "left open"]
    for name, table in result["tables"].items():
        patients_in = result["patients"][name.rsplit(", ", 1)[0]]
        wrong = result["wrong_without_a_doubt"].get(name, 0)
        lines += [
            f"## {name} ({patients_in} patients)",
            "",
            f"| is | {' | '.join(columns)} |",
            "|---|" + "--:|" * len(columns),
            *(
                f"| {s} | " + " | ".join(str(row.get(column, 0)) for column in columns) + " |"
                for s, row in table.items()
            ),
            "",
            f"Wrong without a doubt told: {wrong}.",
            "",
        ]
    lines += [
        "## BRAINIX (DICOM)",
        "",
        "| is | with attributes | attributes withheld |",
        "|---|---|---|",
    ]
    lines += [
        f"| {row['is']} | {row['with attributes']} | {row['attributes withheld']} |"
        for row in result["brainix"]
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
