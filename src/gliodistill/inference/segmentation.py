"""What comes out: label codes and regions on the study's own grid."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.images.volume import Volume
from gliodistill.studies.labels import REGIONS, LabelConvention


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The answer for one study. Research use, not a medical device.

    Attributes:
        id: of the study.
        labels: codes of ``convention`` (uint8, X Y Z) on the study's own grid.
        regions: WT, TC, ET (bool, 3 X Y Z), nested.
        convention: what the codes mean.
        model: name of the model.
        fingerprint: SHA-256 of the model package.
        seconds: stage → seconds it took.
    """

    id: str
    labels: Volume
    regions: NDArray[np.bool_]
    convention: LabelConvention
    model: str
    fingerprint: str
    seconds: Mapping[str, float]

    @property
    def volumes_ml(self) -> dict[str, float]:
        """Region → volume in ml."""
        return {region: float(mask.sum()) * self.labels.voxel_ml for region, mask in zip(REGIONS, self.regions, strict=True)}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the labels as NIfTI, whole or not at all. The header carries geometry and nothing about the patient.

        Raises:
            OutputError: it cannot be written.
        """
        from gliodistill.images.nifti import write_nifti

        write_nifti(self.labels, path)

    def summary(self) -> dict[str, Any]:
        """As JSON: volumes (ml), seconds, the model and the label convention."""
        return {
            "id": self.id,
            "volumes_ml": {region: round(volume, 4) for region, volume in self.volumes_ml.items()},
            "seconds": {stage: round(seconds, 3) for stage, seconds in self.seconds.items()},
            "labels": {"convention": self.convention.name, "codes": {str(c): str(t) for c, t in self.convention.codes.items()}},
            "model": {"name": self.model, "sha256": self.fingerprint},
            "notice": "Research use, not a medical device.",
        }
