"""From a record or a folder to voxels."""

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gliodistill.errors import GliodistillError, LabelError, StudyError
from gliodistill.images.nifti import read_channels, read_labels
from gliodistill.images.volume import Volume
from gliodistill.studies.labels import LabelConvention
from gliodistill.studies.sequence import Sequence
from gliodistill.studies.study import Study, StudyRecord


def load_study(record: StudyRecord, convention: LabelConvention | None = None) -> Study:
    """Read every image of ``record`` (in parallel: zlib lets go of the interpreter) and its truth.

    Raises:
        StudyError: the layout noticed a problem that forbids loading, or the grids differ.
        ImageError: a file that cannot be trusted.
        LabelError: codes that ``convention`` does not know.
    """
    if record.problems:
        raise StudyError(
            record.problems[0],
            file=record.id,
            field="study",
            got=f"{len(record.problems)} problem(s)",
            expected="none",
            hint="repair the files (gliodistill inspect lists every problem)",
        )
    files: dict[Path, list[Sequence]] = defaultdict(list)
    for sequence, image in record.images.items():
        files[image.path].append(sequence)

    def read(path: Path) -> list[Volume]:
        return read_channels(path, [record.images[sequence].channel for sequence in files[path]])

    images: dict[Sequence, Volume] = {}
    with ThreadPoolExecutor(max_workers=4) as pool:
        truth = pool.submit(read_labels, record.truth.path, record.truth.channel) if record.truth else None
        for path, volumes in zip(files, pool.map(read, files), strict=True):
            images.update(zip(files[path], volumes, strict=True))
        labels = truth.result() if truth else None
    if labels is not None and convention is not None and record.truth is not None:
        try:
            convention.check(labels.data)
        except LabelError as error:
            raise LabelError(
                error.problem, file=record.truth.path, field=error.field, got=error.got, expected=error.expected, hint=error.hint
            ) from error
    ordered = {sequence: images[sequence] for sequence in Sequence if sequence in images}
    return Study(record.id, record.patient, ordered, labels, convention if labels is not None else None)


def open_study(path: Path, id: str | None = None) -> Study:
    """Read the one study at ``path``, in any known layout.

    A truth whose convention cannot be told is kept with ``convention=None``: segmenting does not need it.

    Raises:
        StudyError: no study, several without an ``id``, or an unknown ``id``.
        ImageError: a file that cannot be trusted.
    """
    from gliodistill.studies.cohort import find_cohort, resolve_convention

    cohort, found = find_cohort(path)
    if id is None and len(cohort.studies) > 1:
        raise StudyError(
            "several studies",
            file=path,
            field="id",
            got=f"{len(cohort.studies)}: {', '.join(record.id for record in cohort.studies[:4])}, …",
            expected="one",
            hint="choose one by its id",
        )
    chosen = cohort if id is None else cohort.select([id])
    try:
        convention = resolve_convention(chosen.studies, found, None)
    except GliodistillError:
        convention = None
    return chosen.studies[0].load(convention)
