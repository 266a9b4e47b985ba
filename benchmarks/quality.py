"""Evaluation of predicted Dice and flags: against references, on correct studies, and on studies
made wrong.

``python -m benchmarks.quality MODEL --data LABELLED --healthy STUDIES --heads STUDIES -o
benchmarks/results/quality/NAME.json`` writes NAME.json, NAME.md and, with ``--picture``, NAME.png.
Everything is fitted again without the evaluated patient: the regression from features to
Dice, and what sequences look like. ``--as-shipped`` judges the model's own instead, which says
something for patients that it has not seen only. ``--rows FILE`` takes answers of a
cross-validation (a list of ``patient``, ``region``, ``features`` and ``dice``) in place of the
model's own for LABELLED. No id of a patient is written.

Wrong studies are made of right ones, for every subset of the sequences: two exchanged, one replaced
by another (that is there as well, or not), and a head drawn around the brain. ``--heads`` are real
ones, as scanned: each image by itself.
"""

import argparse
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from benchmarks.provenance import write_results
from gliodistill.evaluation.metrics import dice
from gliodistill.evaluation.statistics import mean_interval
from gliodistill.images.volume import Volume
from gliodistill.inference import Predictor
from gliodistill.models import ModelSpec
from gliodistill.preparation.prepared import Prepared
from gliodistill.progress import track
from gliodistill.studies.cohort import open_cohort
from gliodistill.studies.labels import REGIONS
from gliodistill.studies.records import StudyRecord
from gliodistill.studies.study import Study, load_brain, load_study
from gliodistill.trust.appearance import thinned
from gliodistill.trust.appearance_model import fit_appearance
from gliodistill.trust.expected_quality import (
    LOW,
    QualityModel,
    QualityRow,
    fit_quality,
    rank_correlation,
)
from gliodistill.trust.flags import study_flags

NAMES = ("sequences_exchanged", "same_image", "unusual_image")
"""Flags that say that a sequence is not what its name says."""
SCALP_MM = 15.0


@dataclass(frozen=True)
class Case:
    """A right study, prepared; of its truth no more than its place in the cohort is kept."""

    index: int
    record: StudyRecord
    prepared: Prepared


def some(prepared: Prepared, channels: Iterable[int]) -> Prepared:
    """The study with only these of its channels."""
    kept = [channel in channels for channel in range(len(prepared.image))]
    return replace(
        prepared,
        image=prepared.image * np.array(kept, dtype=np.uint8)[:, None, None, None],
        present=tuple(kept),
    )


def taking(prepared: Prepared, channels: dict[int, int], donor: Prepared) -> Prepared:
    """The study with channels taken from other channels of the whole study."""
    image = prepared.image.copy()
    for channel, source in channels.items():
        image[channel] = donor.image[source]
    return replace(prepared, image=image)


def rows_of(predictor: Predictor, cases: list[Case], every_subset: bool) -> list[QualityRow]:
    """Features and Dice of every non-empty segmentation."""
    rows = []
    for case in track(cases, "segmenting", total=len(cases)):
        study = load_study(case.record, predictor.package.convention)
        assert study.truth is not None and study.convention is not None
        truth = study.convention.to_regions(study.truth.data)
        count = len(case.prepared.image)
        sizes = range(1, count + 1) if every_subset else [count]
        for channels in (c for size in sizes for c in combinations(range(count), size)):
            answer = predictor.segment_prepared(some(case.prepared, channels))
            drawn = answer.regions
            for region, features in answer.quality.features.items():
                place = REGIONS.index(region)
                value = dice(drawn[place], truth[place])
                rows.append(
                    QualityRow(str(case.index), region, features, 0.0 if value is None else value)
                )
    return rows


def predictions(
    rows: list[QualityRow], shipped: QualityModel | None
) -> list[tuple[QualityRow, float]]:
    """Each row with its predicted Dice, by the model's own regression or by one fitted without its
    patient.
    """
    found = []
    for patient in sorted({row.patient for row in rows}):
        model = shipped or fit_quality(
            (row for row in rows if row.patient != patient), "the other patients"
        )
        for row in (row for row in rows if row.patient == patient and row.region in model.regions):
            found.append((row, model.regions[row.region].predict(row.features)))
    return found


def dice_table(pairs: list[tuple[QualityRow, float]], low: float) -> dict[str, Any]:
    """How well Dice was predicted: of each region, and of each by the number of sequences that were
    lacking.
    """
    groups: dict[str, list[tuple[QualityRow, float]]] = defaultdict(list)
    for row, predicted in pairs:
        lacking = int(
            sum(value for name, value in row.features.items() if name.startswith("lacks_"))
        )
        groups[row.region].append((row, predicted))
        groups[f"{row.region}, {lacking} lacking"].append((row, predicted))
    table = {}
    for name, part in groups.items():
        true, predicted = (
            np.array([row.dice for row, _ in part]),
            np.array([value for _, value in part]),
        )
        patients = [row.patient for row, _ in part]
        errors = [
            np.mean(
                [
                    abs(p - t)
                    for p, t, who in zip(predicted, true, patients, strict=True)
                    if who == one
                ]
            )
            for one in set(patients)
        ]
        poor, flagged = true < low, predicted < low
        table[name] = {
            "answers": len(part),
            "patients": len(set(patients)),
            "mean_dice": float(true.mean()),
            "mae": float(np.abs(predicted - true).mean()),
            "mae_interval": mean_interval(sorted(errors)) if len(errors) > 1 else None,
            "mae_of_mean": float(np.abs(true - true.mean()).mean()),
            "spearman": rank_correlation(predicted, true),
            "poor": int(poor.sum()),
            "poor_flagged": int((poor & flagged).sum()),
            "good_flagged": int((~poor & flagged).sum()),
        }
    return dict(sorted(table.items(), key=lambda item: (REGIONS.index(item[0][:2]), item[0])))


def name_checks(cases: list[Case], spec: ModelSpec, as_shipped: bool) -> dict[str, Any]:
    """Share of right studies and of each kind of wrong ones that a flag about names was raised for,
    by number of sequences.
    """
    raised: dict[str, dict[int, list[bool]]] = defaultdict(lambda: defaultdict(list))
    codes: Counter[str] = Counter()
    names = [str(s) for s in spec.sequences]
    thin = [
        replace(case.prepared, image=thinned(case.prepared.image)[0]) for case in cases
    ]  # flags appearance at no more
    for case, small in track(
        zip(cases, thin, strict=True), "exchanging sequences", total=len(cases)
    ):
        others = [other.image for other in thin if other is not small]
        known = (
            spec if as_shipped else replace(spec, reference=fit_appearance(others, spec.sequences))
        )
        codes.update({flag.code for flag in study_flags(case.prepared, known)})
        for kind, size, study in wrong_names(small, names):
            found = [flag.code for flag in study_flags(study, known) if flag.code in NAMES]
            raised[kind][size].append(bool(found))
    shares = {
        kind: {str(n): share(hits) for n, hits in sorted(by.items())}
        for kind, by in sorted(raised.items())
    }
    return {
        "by_kind_and_number_of_sequences": shares,
        "flags_of_right_studies": dict(codes),
        "right_studies": len(cases),
    }


def wrong_names(prepared: Prepared, names: list[str]) -> Iterator[tuple[str, int, Prepared]]:
    """Kind, number of sequences given, study: right ones and ones with wrong images."""
    everything = range(len(names))
    for size in range(1, len(names) + 1):
        for channels in combinations(everything, size):
            given = some(prepared, channels)
            yield "right", size, given
            for a, b in combinations(channels, 2):
                yield f"{names[a]} ↔ {names[b]}", size, taking(given, {a: b, b: a}, prepared)
            for target in channels:
                for source in everything:
                    if source != target:
                        how = (
                            "replaced by one that is there too"
                            if source in channels
                            else "replaced by one that is not there"
                        )
                        yield how, size, taking(given, {target: source}, prepared)
            if size > 2:
                for turned in permutations(channels):
                    if sum(a != b for a, b in zip(turned, channels, strict=True)) > 2:
                        yield (
                            "more than two exchanged",
                            size,
                            taking(given, dict(zip(channels, turned, strict=True)), prepared),
                        )


def share(hits: list[bool]) -> dict[str, Any]:
    """Hits, of how many, and Wilson's 95 % interval of their share."""
    n, z = len(hits), 1.959964
    p = sum(hits) / n
    middle, reach = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return {
        "flagged": sum(hits),
        "of": n,
        "interval": [(middle - reach) / (1 + z * z / n), (middle + reach) / (1 + z * z / n)],
    }


def in_a_head(study: Study) -> Study:
    """The study with a dark skull and a bright scalp around its brain."""
    inside = np.logical_or.reduce([image.data != 0 for image in study.images.values()])
    away = distance_transform_edt(~inside, sampling=study.grid.spacing)
    skull, scalp = (away > 0) & (away <= SCALP_MM / 2), (away > SCALP_MM / 2) & (away <= SCALP_MM)

    def around(image: Volume) -> Volume:
        data: NDArray[np.float32] = image.data.astype(np.float32)
        low, high = np.percentile(data[inside], [5, 95])
        data[skull], data[scalp] = 0.2 * low, high
        return image.with_data(data)

    return replace(study, images={s: around(image) for s, image in study.images.items()})


def head_checks(predictor: Predictor, cases: list[Case], heads: Path | None) -> dict[str, Any]:
    drawn = [
        study_flags(
            predictor.prepare(in_a_head(load_study(replace(case.record, truth=None)))),
            predictor.package.spec,
        )
        for case in track(cases, "drawing heads")
    ]
    result = {
        "drawn": share(
            [any(flag.code == "not_skull_stripped" for flag in flags) for flags in drawn]
        )
    }
    if heads:
        for record in open_cohort(heads).studies:
            for sequence, file in record.images.items():
                study = load_study(replace(record, images={sequence: file}))
                flags = study_flags(
                    predictor.package.preparation.apply(study), predictor.package.spec
                )
                result[f"real head {len(result)}, {sequence}"] = [flag.code for flag in flags]
    return result


def healthy_checks(predictor: Predictor, folder: Path) -> list[dict[str, Any]]:
    answers = [predictor.segment(load_study(record)) for record in open_cohort(folder).studies]
    return [
        {"wt_ml": answer.volumes_ml["WT"], "flags": [flag.code for flag in answer.quality.flags]}
        for answer in answers
    ]


def as_markdown(results: dict[str, Any]) -> str:
    lines = []
    if table := results.get("dice"):
        lines += [
            (
                f"Predicted Dice against the measured Dice; {results['judged']}. Low: below"
                f" {results['low']:g}."
            ),
            "",
            (
                "| region | answers (patients) | mean Dice | mean error [95 %] | of the mean |"
                " Spearman | low flagged | others flagged |"
            ),
            "|---|---|---|---|---|---|---|---|",
        ]
        for name, row in table.items():
            interval = (
                "[{:.3f}, {:.3f}]".format(*row["mae_interval"]) if row["mae_interval"] else ""
            )
            errors = (
                f"{row['mae']:.3f} {interval} | {row['mae_of_mean']:.3f} | {row['spearman']:.2f}"
            )
            flagged = (
                f"{row['poor_flagged']} of {row['poor']} | {row['good_flagged']} of"
                f" {row['answers'] - row['poor']}"
            )
            lines.append(
                f"| {name} | {row['answers']} ({row['patients']}) | {row['mean_dice']:.3f} |"
                f" {errors} | {flagged} |"
            )
    shares = results["names"]["by_kind_and_number_of_sequences"]
    sizes = sorted({size for by in shares.values() for size in by}, reverse=True)
    lines += [
        "",
        f"Studies flagged for wrong images, by the number of sequences given; {results['judged']}.",
        "",
    ]
    lines += ["| study | " + " | ".join(sizes) + " |", "|---|" + "---|" * len(sizes)]
    for kind in sorted(shares, key=lambda kind: (kind != "right", kind)):
        cells = [
            f"{by['flagged']} of {by['of']}" if (by := shares[kind].get(size)) else ""
            for size in sizes
        ]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    told = ", ".join(
        f"`{code}` {times} ×" for code, times in results["names"]["flags_of_right_studies"].items()
    )
    lines += [
        "",
        f"Flags of the {results['names']['right_studies']} right studies: {told or 'none'}.",
        "",
    ]
    heads = {
        name: f"{by['flagged']} of {by['of']} flagged" if isinstance(by, dict) else ", ".join(by)
        for name, by in results["heads"].items()
    }
    lines += [f"* skull left on, {name}: {said or 'not flagged'}" for name, said in heads.items()]
    lines += [
        f"* no tumour: {one['wt_ml']:.1f} ml segmented; {', '.join(one['flags']) or 'no flag'}"
        for one in results["healthy"]
    ]
    return "\n".join(lines).strip() + "\n"


def picture(pairs: list[tuple[QualityRow, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, len(REGIONS), figsize=(10, 3.6), sharey=True, layout="constrained"
    )
    for axis, region in zip(axes, REGIONS, strict=True):
        points = [(predicted, row.dice) for row, predicted in pairs if row.region == region]
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        axis.scatter(*zip(*points, strict=True), s=14, alpha=0.6) if points else None
        axis.set(
            title=region,
            xlabel="predicted Dice",
            xlim=(-0.02, 1.02),
            ylim=(-0.02, 1.02),
            aspect="equal",
        )
    axes[0].set_ylabel("Dice with the reference")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a package's folder, or the name of a shipped model")
    parser.add_argument("--data", type=Path, required=True, help="labelled studies")
    parser.add_argument("--ids", help="only these of them, with commas between")
    parser.add_argument(
        "--rows", type=Path, help="answers of a cross-validation, instead of segmenting"
    )
    parser.add_argument("--healthy", type=Path, help="studies without a tumour")
    parser.add_argument("--heads", type=Path, help="studies with the skull on")
    parser.add_argument(
        "--drawn-heads", type=int, default=5, help="studies to which a head is added"
    )
    parser.add_argument(
        "--subsets", action="store_true", help="segment with every subset of the sequences"
    )
    parser.add_argument("--no-dice", action="store_true", help="flags only")
    parser.add_argument(
        "--as-shipped", action="store_true", help="evaluate the model's own flags and predictor"
    )
    parser.add_argument("--threads", type=int)
    parser.add_argument("--picture", action="store_true")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        help="results, JSON; a table is written beside it",
    )
    options = parser.parse_args()
    predictor = Predictor(options.model, threads=options.threads)
    spec = predictor.package.spec
    cohort = open_cohort(options.data)
    records = cohort.select(options.ids.split(",")).studies if options.ids else cohort.studies
    cases = [
        Case(i, record, predictor.prepare(load_brain(record)))
        for i, record in enumerate(track(records, "preparing"))
    ]
    results: dict[str, Any] = {
        "model": predictor.package.name,
        "studies": len(cases),
        "judged": (
            "by the model's own flags and predictor"
            if options.as_shipped
            else "everything fitted without the evaluated patient"
        ),
        "low": spec.quality.low if spec.quality else LOW,
        "names": name_checks(cases, spec, options.as_shipped),
        "heads": head_checks(predictor, cases[: options.drawn_heads], options.heads),
        "healthy": healthy_checks(predictor, options.healthy) if options.healthy else [],
    }
    if not options.no_dice:
        if options.rows:
            rows = [QualityRow(**row) for row in json.loads(options.rows.read_text())]
        else:
            rows = rows_of(predictor, cases, options.subsets)
        pairs = predictions(rows, spec.quality if options.as_shipped else None)
        results["dice"] = dice_table(pairs, results["low"])
        if options.picture:
            picture(pairs, options.output.with_suffix(".png"))
    write_results(options.output, results, as_markdown(results))
    print(as_markdown(results))


if __name__ == "__main__":
    main()
