"""Medical Segmentation Decathlon: ``dataset.json`` with ``modality``, 4-D
``imagesTr/<case>.nii.gz``, ``labelsTr/``.
"""

from pathlib import Path

from gliodistill.errors import StudyError
from gliodistill.studies.layouts.base import Draft, Found, gather, nifti_files, readable, stem
from gliodistill.studies.layouts.dataset_json import (
    channel_sequences,
    is_numbered,
    read_description,
)
from gliodistill.studies.problem import Problem
from gliodistill.studies.records import ImageFile

NAME = "msd"


def matches(root: Path) -> bool:
    """Whether there is a ``dataset.json`` with ``modality`` and images that are not one file per
    channel.
    """
    description = read_description(root, "modality")
    return description is not None and not is_numbered(root)


def find(root: Path) -> Found:
    """Every case of ``imagesTr`` and ``imagesTs``; channels by their declared names.

    Raises:
        StudyError: no ``dataset.json``, or a modality that is none of the four sequences.
    """
    description = read_description(root, "modality")
    if description is None:
        raise StudyError(
            "no description",
            file=root / "dataset.json",
            field="modality",
            got="nothing",
            expected='{"0": "FLAIR", …}',
        )
    channels = channel_sequences(description["modality"], root / "dataset.json", "modality")
    drafts, problems, alone = [], [], {}
    for side in ("Tr", "Ts"):
        images = nifti_files(root / f"images{side}")
        labels = {stem(file): file for file in nifti_files(root / f"labels{side}")}
        for file in images:
            draft = Draft(stem(file), stem(file))
            for channel, (sequence, spelling) in channels.items():
                draft.add(sequence, ImageFile(file, channel), spelling)
            if stem(file) in labels:
                draft.add_truth(ImageFile(labels[stem(file)]))
            elif side == "Tr":
                draft.note("no label map in labelsTr")
            drafts.append(draft)
        for orphan in sorted(labels.keys() - {stem(file) for file in images}):
            problems.append(Problem("label map without an image", file=labels[orphan]))
            alone[readable(orphan)] = ImageFile(labels[orphan])
    return gather(NAME, drafts, problems, description.get("labels"), alone)
