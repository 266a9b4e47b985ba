"""nnU-Net raw: ``dataset.json`` with ``channel_names``, ``imagesTr/<case>_0000.nii.gz``,
``labelsTr/<case>.nii.gz``.

The first version (``modality`` instead of ``channel_names``) is read too.
"""

import re
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

NAME = "nnunet"


def matches(root: Path) -> bool:
    """Whether there is a ``dataset.json`` with ``channel_names``, or with ``modality`` beside
    numbered files.
    """
    return read_description(root, "channel_names") is not None or (
        read_description(root, "modality") is not None and is_numbered(root)
    )


def find(root: Path) -> Found:
    """Every case of ``imagesTr`` and ``imagesTs``.

    Raises:
        StudyError: no ``dataset.json``, or a channel that is none of the four sequences.
    """
    description = read_description(root, "channel_names") or read_description(root, "modality")
    if description is None:
        raise StudyError(
            "no description",
            file=root / "dataset.json",
            field="channel_names",
            got="nothing",
            expected='{"0": "T1", …}',
        )
    field = "channel_names" if "channel_names" in description else "modality"
    channels = channel_sequences(description[field], root / "dataset.json", field)
    drafts: dict[tuple[str, str], Draft] = {}
    problems, alone = [], {}
    for side in ("Tr", "Ts"):
        for file in nifti_files(root / f"images{side}"):
            match = re.fullmatch(r"(.+)_(\d{4})", stem(file))
            if not match or int(match[2]) not in channels:
                problems.append(
                    Problem(f"not <case>_<channel> with a channel of {field}", file=file)
                )
                continue
            draft = drafts.setdefault((side, match[1]), Draft(match[1], match[1]))
            sequence, spelling = channels[int(match[2])]
            draft.add(sequence, ImageFile(file), spelling)
        for file in nifti_files(root / f"labels{side}"):
            if (side, stem(file)) in drafts:
                drafts[side, stem(file)].add_truth(ImageFile(file))
            else:
                problems.append(Problem("label map without an image", file=file))
                alone[readable(stem(file))] = ImageFile(file)
    for (side, _), draft in drafts.items():
        if side == "Tr" and draft.truth is None:
            draft.note("no label map in labelsTr")
        missing = [
            str(sequence) for sequence, _ in channels.values() if sequence not in draft.images
        ]
        if missing:
            draft.note(f"declared channels without a file: {', '.join(missing)}")
    return gather(NAME, drafts.values(), problems, description.get("labels"), alone)
