"""Teachers whose preparation must be declared: a graph or a network says nothing of its input."""

import itertools
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import RecipeError
from gliodistill.files import sha256
from gliodistill.images.resampling import axis_matrix, resample
from gliodistill.images.volume import Volume
from gliodistill.inference.tiling import by_windows, padded_sides
from gliodistill.inference.tta import parse_tta
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study
from gliodistill.teachers.base import Live, Prediction, Teacher, View
from gliodistill.teachers.channels import Channels
from gliodistill.teachers.images import stacked

Sides = tuple[int, int, int]


class Declared(Teacher):
    """A network whose input and output are declared.

    It sees the images in RAS, normalised channel by channel, at one voxel size, whole or in
    windows weighted by a Gaussian.

    Args:
        source: file or folder.
        sequences: of the input channels, in order.
        channels: of the output, in order: WT, TC, ET, or background and tissues.
        spacing: voxel size in mm along R, A, S; None = the study's own.
        window: sides in voxels; None = the whole study at once.
        overlap: share that neighbouring windows have in common.
        divisor: sides of the input are multiples of it.
        normalise: ``brain``: z-scores of the voxels that are not 0, channel by channel; ``none``.
        outputs: ``logits`` or ``probabilities``.
        tta: mirrorings to average probabilities over: ``none``, ``all``, or some of x, y, z.

    Raises:
        RecipeError: sequences or channels that are not declared or not understood.
    """

    runs = True
    reorients = True
    """Whether it sees images in RAS; else in the axes of the file."""

    def __init__(
        self,
        source: str,
        *,
        sequences: list[MRSequence] | None = None,
        channels: list[str] | None = None,
        spacing: tuple[float, float, float] | None = None,
        window: Sides | None = None,
        overlap: float = 0.5,
        divisor: int = 16,
        normalise: Literal["brain", "none"] = "brain",
        outputs: Literal["logits", "probabilities"] = "logits",
        tta: str = "none",
    ) -> None:
        for field, got in (("sequences", sequences), ("channels", channels)):
            if not got:
                raise RecipeError(
                    f"{field} of the teacher must be declared", field=field, got=got,
                    expected="names in the order of its channels",
                )  # fmt: skip
        if not 0 <= overlap < 1 or divisor < 1:
            raise RecipeError(
                "option of a teacher out of range", field="overlap, divisor",
                got=f"{overlap}, {divisor}", expected="0 to below 1; 1 or more",
            )  # fmt: skip
        assert sequences is not None and channels is not None
        self.path, self.sequences = Path(source), tuple(sequences)
        self.channels = Channels.named(channels, "channels")
        self.spacing, self.patch = spacing, window
        self.overlap, self.divisor, self.normalise, self.outputs = (
            overlap, divisor, normalise, outputs,
        )  # fmt: skip
        self.mirrorings = parse_tta(tta)
        self.declared: dict[str, Any] = {
            "sequences": [str(s) for s in self.sequences],
            "channels": list(channels),
            "spacing": spacing,
            "window": window,
            "overlap": overlap,
            "divisor": divisor,
            "normalise": normalise,
            "outputs": outputs,
            "tta": tta,
        }

    @abstractmethod
    def run(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs (B K X Y Z) for images (B C X Y Z)."""

    @property
    def files(self) -> Sequence[Path]:
        """The files that decide its outputs."""
        return [self.path]

    def facts(self, id: str) -> dict[str, Any]:
        """Digests of its files, and what is declared."""
        return {"files": {f.name: sha256(f) for f in self.files}, "declared": self.declared}

    def live(self) -> Live:
        """Its network, or its graph, which has no stages.

        Raises:
            RecipeError: mirrorings are asked for, which cost several passes a step.
        """
        from gliodistill.teachers.wrapped import Graph

        if len(self.mirrorings) > 1:
            raise RecipeError(
                "a live teacher sees each patch once", field="tta", got=self.declared["tta"],
                expected="none", hint="or ask it once, before training: live: false",
            )  # fmt: skip
        network = self.as_network() or Graph(self.run, self.divisor, str(self.path))
        return Live(network, self.channels, self.outputs == "probabilities")

    def see(self, study: Study) -> View:
        """The study in RAS, or as its file has it, normalised, at its voxel size."""
        grid, image = self._grid(study), stacked(study, self.sequences)
        if self.reorients:
            turned = [study.grid.with_data(each).canonical().data for each in image]
            image = np.stack(turned)
        if self.normalise == "brain":
            for channel in image:
                z_scores(channel)
        steps = self._steps(grid)
        sides = [max(1, round(n / f)) for n, f in zip(grid.shape, steps, strict=True)]
        affine = np.diag([*steps, 1.0])
        affine[:3, 3] = (np.array(steps) - 1) / 2
        if sides != list(grid.shape):
            image = _resampled(image, sides, steps)
        return View(image, grid.affine @ affine)

    def _grid(self, study: Study) -> Volume:
        """The study's grid with the axes that it sees."""
        return study.grid.canonical() if self.reorients else study.grid

    def _steps(self, grid: Volume) -> list[float]:
        """Its voxel size in those of the grid it sees."""
        target = self.spacing or grid.spacing
        return [new / old for new, old in zip(target, grid.spacing, strict=True)]

    def predict(self, study: Study) -> Prediction:
        """Its probabilities on the study's grid."""
        image, grid = self.see(study).image, self._grid(study)
        sides = list(image.shape[1:])
        total = np.zeros((3, *sides), dtype=np.float32)
        for mirroring in self.mirrorings:
            axes = tuple(axis + 1 for axis in mirroring)
            total += np.flip(self._regions(np.ascontiguousarray(np.flip(image, axes))), axes)
        total /= len(self.mirrorings)
        if sides != list(grid.shape):
            back = [1 / step for step in self._steps(grid)]
            total = _resampled(total, list(grid.shape), back)
        if self.reorients:
            total = study.grid.from_canonical(total)
        return Prediction(np.ascontiguousarray(total))

    def _regions(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities of WT, TC, ET for an image at its voxel size."""
        if self.patch is None:
            sides = padded_sides(_three(image.shape[1:]), self.divisor)
            padding = [(0, new - old) for new, old in zip(sides, image.shape[1:], strict=True)]
            inner = (slice(None), *(slice(0, side) for side in image.shape[1:]))
            found = self.run(np.pad(image, [(0, 0), *padding])[None])[0][inner]
        else:
            slabs = by_windows(image, self.run, self.patch, self.overlap, 1)
            found = np.concatenate(list(slabs), axis=1)
        self.channels.check_count(len(found), self.path)
        if self.outputs == "logits":
            return self.channels.probabilities(found)
        return self.channels.regions(found)


def z_scores(channel: NDArray[np.float32]) -> None:
    """Z-scores of the voxels that are not 0, in place, as ``NormalizeIntensity(nonzero=True)``."""
    inside = channel != 0
    if inside.any():
        values = channel[inside]
        channel[inside] = (values - values.mean()) / (values.std() or np.float32(1))


def _resampled(
    image: NDArray[np.float32], sides: list[int], factors: list[float]
) -> NDArray[np.float32]:
    triples = zip(image.shape[1:], sides, factors, strict=True)
    return resample(image, tuple(itertools.starmap(axis_matrix, triples)))


def _three(sides: tuple[int, ...]) -> Sides:
    x, y, z = sides
    return x, y, z
