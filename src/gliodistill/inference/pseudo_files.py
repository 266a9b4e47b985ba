"""The files of pseudo-labels: a folder for each study, and two tables of all."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.documents import Fields, Refusal, read_json
from gliodistill.errors import GliodistillError, StudyError
from gliodistill.files import (
    atomic_folder,
    write_text,
)
from gliodistill.images.nifti import write_nifti
from gliodistill.inference.ensemble import Consensus
from gliodistill.inference.pseudo_cohort import FILES, INDEX, LABELS, STUDY
from gliodistill.models.package import NOTICE, versions_in_use
from gliodistill.studies.labels import REGIONS, LabelConvention
from gliodistill.studies.layouts.manifest import FILE as MANIFEST
from gliodistill.studies.records import ImageFile, StudyRecord
from gliodistill.studies.study import Study

_NO_FACTS = Refusal(StudyError, "not a finished study")


@dataclass
class PseudoReport:
    """The outcome of each study.

    Attributes:
        done: id → its facts, for those labelled now.
        skipped: ids already finished.
        left_out: id → why it is excluded (a known patient) or was not selected.
        failed: id → error.
    """

    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, GliodistillError] = field(default_factory=dict)


def write_study(
    study: Study, said: Consensus, folder: Path, labels: LabelConvention, soft: bool, key: str
) -> dict[str, Any]:
    """Write the study's folder, replacing one of other settings."""
    target, grid, regions = folder / study.id, study.grid, said.regions
    facts = {
        "key": key,
        "id": study.id,
        "patient": study.patient,
        "sequences": {
            "used": {str(s): study.sources.used.get(s) for s in study.sequences},
            "unused": dict(study.sources.unused),
        },
        "notes": [note.text for note in study.notes],
        "agreement": (
            None
            if said.agreement is None
            else {**said.agreement, "mean": float(np.mean([*said.agreement.values()]))}
        ),
        "volumes_ml": {
            region: round(float(mask.sum()) * grid.voxel_ml, 4)
            for region, mask in zip(REGIONS, regions, strict=True)
        },
        "seconds": round(said.seconds, 3),
    }
    maps = {"confidence": said.confidence(), "disagreement": said.disagreement()}
    if soft:
        maps |= dict(zip(REGIONS, said.probability, strict=True))
    with atomic_folder(target, replaces=FILES) as temporary:
        write_nifti(grid.with_data(labels.from_regions(regions)), temporary / LABELS)
        for name, values in maps.items():
            write_nifti(grid.with_data(_bytes(values)), temporary / f"{name}.nii.gz")
        (temporary / STUDY).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts


def _bytes(share: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(share * 255).astype(np.uint8)


def read_facts(folder: Path) -> dict[str, Any]:
    """The facts file of a finished study; empty if it is missing or cannot be read."""
    try:
        facts = Fields(read_json(folder / STUDY, _NO_FACTS), _NO_FACTS.of(folder / STUDY))
        facts.text("key"), facts.text("patient")
        for region in REGIONS:
            facts.part("volumes_ml").number(region)
        if facts.get("agreement", (dict, NoneType), "an object or null") is not None:
            facts.part("agreement").number("mean")
        return dict(facts.values)
    except StudyError:
        return {}


def write_tables(
    folder: Path,
    pool: list[StudyRecord],
    settings: dict[str, Any],
    labels: LabelConvention,
    agreement: float | None,
    report: PseudoReport,
) -> None:
    """Select studies and write both tables."""
    studies, rows = {}, []
    for record in pool:
        if record.id not in report.done and record.id not in report.skipped:
            continue
        facts = read_facts(folder / record.id)
        selected = agreement is None or (facts["agreement"] or {}).get("mean", 0.0) >= agreement
        studies[record.id] = {
            name: facts[name] for name in ("patient", "agreement", "volumes_ml")
        } | {"selected": selected}
        if selected:
            images = {
                str(sequence): _relative(image, folder) for sequence, image in record.images.items()
            }
            rows.append(
                {
                    "id": record.id,
                    "patient": record.patient,
                    **images,
                    "truth": f"{record.id}/{LABELS}",
                }
            )
        else:
            report.left_out[record.id] = (
                f"agreement {facts['agreement']['mean']:.3f} is below {agreement}"
            )
    codes = {"0": "background"} | {str(code): str(tissue) for code, tissue in labels.codes.items()}
    index = settings | {
        "notice": NOTICE,
        "versions": versions_in_use("gliodistill", "numpy", "openvino"),
        "agreement": agreement,
        "studies": studies,
        "left_out": report.left_out,
        "failed": {id: str(error) for id, error in report.failed.items()},
    }
    write_text(folder / INDEX, json.dumps(index, indent=1, ensure_ascii=False) + "\n")
    write_text(
        folder / MANIFEST,
        json.dumps({"labels": codes, "studies": rows}, indent=1, ensure_ascii=False) + "\n",
    )


def _relative(image: ImageFile, folder: Path) -> str:
    """The path of an image relative to ``folder``, so that both may be moved together; absolute if
    there is none.
    """
    path = image.path.resolve()
    try:
        text = Path(os.path.relpath(path, folder.resolve())).as_posix()
    except ValueError:  # another drive
        text = str(path)
    return text if image.channel is None else f"{text}#{image.channel}"
