"""Studies as a scanner leaves them: heads with skull, every sequence on its own grid, moved between
them; with the truth on each grid and the movements.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.documents import Refusal, read_json
from gliodistill.errors import GliodistillError
from gliodistill.files import (
    atomic_folder,
    check_writable,
    make_folder,
    remove_leftovers,
    write_text,
)
from gliodistill.images.volume import Volume
from gliodistill.phantom.anatomy import rotation
from gliodistill.phantom.cohort import SPACING_MM, case_name, make_phantom
from gliodistill.phantom.contrast import CHANNELS
from gliodistill.phantom.drawing import draw_parameters
from gliodistill.phantom.fields import FIELD_MM, smooth_noise
from gliodistill.phantom.head import Head, make_head
from gliodistill.phantom.parameters import PhantomParameters
from gliodistill.progress import track
from gliodistill.studies.labels import BRATS2021
from gliodistill.studies.sequence import MRSequence

TURN_DEG, SHIFT_MM = 3.0, 4.0
"""How far a head moves between two sequences, at most, about and along each axis."""

TILT_DEG = 12.0
"""How far slices are tilted from the axes of the scanner, about the axis from left to right."""

VIEW_MM = (230.0, 230.0)
SLAB_MM = {"axial": 165.0, "sagittal": 170.0, "coronal": 205.0}
"""Field of view in the plane, and across the slices."""

SCANS, TRUTH = "scans", "truth"
RECORD = "phantom.json"

PLANES = {"axial": (0, 1), "sagittal": (1, 2), "coronal": (0, 2)}
"""Which axes of the head are columns and rows."""


@dataclass(frozen=True)
class Protocol:
    """How a sequence is acquired.

    Attributes:
        plane: a key of :data:`PLANES`.
        pixel_mm: side of a pixel.
        thickness_mm: of a slice.
        gap_mm: between slices.
    """

    plane: str
    pixel_mm: float
    thickness_mm: float
    gap_mm: float

    @property
    def thin(self) -> bool:
        """Whether it is acquired in 3-D."""
        return self.thickness_mm <= 1.5


THICK = {
    MRSequence.T1: Protocol("axial", 0.9, 5.0, 1.0),
    MRSequence.T1CE: Protocol("axial", 0.9, 5.0, 1.0),
    MRSequence.T2: Protocol("axial", 0.6, 5.0, 1.0),
    MRSequence.FLAIR: Protocol("axial", 0.8, 5.0, 1.0),
}
THIN = {
    MRSequence.T1: Protocol("sagittal", 1.0, 1.0, 0.0),
    MRSequence.T1CE: Protocol("axial", 1.0, 1.2, 0.0),
    MRSequence.T2: Protocol("coronal", 0.8, 3.0, 0.3),
    MRSequence.FLAIR: Protocol("sagittal", 1.0, 1.2, 0.0),
}


@dataclass(frozen=True, eq=False)
class RawStudy:
    """What :func:`make_raw` gives.

    Attributes:
        id: the case.
        images: sequence → float32 with integer values, on its own grid.
        truth: sequence → uint8, BraTS ≤ 2021 codes on that grid.
        brains: sequence → uint8, 1 in the brain.
        motion: sequence → 4×4 that takes mm in the scanner (RAS+) to mm in the head, the same for
            all sequences.
        protocols: sequence → how it was acquired.
        skull: whether the head is there.
    """

    id: str
    images: Mapping[MRSequence, Volume]
    truth: Mapping[MRSequence, Volume]
    brains: Mapping[MRSequence, Volume]
    motion: Mapping[MRSequence, NDArray[np.float64]]
    protocols: Mapping[MRSequence, Protocol]
    skull: bool = True


def make_raw(seed: int, index: int, spacing: float = 1.0, difficulty: float = 1.0) -> RawStudy:
    """One synthetic study as scanned.

    Args:
        seed: the cohort's, as in :func:`~gliodistill.phantom.cohort.make_phantom`.
        index: which study of it.
        difficulty: 0 to 2.
        spacing: of the head that is scanned, and the finest voxel of the scans, in mm.

    Raises:
        GliodistillError: an argument out of range.
    """
    if not SPACING_MM[0] <= spacing <= SPACING_MM[1]:
        raise GliodistillError(
            "no such spacing",
            field="spacing",
            got=spacing,
            expected=f"{SPACING_MM[0]} to {SPACING_MM[1]} mm",
        )
    parameters = draw_parameters(seed, index, difficulty, ())
    head = make_head(parameters, spacing)
    rng = np.random.default_rng([seed, index, 24])
    tilt = rng.uniform(-TILT_DEG, TILT_DEG)
    images, truth, brains, motion, protocols = {}, {}, {}, {}, {}
    for sequence in MRSequence:
        protocol = (THICK if rng.random() < 0.5 else THIN)[sequence]
        moved = np.eye(4)
        moved[:3, :3] = rotation(tuple(rng.uniform(-TURN_DEG, TURN_DEG, 3)))
        moved[:3, 3] = rng.uniform(-SHIFT_MM, SHIFT_MM, 3)
        grid = _grid(protocol, spacing, tilt + rng.uniform(-2, 2))
        images[sequence], truth[sequence], brains[sequence] = _scan(
            parameters, head, sequence, grid, moved, protocol, spacing
        )
        motion[sequence], protocols[sequence] = moved, protocol
    return RawStudy(case_name(seed, index), images, truth, brains, motion, protocols)


def stripped(seed: int, index: int, spacing: float = 1.0, difficulty: float = 1.0) -> RawStudy:
    """The study of :func:`~gliodistill.phantom.cohort.make_phantom` in this form: one grid, no
    skull, nothing moved.
    """
    study = make_phantom(seed, index, spacing, difficulty)
    assert study.truth is not None
    everywhere = dict.fromkeys(study.images)
    brains = {
        s: image.with_data((image.data > 0).astype(np.uint8)) for s, image in study.images.items()
    }
    return RawStudy(
        study.id,
        study.images,
        {s: study.truth for s in everywhere},
        brains,
        {s: np.eye(4) for s in everywhere},
        {s: Protocol("axial", spacing, spacing, 0.0) for s in everywhere},
        skull=False,
    )


def _grid(protocol: Protocol, spacing: float, tilt: float) -> Volume:
    """An empty image of a protocol around the middle of the scanner."""
    pixel = max(protocol.pixel_mm, spacing)
    step = max(protocol.thickness_mm + protocol.gap_mm, spacing)
    shape = (
        *(round(view / pixel) for view in VIEW_MM),
        max(2, round(SLAB_MM[protocol.plane] / step)),
    )
    columns, rows = PLANES[protocol.plane]
    axes = np.zeros((3, 3))
    # As scanners do: columns to the left or to the back, rows to the back or downwards.
    axes[columns, 0], axes[rows, 1] = -1, -1
    axes[:, 2] = np.cross(axes[:, 0], axes[:, 1])
    axes = rotation((tilt, 0.0, 0.0)) @ axes
    affine = np.eye(4)
    affine[:3, :3] = axes * np.array([pixel, pixel, step])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Volume(np.zeros(shape, np.float32), affine)


def _scan(
    parameters: PhantomParameters,
    head: Head,
    sequence: MRSequence,
    grid: Volume,
    moved: NDArray[np.float64],
    protocol: Protocol,
    spacing: float,
) -> tuple[Volume, Volume, Volume]:
    """Image, label map and brain of one sequence."""
    from scipy import ndimage

    channel, artefacts = CHANNELS[sequence], parameters.artefacts
    thickness = max(protocol.thickness_mm, spacing)
    samples = max(1, round(thickness / spacing))
    # Scanner mm → head mm → voxels of the head, whose middle is that of the field.
    start = np.array([axis[0] for axis in head.grid.axes]) - (np.array(FIELD_MM) - 1) / 2
    to_voxels = np.diag([1 / spacing] * 3 + [1.0])
    to_voxels[:3, 3] = -start / spacing
    matrix = to_voxels @ moved @ grid.affine
    step = np.linalg.norm(grid.affine[:3, 2])
    offsets = ((np.arange(samples) + 0.5) / samples - 0.5) * thickness / step

    def sample(values: NDArray[Any]) -> NDArray[np.float32]:
        total = np.zeros(grid.shape, np.float32)
        for offset in offsets:
            total += ndimage.affine_transform(
                values,
                matrix[:3, :3],
                matrix[:3, 3] + matrix[:3, 2] * offset,
                output_shape=grid.shape,
                output=np.float32,
                order=1,
                mode="constant",
            )
        return total / np.float32(samples)

    biased = head.images[sequence] * np.exp(
        np.float32(artefacts.bias[channel])
        * smooth_noise(artefacts.seed + channel, 70.0, head.grid)
    )
    seen = sample(ndimage.gaussian_filter(biased, artefacts.blur_mm[channel] / spacing, truncate=3))
    rng = np.random.default_rng([artefacts.seed, channel, 24])
    amount = np.float32(artefacts.noise[channel])
    seen = np.hypot(
        seen + amount * rng.standard_normal(grid.shape, dtype=np.float32),
        amount * rng.standard_normal(grid.shape, dtype=np.float32),
    )
    scaled = np.clip(np.rint(seen * parameters.contrast.scale[channel]), 0, 4095)
    regions = np.stack([sample(region.astype(np.float32)) > 0.5 for region in head.regions])
    brain = sample(head.brain.astype(np.float32)) > 0.5
    return (
        grid.with_data(scaled.astype(np.float32)),
        grid.with_data(BRATS2021.from_regions(regions)),
        grid.with_data(brain.astype(np.uint8)),
    )


Writer = Callable[[RawStudy, Path], None]
_NO_PHANTOM = Refusal(
    GliodistillError, "folder is no phantom", "remove it or choose another folder"
)


def write_scans(
    out: str | os.PathLike[str],
    n: int,
    make: Callable[[int], RawStudy],
    write: Writer,
    settings: Mapping[str, Any],
) -> list[Path]:
    """Write studies as scanned: ``OUT/scans/<case>/`` and, beside it, ``OUT/truth/<case>/`` with
    ``<sequence>_seg.nii.gz``, ``<sequence>_brain.nii.gz`` and ``transforms.json``.

    Args:
        out: folder; made if missing. Studies that are there already are kept.
        n: how many.
        make: index → study.
        write: writes the scans of a study into a folder that is there.
        settings: everything that tells these studies from others, for the record.

    Returns:
        the folders of the scans.

    Raises:
        GliodistillError: a study is there that was made with other settings.
        OutputError: the folder cannot be written.
    """
    from gliodistill.images import write_nifti

    root = make_folder(out)
    check_writable(root)
    remove_leftovers(root)
    folders = []
    for index in track(range(n), "making phantoms"):
        name = case_name(int(settings["seed"]), index)
        scans, truth = root / SCANS / name, root / TRUTH / name
        folders.append(scans)
        if scans.exists() and truth.exists():
            if (made := read_json(truth / RECORD, _NO_PHANTOM)) != dict(settings):
                raise GliodistillError(
                    "phantom of other settings",
                    file=scans,
                    got=made,
                    expected=dict(settings),
                    hint="choose another folder",
                )
            continue
        study = make(index)
        make_folder(root / SCANS)
        make_folder(root / TRUTH)
        if not truth.exists():
            with atomic_folder(truth) as temporary:
                for sequence in study.images:
                    stem = sequence.lower()
                    write_nifti(study.truth[sequence], temporary / f"{stem}_seg.nii.gz")
                    write_nifti(study.brains[sequence], temporary / f"{stem}_brain.nii.gz")
                moves = {s: motion.tolist() for s, motion in study.motion.items()}
                write_text(temporary / "transforms.json", json.dumps(moves, indent=1) + "\n")
                write_text(temporary / RECORD, json.dumps(dict(settings), indent=1) + "\n")
        with atomic_folder(scans) as temporary:
            write(study, temporary)
    return folders


def write_niftis(study: RawStudy, folder: Path) -> None:
    """``<case>_{t1,t1ce,t2,flair}.nii.gz``, int16."""
    from gliodistill.images import write_nifti

    for sequence, image in study.images.items():
        write_nifti(
            image.with_data(image.data.astype(np.int16)),
            folder / f"{study.id}_{sequence.lower()}.nii.gz",
        )
