"""How much of its Dice a model keeps when studies are disturbed, and whether saving a study anew
changes anything.

    python -m benchmarks.robustness MODEL --data PATIENTS --no-tumour HEALTHY -o
    benchmarks/results/robustness/robustness-patients

MODEL is the folder of a package or the name of a shipped model. Every study is made anew for each
disturbance (``disturbances.py``) and each way of saving it (``resaving.py``) as files, which are
segmented by the public ``Predictor`` and scored by the plain rules. Writes ``.json``, ``.md`` and
``.svg``; they hold no ids. What is finished of a study is kept under ``--work``: the same command
goes on where it was stopped.
"""

import argparse
import hashlib
import json
import os
import platform
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.disturbances import SUBSETS, Disturbance, brain_part, disturbances
from benchmarks.provenance import versions, write_results
from benchmarks.resaving import RESAVINGS, Resaving, compared, save_plainly, whole_numbers
from benchmarks.robustness_pages import markdown, picture
from gliodistill.evaluation.rules import Region, get_rules
from gliodistill.evaluation.statistics import mean_interval, paired_difference
from gliodistill.files import make_folder, sha256, write_text
from gliodistill.images.nifti import write_nifti
from gliodistill.inference import Predictor, Segmentation
from gliodistill.progress import track
from gliodistill.studies.cohort import Cohort, find_cohort, open_cohort
from gliodistill.studies.labels import REGIONS
from gliodistill.studies.records import ImageFile, StudyRecord
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study, load_brain, load_study

UNDISTURBED = "undisturbed"


@dataclass
class Bench:
    """A model under test.

    Attributes:
        predictor: the model.
        seed: of all random draws.
    """

    predictor: Predictor
    seed: int
    _network: threading.Lock = field(default_factory=threading.Lock)

    def segment(self, record: StudyRecord) -> Segmentation:
        """From files to labels; one study is in the network at a time."""
        prepared = self.predictor.prepare(load_brain(record))
        with self._network:
            return self.predictor.segment_prepared(prepared)

    def dice(self, study: Study, disturbance: Disturbance | None) -> list[float]:
        """WT, TC, ET of a study of :func:`brain_part`, disturbed."""
        if disturbance is not None:
            study = disturbance.apply(study, self.draw(study.id, disturbance.group))
        assert study.truth is not None and study.convention is not None
        with tempfile.TemporaryDirectory() as folder:
            files = {
                sequence: ImageFile(Path(folder) / f"{sequence}.nii") for sequence in study.images
            }
            for sequence, file in files.items():
                write_nifti(study.images[sequence], file.path)
            regions = self.segment(StudyRecord(study.id, study.patient, files)).regions
        return overlap(regions, study.convention.to_regions(study.truth.data), study)

    def resaved(
        self, study: Study, reference: NDArray[np.uint8], resaving: Resaving
    ) -> dict[str, Any] | None:
        """How the segmentation of a study of :func:`whole_numbers` differs once it is saved
        otherwise; None where it does not fit.
        """
        with tempfile.TemporaryDirectory() as folder:
            saved = resaving.save(study, Path(folder))
            if saved is None:
                return None
            answer = self.segment(saved.record)
        labels, expected = compared(answer.labels.data, saved, reference)
        dice = overlap(
            answer.convention.to_regions(labels), answer.convention.to_regions(expected), study
        )
        return {"voxels": int(np.count_nonzero(labels != expected)), "dice": dice}

    def reference(self, study: Study) -> NDArray[np.uint8]:
        """Labels of a study of :func:`whole_numbers`, saved plainly."""
        with tempfile.TemporaryDirectory() as folder:
            labels: NDArray[np.uint8] = self.segment(
                save_plainly(study, Path(folder)).record
            ).labels.data
        return labels

    def draw(self, id: str, group: str) -> int:
        """A seed for one study and one kind of disturbance, whatever else is measured; all
        strengths have the same field or direction.
        """
        return int.from_bytes(hashlib.sha256(f"{self.seed}:{id}:{group}".encode()).digest()[:4])

    def takes(self, left: Iterable[MRSequence]) -> bool:
        """Whether the model works with only these sequences."""
        spec = self.predictor.package.spec
        return not set(spec.sequences) - set(spec.may_lack) - set(left) and not set(
            spec.sequences
        ).isdisjoint(left)


def overlap(predicted: NDArray[np.bool_], truth: NDArray[np.bool_], study: Study) -> list[float]:
    """Dice of WT, TC, ET (bool, 3 X Y Z); 1 where both are empty, as the plain rules have it."""
    grid = study.grid
    return [
        round(Region(p, t, grid.spacing, grid.voxel_ml).dice, 5)
        for p, t in zip(predicted, truth, strict=True)
    ]


class Kept:
    """What is known of one study, on disk after each step.

    Args:
        folder: of all studies.
        record: the study.
        key: of the model, the seed and what makes the disturbances; what was found under another is
            not used.
    """

    def __init__(self, folder: Path, record: StudyRecord, key: str) -> None:
        files = [*record.images.values(), *([record.truth] if record.truth else [])]
        digest = hashlib.sha256(
            "\n".join([key, *(f"{sha256(file.path)} {file.channel}" for file in files)]).encode()
        ).hexdigest()
        self.file = folder / f"{record.id}.json"
        self.values: dict[str, Any] = (
            json.loads(self.file.read_text()) if self.file.exists() else {}
        )
        if self.values.get("key") != digest:
            self.values = {"key": digest, "dice": {}, "resaved": {}, "volumes_ml": {}}

    def fill(
        self, part: str, names: Iterable[str], find: Callable[[str], Any], pool: ThreadPoolExecutor
    ) -> Iterator[None]:
        """Find what is missing in a part, several at once; yields once for each name."""
        missing = [name for name in names if name not in self.values[part]]
        for name, found in zip(missing, pool.map(find, missing), strict=True):
            self.values[part][name] = found
            write_text(self.file, json.dumps(self.values))
            yield


def measure(
    bench: Bench, cohort: Cohort, healthy: Cohort | None, work: Path, jobs: int, wanted: list[str]
) -> dict[str, Any]:
    """Everything that is missing, then all of it together."""
    chosen = [
        one
        for one in disturbances()
        if bench.takes(one.leaves) and (not wanted or any(word in one.group for word in wanted))
    ]
    made_by = [
        sha256(Path(__file__).with_name(name)) for name in ("disturbances.py", "resaving.py")
    ]
    key = " ".join([bench.predictor.package.fingerprint, str(bench.seed), *made_by])
    kept = [Kept(make_folder(work / "tumour"), record, key) for record in cohort.studies]
    empty = [
        Kept(make_folder(work / "none"), record, key)
        for record in (healthy.studies if healthy else ())
    ]

    def steps() -> Iterator[None]:
        with ThreadPoolExecutor(jobs) as pool:
            for record, known in zip(healthy.studies if healthy else (), empty, strict=True):
                yield from no_tumour(bench, record, known, pool)
            for record, known in zip(cohort.studies, kept, strict=True):
                yield from one_study(bench, cohort, record, known, chosen, pool)

    total = len(kept) * (1 + len(chosen) + len(RESAVINGS)) + len(empty) * (1 + len(SUBSETS))
    done = sum(
        len(known.values[part])
        for known in (*kept, *empty)
        for part in ("dice", "resaved", "volumes_ml")
    )
    for _ in track(steps(), "segmenting disturbed studies", total=max(0, total - done)):
        pass
    return summary(
        bench, chosen, [known.values for known in kept], [known.values for known in empty]
    )


def one_study(
    bench: Bench,
    cohort: Cohort,
    record: StudyRecord,
    known: Kept,
    chosen: list[Disturbance],
    pool: ThreadPoolExecutor,
) -> Iterator[None]:
    """Every disturbance and every way of saving it."""
    named = {one.name: one for one in chosen if set(one.needs) <= set(record.images)}
    ways = {one.name: one for one in RESAVINGS}
    if all(name in known.values["dice"] for name in (UNDISTURBED, *named)) and all(
        name in known.values["resaved"] for name in ways
    ):
        return
    whole = load_study(record, cohort.convention)
    part = brain_part(whole)
    yield from known.fill(
        "dice", [UNDISTURBED, *named], lambda name: bench.dice(part, named.get(name)), pool
    )
    if any(name not in known.values["resaved"] for name in ways):
        numbers = whole_numbers(whole)
        reference = bench.reference(numbers)
        yield from known.fill(
            "resaved", ways, lambda name: bench.resaved(numbers, reference, ways[name]), pool
        )


def no_tumour(
    bench: Bench, record: StudyRecord, known: Kept, pool: ThreadPoolExecutor
) -> Iterator[None]:
    """False-positive volumes in healthy brains, for every subset of the sequences."""
    subsets = {
        "+".join(s): s
        for s in (tuple(record.images), *SUBSETS)
        if set(s) <= set(record.images) and bench.takes(s)
    }

    def volumes(name: str) -> dict[str, float]:
        answer = bench.segment(
            replace(
                record, images={sequence: record.images[sequence] for sequence in subsets[name]}
            )
        )
        return {region: round(volume, 4) for region, volume in answer.volumes_ml.items()}

    yield from known.fill("volumes_ml", subsets, volumes, pool)


def summary(
    bench: Bench, chosen: list[Disturbance], kept: list[dict[str, Any]], empty: list[dict[str, Any]]
) -> dict[str, Any]:
    """As JSON: no ids; studies in one order everywhere."""
    package, base = (
        bench.predictor.package,
        {number: values["dice"][UNDISTURBED] for number, values in enumerate(kept)},
    )
    rows = [{"group": UNDISTURBED, "strength": "", **statistics(base, None)}]
    for one in chosen:
        found = {
            number: values["dice"][one.name]
            for number, values in enumerate(kept)
            if one.name in values["dice"]
        }
        if found:
            rows.append({"group": one.group, "strength": one.strength, **statistics(found, base)})
    return {
        "model": {"name": package.name, "sha256": package.fingerprint},
        "studies": len(kept),
        "seed": bench.seed,
        "rules": get_rules("plain").text,
        "rows": rows,
        "invariances": [
            invariance(one, [values["resaved"].get(one.name) for values in kept])
            for one in RESAVINGS
        ],
        "no_tumour_ml": [values["volumes_ml"] for values in empty],
        "versions": {
            **versions("gliodistill"),
            "machine": platform.machine(),
        },
    }


def statistics(
    found: dict[int, list[float]], base: dict[int, list[float]] | None
) -> dict[str, Any]:
    """Mean with its interval, median, and the paired difference to the undisturbed study, of each
    region.
    """
    dice, several = np.array([found[number] for number in sorted(found)]), len(found) > 1
    result: dict[str, Any] = {"studies": sorted(found), "dice": dice.tolist()}
    for index, region in enumerate(REGIONS):
        values = dice[:, index]
        result[region] = {
            "mean": float(values.mean()),
            "median": float(np.median(values)),
            "interval": mean_interval(values) if several else None,
        }
        if base is not None:
            before = np.array([base[number][index] for number in sorted(found)])
            pair = (
                paired_difference(values, before)._asdict()
                if several
                else {"mean": float((values - before).mean())}
            )
            result[region]["difference"] = pair
    return result


def invariance(one: Resaving, found: list[dict[str, Any] | None]) -> dict[str, Any]:
    """Over the studies that fit: how many stayed the same, the most voxels that changed, the worst
    Dice with the plain one.
    """
    fitting = [values for values in found if values is not None]
    return {
        "name": one.name,
        "exact": one.exact,
        "studies": len(fitting),
        "same": sum(values["voxels"] == 0 for values in fitting),
        "most_voxels": max((values["voxels"] for values in fitting), default=None),
        "worst_dice": (
            [min(values["dice"][index] for values in fitting) for index in range(len(REGIONS))]
            if fitting
            else None
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="folder of a model, or the name of a shipped one")
    parser.add_argument("--data", type=Path, required=True, help="labelled studies in any layout")
    parser.add_argument("--studies", type=int, help="only so many, the first by id (default: all)")
    parser.add_argument("--no-tumour", type=Path, help="studies without a tumour")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="WORD",
        help="only disturbances with this word in their name",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="path of the results, without a suffix"
    )
    parser.add_argument(
        "--work",
        type=Path,
        help="folder of what is finished (default: runs/robustness/<name of the results>)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="studies made and scored at once"
    )
    parser.add_argument("--threads", type=int, help="of the network (default: all cores)")
    options = parser.parse_args()

    cohort = open_cohort(options.data).labelled()
    cohort = replace(
        cohort,
        studies=tuple(sorted(cohort.studies, key=lambda record: record.id)[: options.studies]),
    )
    healthy = find_cohort(options.no_tumour)[0] if options.no_tumour else None
    bench = Bench(Predictor(options.model, threads=options.threads), options.seed)
    work = options.work or Path("runs") / "robustness" / options.output.name
    result = measure(bench, cohort, healthy, work, options.jobs, options.only)
    write_results(options.output, result, markdown(result))
    write_text(options.output.with_suffix(".svg"), picture(result))
    print(markdown(result))


if __name__ == "__main__":
    main()
