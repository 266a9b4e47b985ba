"""Label maps without images: references and predictions.

Flat, ``<id>.nii.gz`` or ``<id>_seg.nii.gz`` (nnU-Net's ``labelsTr``, ``labelsTs`` and its
predictions, MSD), or a folder per case, ``<id>/<id>_seg.nii.gz``, ``<id>/<id>.nii.gz`` or
``<id>/seg.nii.gz``; ``-seg``, ``.nii`` and ``.NII.GZ`` as well.
"""

import re
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any

from gliodistill.studies.layouts.base import TRUTH_SPELLINGS, folders, nifti_files, readable, stem
from gliodistill.studies.layouts.dataset_json import read_description

PROBABILITIES = ("_prob", "-prob")
_SUFFIX = re.compile(rf"[-_](?:{'|'.join(sorted(TRUTH_SPELLINGS))})$", re.IGNORECASE)
_OF_DATASET = re.compile(r"labels(?:Tr|Ts)?|gt_segmentations", re.IGNORECASE)
"""Folders of an nnU-Net data set that hold only label maps; its description is beside them."""


def find_label_maps(folder: Path, known_ids: Collection[str] = ()) -> dict[str, list[Path]]:
    """Id → its label maps (normally one), sorted; probability maps are skipped.

    Args:
        folder: of label maps.
        known_ids: ids of studies, which decide whether a name that ends in ``_seg`` is an id.
    """
    found: dict[str, list[Path]] = defaultdict(list)
    flat = nifti_files(folder)
    ids = {*known_ids, *(id_of(file, known_ids) for file in flat)}
    beside = tuple(f"{id}{mark}" for id in ids for mark in PROBABILITIES)
    for file in flat:
        name = readable(file.name)
        if readable(stem(file)) in known_ids or not name.startswith(beside):
            found[id_of(file, known_ids)].append(file)
    for inner in folders(folder):
        for file in _of_case(inner):
            found[readable(inner.name)].append(file)
    return dict(sorted(found.items()))


def id_of(file: Path, known_ids: Collection[str] = ()) -> str:
    """The id in a label map's name."""
    name = readable(stem(file))
    return name if name in known_ids else _SUFFIX.sub("", name)


def names_beside(folder: Path) -> dict[str, Any] | None:
    """The ``labels`` of the ``dataset.json`` for the label maps in ``folder``; nnU-Net writes it
    into a folder of predictions, and beside ``labelsTr`` and ``labelsTs``.

    Raises:
        StudyError: a malformed ``dataset.json``.
    """
    places = [folder]
    if _OF_DATASET.fullmatch(folder.resolve().name):
        places.append(folder.resolve().parent)
    for place in places:
        description = read_description(place, "labels")
        if description is not None:
            labels: dict[str, Any] = description["labels"]
            return labels
    return None


def _of_case(folder: Path) -> list[Path]:
    """The label maps in a case's folder, which may hold images too: named exactly after the folder,
    or else with a last word for label maps.
    """
    files = nifti_files(folder)
    exact = [
        file for file in files if id_of(file, {readable(folder.name)}) == readable(folder.name)
    ]
    return exact or [
        file for file in files if re.split(r"[-_.]", stem(file))[-1].lower() in TRUTH_SPELLINGS
    ]
