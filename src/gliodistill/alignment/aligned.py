"""An aligned study: its images on one grid, and the way back to every scan."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.alignment.carrying import carry_labels, inverse
from gliodistill.alignment.writing import write_study
from gliodistill.errors import ImageError, StudyError
from gliodistill.images.volume import Volume
from gliodistill.studies.naming import parse_sequence
from gliodistill.studies.sequence import MRSequence

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AlignedStudy:
    """What :func:`~gliodistill.alignment.study.align_study` gives.

    Attributes:
        images: sequence → float32 on one isotropic grid, 0 outside the brain; the very arrays given
            where the study is ``untouched``.
        brain: uint8 on that grid, 1 in the brain.
        scans: sequence → the grid of the scan as it was given, without its voxels; also of those
            left out.
        reference: the scan that the others are aligned with.
        space: ``reference``, ``t1ce`` or ``mni``.
        matrices: sequence → 4×4 float64, points of the common grid → points of the scan, mm, RAS+.
        steps: sequence → what was done and why: ``text``, and numbers.
        flags: doubts and what was left out, in words.
        seconds: stage → wall-clock.
        untouched: whether it was aligned and stripped already.
    """

    images: Mapping[MRSequence, Volume]
    brain: Volume
    scans: Mapping[MRSequence, Volume]
    reference: MRSequence
    space: str
    matrices: Mapping[MRSequence, Matrix]
    steps: Mapping[MRSequence, Mapping[str, Any]]
    flags: tuple[str, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)
    untouched: bool = False

    @property
    def grid(self) -> Volume:
        """Shape and affine of the common grid."""
        return self.brain

    def label_map_on(self, labels: Volume | NDArray[Any], sequence: str) -> Volume:
        """A label map of the common grid on the grid of a scan.

        Args:
            labels: integer codes on the common grid.
            sequence: of the scan.

        Returns:
            The codes on the scan's own grid, by linear interpolation of each class.

        Raises:
            StudyError: no such scan in the study.
            ImageError: ``labels`` is not on the common grid.
        """
        codes = self._on_grid(labels)
        scan, matrix = self._scan(sequence)
        if self.untouched:
            return scan.with_data(codes.data)
        return carry_labels(codes, scan, inverse(matrix))

    def label_map_from(self, labels: Volume, sequence: str) -> Volume:
        """A label map of a scan's own grid on the common grid.

        Raises:
            StudyError: no such scan in the study.
            ImageError: ``labels`` is not on the scan's grid.
        """
        scan, matrix = self._scan(sequence)
        if not labels.same_grid(scan):
            raise ImageError(
                "label map on another grid than its scan",
                field=sequence,
                got=labels.difference(scan),
                expected="the grid of the scan",
            )
        if self.untouched:
            return self.grid.with_data(labels.data)
        return carry_labels(labels, self.grid, matrix)

    def write(self, folder: str | PathLike[str]) -> None:
        """Write the study in BraTS layout; the name of the folder is its id.

        ``<id>_<sequence>.nii.gz``, ``<id>_brainmask.nii.gz``, ``<sequence>.tfm`` (ITK; common grid
        → scan, mm, LPS+) and ``study.json`` with every decision.

        Raises:
            OutputError: the folder is there and not empty, or cannot be written.
        """
        write_study(self, folder)

    def as_dict(self) -> dict[str, Any]:
        """Every decision as plain values."""
        return {
            "reference": str(self.reference),
            "space": self.space,
            "untouched": self.untouched,
            "shape": list(self.grid.shape),
            "spacing_mm": [round(side, 4) for side in self.grid.spacing],
            "brain_ml": round(float(self.brain.data.sum()) * self.brain.voxel_ml, 1),
            "sequences": {str(s): dict(step) for s, step in self.steps.items()},
            "left_out": [str(s) for s in self.scans if s not in self.images],
            "flags": list(self.flags),
            "seconds": dict(self.seconds),
        }

    def _scan(self, sequence: str) -> tuple[Volume, Matrix]:
        name = parse_sequence(sequence)
        if name not in self.matrices:
            raise StudyError(
                "no such scan in the aligned study",
                field="sequence",
                got=sequence,
                expected=", ".join(self.matrices),
            )
        return self.scans[name], self.matrices[name]

    def _on_grid(self, labels: Volume | NDArray[Any]) -> Volume:
        if not isinstance(labels, Volume):
            return self.grid.with_data(labels)
        if not labels.same_grid(self.grid):
            raise ImageError(
                "label map on another grid than the aligned study",
                got=labels.difference(self.grid),
                expected="the common grid",
            )
        return labels
