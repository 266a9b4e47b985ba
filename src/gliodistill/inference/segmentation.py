"""A segmentation: label codes and regions on the study's own grid."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.images.volume import Volume
from gliodistill.inference.cases.base import Preprocessing
from gliodistill.models.spec import Step
from gliodistill.studies.labels import LabelConvention
from gliodistill.studies.records import Sources
from gliodistill.studies.sequence import MRSequence
from gliodistill.tasks.catalogue import glioma
from gliodistill.tasks.task import Task
from gliodistill.trust.assessment import Quality

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gliodistill.studies.study import Study


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The segmentation of one study. Research use, not a medical device.

    Attributes:
        id: of the study.
        labels: codes of ``convention`` (uint8, X Y Z) on the study's own grid; of scans, on that
            of the reference sequence.
        convention: meaning of the codes.
        volumes_ml: region → volume in ml.
        quality: expected quality and flags.
        model: name of the model.
        fingerprint: SHA-256 of the model package.
        precision: precision requested of the runtime; None = the model's default.
        tta: mirrorings that were averaged, by axes (``""`` is the image as it is).
        postprocessing: clean-up steps that were applied.
        seconds: stage → seconds taken.
        probabilities: · 255 of the regions (uint8, R X Y Z) on the study's own grid, nested, before
            any clean-up; None unless asked for.
        sources: the file of each sequence that was used, and unused files.
        absent: sequences that the model takes and the study lacks.
        runtime: what ran the network.
        device: where: ``cpu`` or ``cuda``.
        plugins: what other packages added to it → the package and its version.
        preprocessing: what was done to the images before.
        on_series: sequence → labels on the grid of that series; empty of a prepared study.
        task: what was segmented.
    """

    id: str
    labels: Volume
    convention: LabelConvention
    volumes_ml: Mapping[str, float]
    quality: Quality
    model: str
    fingerprint: str
    precision: str | None
    tta: Sequence[str]
    postprocessing: Sequence[Step]
    seconds: Mapping[str, float]
    probabilities: NDArray[np.uint8] | None = None
    sources: Sources = field(default_factory=Sources)
    absent: Sequence[MRSequence] = ()
    runtime: str = "openvino"
    device: str = "cpu"
    plugins: Mapping[str, str] = field(default_factory=dict)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    on_series: Mapping[MRSequence, Volume] = field(default_factory=dict)
    task: Task = field(default_factory=glioma)

    def __repr__(self) -> str:
        volumes = ", ".join(f"{region} {ml:.1f}" for region, ml in self.volumes_ml.items())
        doubts = f"; {len(self.quality.flags)} doubts" if self.quality.flags else ""
        return (
            f"<Segmentation {self.id}: {volumes} ml by {self.model},"
            f" labels {self.convention.name}{doubts}>"
        )

    @property
    def regions(self) -> NDArray[np.bool_]:
        """The regions of the task (bool, R X Y Z), nested."""
        return self.task.regions_of(self.labels.data, self.convention)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the labels as NIfTI, atomically. The header holds only geometry, no patient data.

        Raises:
            OutputError: it cannot be written.
        """
        from gliodistill.images.nifti import write_nifti

        write_nifti(self.labels, path)

    def plot(
        self, image: "Study | Volume | None" = None, sequence: MRSequence | str | None = None
    ) -> "Figure":
        """Draw the regions in three planes, a matplotlib figure; shown by a notebook, or saved by
        its ``savefig``.

        Args:
            image: the study, or one image on its grid, to draw behind the outlines.
            sequence: which of the study's images; None = FLAIR, or else the next that is there.

        Raises:
            GliodistillError: matplotlib is not installed.
            StudyError: another grid, or the study lacks the sequence.
        """
        from gliodistill.inference.plotting import plot_segmentation

        return plot_segmentation(self, image, sequence)

    def save_probabilities(self, path: str | os.PathLike[str]) -> None:
        """Write the probabilities as one 4-D NIfTI of the regions (stored · 255, scaled back by the
        header), as :meth:`save`.
        """
        from gliodistill.images.nifti import write_channels

        assert self.probabilities is not None
        write_channels(
            [self.labels.with_data(region) for region in self.probabilities], path, slope=1 / 255
        )

    def summary(self) -> dict[str, Any]:
        """As JSON: sequences and their files, volumes (ml), predicted Dice and flags, seconds,
        model, settings and label convention.
        """
        return {
            "id": self.id,
            "sequences": {
                "used": {str(sequence): file for sequence, file in self.sources.used.items()},
                "absent": [str(sequence) for sequence in self.absent],
                "unused": dict(self.sources.unused),
            },
            "preprocessing": self.preprocessing.summary(),
            "volumes_ml": {region: round(volume, 4) for region, volume in self.volumes_ml.items()},
            "quality": self.quality.summary(),
            "seconds": {stage: round(seconds, 3) for stage, seconds in self.seconds.items()},
            "labels": {
                "convention": self.convention.name,
                "codes": {str(c): str(t) for c, t in self.convention.codes.items()},
            },
            "model": {"name": self.model, "sha256": self.fingerprint},
            **({} if self.task == glioma() else {"task": self.task.name}),
            "runtime": self.runtime,
            "device": self.device,
            "precision": self.precision,
            "tta": list(self.tta),
            "postprocessing": [asdict(step) for step in self.postprocessing],
            **({"plugins": dict(self.plugins)} if self.plugins else {}),
            "notice": "Research use, not a medical device.",
        }
