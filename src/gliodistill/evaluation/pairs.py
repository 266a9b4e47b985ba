"""A prediction and the truth it is scored against: whether they can be compared, and work over many
pairs at once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from gliodistill.errors import EvaluationError, GliodistillError, LabelError
from gliodistill.images.bounds import filled_box
from gliodistill.images.volume import Volume
from gliodistill.pool import Executor, Threads, tracked
from gliodistill.studies.labels import REGIONS, LabelConvention
from gliodistill.studies.records import ImageFile, StudyRecord

Result = TypeVar("Result")
SHOWN = 6
LOOKED_AT = 8
"""Number of predictions whose anatomy is checked."""


class ComparisonError(EvaluationError):
    """Predictions and references that do not match.

    Attributes:
        problems: every one found, a line each (the error's own line shows the first few).
    """

    def __init__(self, predictions: Path, problems: list[str]) -> None:
        self.problems = tuple(problems)
        more = f" | … {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        many = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(
            f"cannot compare with the reference, {many}: {' | '.join(problems[:SHOWN])}{more}",
            file=predictions,
        )


@dataclass(frozen=True)
class Pair:
    """A prediction and its reference.

    Attributes:
        id: of the study.
        prediction: label map.
        truth: label map on the same grid.
        prediction_labels: label convention of the prediction.
        truth_labels: label convention of the reference.
        probabilities: 4-D image with the predicted probability of each region, if there is one.
        images: sequence → image of the reference's study (not used for scoring; shown in reports).
    """

    id: str
    prediction: ImageFile
    truth: ImageFile
    prediction_labels: LabelConvention
    truth_labels: LabelConvention
    probabilities: Path | None = None
    images: Mapping[str, ImageFile] = field(default_factory=dict)


@dataclass(frozen=True)
class Pairs:
    """Matched predictions and references: same ids, same grids, valid label codes.

    Attributes:
        pairs: ordered by id.
        provenance: how the label conventions were determined, and the number of studies.
        left_out: studies with a reference but no prediction, if a subset was requested.
    """

    pairs: tuple[Pair, ...]
    provenance: dict[str, str]
    left_out: tuple[str, ...] = ()


def each(
    pairs: Sequence[Pair],
    work: Callable[[Pair], Result],
    jobs: int | None,
    what: str,
    executor: Executor | None = None,
) -> dict[str, Result | Exception]:
    """What ``work`` gives for each pair, or the exception it raised, by id.

    Args:
        pairs: to work through.
        work: called once per pair.
        jobs: pairs at once; default: one per processor.
        what: a verb and noun for the progress bar.
        executor: where the work is done, instead of ``jobs`` threads here.
    """
    if jobs is not None and jobs < 1:
        raise EvaluationError(
            "unusable number of jobs", field="jobs", got=jobs, expected="1 or more"
        )
    # Threads: reading, counting and the k-d tree release the GIL.
    done = (executor or Threads(jobs)).outcomes(work, pairs)
    with tracked(done, what, len(pairs)) as outcomes:
        return {
            outcome.item.id: outcome.get() if outcome.error is None else outcome.error
            for outcome in outcomes
        }


def read_map(file: ImageFile) -> Volume:
    """A label map, its axes in canonical order."""
    from gliodistill.images.nifti import read_labels

    # Files may store the same grid with other axes; canonical order avoids resampling.
    return read_labels(file.path, file.channel).canonical()


def _grid(volume: Volume) -> str:
    spacing = "×".join(f"{step:.4g}" for step in volume.spacing)
    origin = ", ".join(f"{value:.4g}" for value in volume.affine[:3, 3])
    return f"{'×'.join(map(str, volume.shape))} of {spacing} mm from ({origin})"


def check_pair(pair: Pair, regions: Sequence[str] = REGIONS) -> list[str]:
    """The problems of one pair, a line each."""
    problems, volumes = [], []
    for name, file, convention in (
        ("prediction", pair.prediction, pair.prediction_labels),
        ("truth", pair.truth, pair.truth_labels),
    ):
        try:
            volume = read_map(file)
        except GliodistillError as error:
            problems.append(f"{name} {error}")
            continue
        volumes.append(volume)
        box = filled_box(volume.data)
        try:
            convention.check(volume.data[box] if box is not None else volume.data)
        except LabelError as error:
            told = LabelError(
                error.problem,
                file=file.path,
                got=error.got,
                expected=error.expected,
                hint=how_to_declare(name),
            )
            problems.append(f"{name} {told}")
    if len(volumes) == 2 and not volumes[0].same_grid(volumes[1]):
        problems.append(
            f"grids differ: prediction {_grid(volumes[0])}, reference {_grid(volumes[1])}"
            f" ({volumes[0].difference(volumes[1])})"
        )
    if pair.probabilities is not None and len(volumes) == 2:
        problems += _check_probabilities(pair.probabilities, volumes[1], regions)
    return problems


def _check_probabilities(path: Path, truth: Volume, regions: Sequence[str]) -> list[str]:
    from gliodistill.images.nifti import read_header

    try:
        header = read_header(path)
    except GliodistillError as error:
        return [f"probabilities {error}"]
    # Only a grid, without voxels.
    grid = Volume(np.broadcast_to(np.uint8(0), header.shape), header.affine).canonical()
    problems = []
    if (header.channels or 1) != len(regions):
        problems.append(
            f"probabilities {path}: {header.channels or 1} channels instead of {len(regions)}"
            f" ({', '.join(regions)})"
        )
    if not grid.same_grid(truth):
        problems.append(
            f"grids differ: probabilities {_grid(grid)}, reference {_grid(truth)}"
            f" ({grid.difference(truth)})"
        )
    return problems


def contradiction(pairs: Sequence[Pair]) -> list[str]:
    """A problem if the predictions' codes indicate another convention than assumed."""
    from gliodistill.studies.label_evidence import detect_convention

    assumed = pairs[0].truth_labels
    step = max(1, len(pairs) // LOOKED_AT)
    records = [StudyRecord(pair.id, pair.id, {}, pair.prediction) for pair in pairs[::step]]
    try:
        seen = detect_convention(records).convention
    except LabelError:
        return []
    # Only codes of both conventions can be confused; others were refused before.
    codes = np.array([[sorted(set(seen.codes) & set(assumed.codes))]], dtype=np.uint8)
    if np.array_equal(seen.to_regions(codes), assumed.to_regions(codes)):
        return []
    return [
        f"labels: predictions resemble {seen.name}, the reference is {assumed.name}: "
        f"{'/'.join(REGIONS)} would be confused; {how_to_declare('prediction')}"
    ]


def how_to_declare(name: str) -> str:
    """The hint how to say what codes of a ``"prediction"`` or ``"truth"`` mean."""
    return (
        "declare theirs with --prediction-labels"
        if name == "prediction"
        else "declare the right convention with --labels"
    )
