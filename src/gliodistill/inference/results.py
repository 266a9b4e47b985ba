"""Results of segmentation in a folder: labels and a summary of each study, and a table."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gliodistill.documents import Fields, Refusal, read_json
from gliodistill.errors import GliodistillError, OutputError
from gliodistill.files import write_text
from gliodistill.inference.cases.base import Case
from gliodistill.locks import lock_name
from gliodistill.studies.ids import check_id, check_names
from gliodistill.studies.labels import REGIONS
from gliodistill.studies.sequence import MRSequence
from gliodistill.tables import csv_text

VOLUMES = "volumes.csv"
_TABLE = re.compile(rb"id(,\w+_ml)+,model,sha256(,T1,T1CE,T2,FLAIR,unused)?")
"""The first line of the table, also of the one that earlier versions wrote."""
_SUMMARY = Refusal(OutputError, "not a summary of segment")


def result_files(folder: Path, id: str) -> tuple[Path, Path, Path]:
    """Paths of a study's labels, summary and probabilities."""
    return folder / f"{id}.nii.gz", folder / f"{id}.json", folder / f"{id}_prob.nii.gz"


def check_outputs(folder: Path, cases: Sequence[Case]) -> None:
    """Refuse studies whose output files would collide with each other, with earlier results,
    ``volumes.csv`` or inputs.
    """
    ids = dict.fromkeys((*(case.id for case in cases), *finished_in(folder)))
    outputs = {id: [path.name for path in result_files(folder, id)] for id in ids}
    check_names(outputs, [VOLUMES], folder)
    inputs = {file.resolve() for case in cases for file in case.inputs}
    for case in cases:
        for path in result_files(folder, case.id):
            if path.resolve() in inputs:
                raise OutputError(
                    "output would overwrite an input image or label map",
                    file=path,
                    hint="choose another folder",
                )
        _check_summary(result_files(folder, case.id)[1])
    table = folder / VOLUMES
    try:
        first = table.read_bytes().partition(b"\n")[0] if table.exists() else None
    except OSError:
        first = b""
    if first is not None and not _TABLE.fullmatch(first.strip()):
        raise OutputError(
            "another file has the table's name",
            file=table,
            expected=f"none, or a table of {', '.join(_header(REGIONS))}",
            hint="choose another folder, or rename it",
        )


def _check_summary(file: Path) -> None:
    """Refuse to replace JSON that is no summary, such as a manifest; a damaged summary may be
    replaced.
    """
    try:
        values = read_json(file, _SUMMARY) if file.is_file() else None
    except GliodistillError:
        return
    if values is not None and not (isinstance(values, dict) and "volumes_ml" in values):
        raise OutputError(
            "another file has the summary's name",
            file=file,
            expected="none, or a summary of the study",
            hint="choose another folder, or rename it",
        )


def finished_in(folder: Path) -> dict[str, dict[str, Any]]:
    """Id → summary of every study that ``segment`` has finished in ``folder``, in order of id."""
    found = {}
    for file in sorted(folder.glob("*.json")):
        try:
            told = read_summary(file)
            id = check_id(told.text("id"))
        except GliodistillError:
            continue  # another file, or of an unfinished study
        if file.name == f"{id}.json" and (folder / f"{id}.nii.gz").is_file():
            found[id] = dict(told.values)
    return dict(sorted(found.items()))


def read_summary(file: Path) -> Fields:
    """The summary of a finished study, checked.

    Raises:
        OutputError: it is none.
    """
    told = Fields(read_json(file, _SUMMARY), _SUMMARY.of(file))
    told.text("id"), told.part("model").text("name"), told.part("model").text("sha256")
    volumes = told.part("volumes_ml")
    for region in volumes:
        volumes.number(region)
    if not volumes.values:
        raise volumes.refusal("volumes_ml", "nothing", "a volume for each region")
    return told


def _header(regions: Iterable[str]) -> list[str]:
    volumes = (f"{region}_ml" for region in regions)
    return ["id", *volumes, "model", "sha256", *map(str, MRSequence), "unused"]


def write_volumes(folder: Path) -> None:
    """Write ``volumes.csv`` of all studies finished in ``folder``, by any call. Nothing is written
    if there is none.
    """
    # One process at a time: the last one sees all finished studies.
    with lock_name(folder / VOLUMES, wait=True):
        finished = finished_in(folder)
        if finished or (folder / VOLUMES).exists():
            # Models of different tasks may have filled the folder.
            each = [region for values in finished.values() for region in values["volumes_ml"]]
            regions = tuple(dict.fromkeys(each)) or REGIONS
            rows = [
                [
                    id,
                    *(values["volumes_ml"].get(region, "") for region in regions),
                    values["model"]["name"],
                    values["model"]["sha256"],
                    *_files_used(values),
                ]
                for id, values in finished.items()
            ]
            write_text(folder / VOLUMES, csv_text([_header(regions), *rows]))


def _files_used(summary: dict[str, Any]) -> list[str]:
    """The file of each sequence (empty if absent), and unused files."""
    try:
        told = summary["sequences"]
        used = {str(name): str(file or "in memory") for name, file in told["used"].items()}
        return [*(used.get(str(s), "") for s in MRSequence), "; ".join(map(str, told["unused"]))]
    except (KeyError, TypeError, AttributeError):  # of an earlier version
        return [""] * (len(MRSequence) + 1)
