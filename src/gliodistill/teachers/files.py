"""The teacher from files: probability maps or label maps that any tool wrote."""

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gliodistill.documents import Refusal, read_json
from gliodistill.errors import ImageError, LabelError, StudyError
from gliodistill.files import sha256
from gliodistill.images.nifti import read_labels
from gliodistill.images.volume import Volume
from gliodistill.studies.label_names import by_names
from gliodistill.studies.labels import REGIONS, LabelConvention, find_convention, how_to_declare
from gliodistill.studies.records import StudyRecord
from gliodistill.studies.study import Study
from gliodistill.teachers.base import Prediction, Teacher
from gliodistill.teachers.channels import Channels, told_by_values
from gliodistill.teachers.forms import Stored, find_stored, read_archive, read_images
from gliodistill.teachers.nnunet.plans import PLANS, READERS
from gliodistill.teachers.registry import register_teacher

DESCRIPTION = "dataset.json"
_NO_DESCRIPTION = Refusal(StudyError, "not a description of nnU-Net")
TOLERANCE = 1e-3
"""Of probabilities beyond 0 and 1 (scaled headers round)."""
AGREEMENT = 0.8
"""Least share of the tumour that probabilities and the label map beside them have in common:
clean-up and the arg-max of classes take less away, a flipped axis more.
"""

Values = Literal["probabilities", "bytes", "logits"]


@register_teacher("files")
class FromFiles(Teacher):
    """Probability maps or label maps that any tool wrote, a study each.

    Args:
        source: the folder; :mod:`gliodistill.teachers.forms` lists the forms.
        channels: names of the channels in order: WT, TC, ET or background and tissues. None =
            nnU-Net's ``dataset.json`` in the folder says it, or the values do (nested regions).
        values: ``probabilities`` (0 to 1), ``bytes`` (0 to 255) or ``logits``; None = told by the
            values, but for logits.
        labels: label convention of label maps; None = ``dataset.json`` says it.

    Raises:
        StudyError: no such folder.
        LabelError: a ``dataset.json`` whose labels are not understood.
    """

    def __init__(
        self,
        source: str,
        *,
        channels: list[str] | None = None,
        values: Values | None = None,
        labels: str | None = None,
    ) -> None:
        self.folder = Path(source)
        if not self.folder.is_dir():
            raise StudyError(
                "no folder of a teacher's outputs",
                file=self.folder,
                expected="a folder with an output for every study",
            )
        self.values = values
        self.channels = None if channels is None else Channels.named(channels, "channels")
        self.convention = None if labels is None else find_convention(labels)
        self._told: Channels | None = None

    def check(self, record: StudyRecord) -> None:
        """Check that an output is stored for the study; it is read later."""
        find_stored(self.folder, record.id)

    def predict(self, study: Study) -> Prediction:
        """The stored output for the study, on its grid.

        Raises:
            StudyError: none is stored, or it is on another grid.
            LabelError: its channels or codes are not understood.
            ImageError: a file that cannot be trusted.
        """
        stored = find_stored(self.folder, study.id)
        if stored.form == "labels":
            return Prediction(self._hard(stored, study), hard=True)
        if stored.form == "npz":
            found = self._archive(stored.files[0], study)
        else:
            volumes = read_images(stored)
            for volume, file in zip(volumes, stored.files * len(volumes), strict=False):
                _check_grid(volume, study, file)
            found = np.stack([volume.data for volume in volumes])
        file = stored.files[0]
        meaning = (
            Channels.named(REGIONS, "channels")
            if stored.form == "regions"
            else self._meaning(found, file)
        )
        meaning.check_count(len(found), file)
        if self.values == "logits":
            return Prediction(meaning.probabilities(found))
        probability = self._probabilities(found, file)
        if stored.label_map is not None:
            self._check_beside(stored.label_map, probability, study)
        regions = meaning.regions(probability)
        hard = bool(np.isin(probability, (0, 1)).all()) and bool(regions.any())
        return Prediction(regions, hard)

    def facts(self, id: str) -> dict[str, Any]:
        """Digests of the study's files and of ``dataset.json``, and the options."""
        stored = find_stored(self.folder, id)
        files = [*stored.files, *filter(None, [stored.label_map])]
        files += [file for n in (DESCRIPTION, PLANS) if (file := self.folder / n).is_file()]
        return {
            "files": {file.name: sha256(file) for file in files},
            "values": self.values,
            "channels": None if self.channels is None else [self.channels.kind, self._members()],
            "labels": None if self.convention is None else self.convention.name,
        }

    def _archive(self, file: Path, study: Study) -> NDArray[np.float32]:
        """nnU-Net's array on the study's grid; its reader may have turned the images to RAS."""
        if not self._reorients:
            return read_archive(file, study.grid.shape)
        turned = read_archive(file, study.grid.canonical().shape)
        return np.ascontiguousarray(study.grid.from_canonical(turned))

    @cached_property
    def _reorients(self) -> bool:
        """Whether nnU-Net's reader turned the images to RAS, told by its ``plans.json``."""
        file = self.folder / PLANS
        if not file.is_file():
            return False
        reader = str(read_json(file, _NO_DESCRIPTION).get("image_reader_writer"))
        if reader not in READERS:
            raise StudyError(
                "reader of nnU-Net with axes of its own",
                file=file,
                field="image_reader_writer",
                got=reader,
                expected=", ".join(READERS),
                hint="give the probabilities as NIfTI",
            )
        return READERS[reader]

    def _members(self) -> list[list[int]]:
        assert self.channels is not None
        return [list(each) for each in self.channels.members]

    @cached_property
    def _description(self) -> dict[str, Any] | None:
        """nnU-Net's ``dataset.json``, which its predictor writes beside its outputs."""
        file = self.folder / DESCRIPTION
        if not file.is_file():
            return None
        values: dict[str, Any] = read_json(file, _NO_DESCRIPTION)
        return values

    def _meaning(self, found: NDArray[np.float32], file: Path) -> Channels:
        """Declared, described, or told by the values: then the same for every study."""
        if self.channels is not None:
            return self.channels
        if self._description is not None:
            return Channels.of_labels(self._description, self.folder / DESCRIPTION)
        if self.values == "logits":
            raise LabelError(
                "channels of logits must be declared", file=file, field="channels",
                expected=f"{', '.join(REGIONS)}, or background and tissues, in their order",
            )  # fmt: skip
        told = told_by_values(self._probabilities(found, file), file)
        if self._told is None:
            self._told = told
        elif told != self._told and not _alike(found, told, self._told):
            raise LabelError(
                "channels in another order than in the studies before",
                file=file,
                field="channels",
                got=[each[0] for each in told.members],
                expected=[each[0] for each in self._told.members],
                hint="declare them, e.g. channels: [WT, TC, ET]",
            )
        return self._told

    def _probabilities(self, found: NDArray[np.float32], file: Path) -> NDArray[np.float32]:
        """Stored values → probabilities."""
        low, high = float(found.min()), float(found.max())
        whole = high > 1 and bool((found == np.rint(found)).all())
        kind = self.values or ("bytes" if whole else "probabilities")
        most = 255 if kind == "bytes" else 1
        if not (np.isfinite(found).all() and low >= -TOLERANCE and high <= most + TOLERANCE):
            raise ImageError(
                "not probabilities",
                file=file,
                field="values",
                got=f"values from {low:g} to {high:g}",
                expected="0 to 1, or whole numbers up to 255",
                hint="declare logits with values: logits",
            )
        clipped: NDArray[np.float32] = np.clip(found / np.float32(most), 0, 1)
        return clipped

    def _hard(self, stored: Stored, study: Study) -> NDArray[np.float32]:
        """A label map as regions."""
        file = stored.files[0]
        volume, convention = read_labels(file), self._label_convention(file)
        _check_grid(volume, study, file)
        try:
            return convention.to_regions(volume.data).astype(np.float32)
        except LabelError as error:
            raise LabelError(
                error.problem, file=file, field=error.field, got=error.got,
                expected=error.expected, hint=error.hint,
            ) from error  # fmt: skip

    def _label_convention(self, file: Path) -> LabelConvention:
        if self.convention is not None:
            return self.convention
        if self._description is not None and isinstance(self._description.get("labels"), dict):
            return by_names(self._description["labels"], str(self.folder / DESCRIPTION))
        raise LabelError(
            "label convention of the teacher's label maps is not known",
            file=file,
            field="labels",
            expected="its name",
            hint=how_to_declare(),
        )

    def _check_beside(self, file: Path, probability: NDArray[np.float32], study: Study) -> None:
        """Check an archive against the label map that nnU-Net wrote with it: the grid, and, where
        its channels are classes, which voxels are tumour.
        """
        volume = read_labels(file)
        _check_grid(volume, study, file)
        if self._description is None:
            return
        meaning = Channels.of_labels(self._description, self.folder / DESCRIPTION)
        convention = by_names(self._description["labels"], str(self.folder / DESCRIPTION))
        expected = convention.to_regions(volume.data)[0]
        drawn = meaning.regions(probability)[0] > 0.5
        tumour = (drawn | expected).sum()
        if tumour and (drawn & expected).sum() < AGREEMENT * tumour - 1:
            share = float((drawn & expected).sum() / tumour)
            raise StudyError(
                "probabilities and label map of one study disagree",
                file=file,
                field="whole tumour",
                got=f"{share:.0%} of the voxels of either in both",
                expected=f"{AGREEMENT:.0%}",
                hint="give probabilities and label map of the same prediction",
            )


def _alike(found: NDArray[np.float32], one: Channels, other: Channels) -> bool:
    """Whether two orders give the same regions but for rounding, as where two channels are 0."""
    return bool(np.abs(one.regions(found) - other.regions(found)).max() <= 0.05)


def _check_grid(volume: Volume, study: Study, file: Path) -> None:
    if not volume.same_grid(study.grid):
        raise StudyError(
            "the teacher's output is on another grid",
            file=file,
            field=study.id,
            got=volume.difference(study.grid),
            expected="the grid of the study's images",
            hint="export the probabilities on the grid of the images",
        )
