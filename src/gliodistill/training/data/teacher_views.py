"""Studies as a live teacher sees them: prepared once by the teacher, and cut with the student's
patch at the teacher's own voxel size.

A folder a teacher under ``cache-teachers``, a folder a study in it: ``view.npy`` (float16 C and the
axes of the teacher's network).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from gliodistill.errors import RecipeError
from gliodistill.preparation.cache import CachedStudy, mapped
from gliodistill.preparation.prepared import Prepared
from gliodistill.studies.study import Study
from gliodistill.teachers import ForeignTeacher, Teacher
from gliodistill.teachers.base import View
from gliodistill.training.data.teacher_outputs import Asked, Reader, each_study, stored_facts
from gliodistill.training.foreign import Reading
from gliodistill.training.transforms.spatial import SpatialDraw, lattice

VIEW = "view.npy"
CLOSE = 0.1
"""Share by which voxels of a view may differ from the teacher's: a grid has whole sides."""


@dataclass(frozen=True)
class TeacherViews:
    """A live teacher's views of the studies of a cache.

    Attributes:
        reading: how its patches are read.
        studies: folder of the prepared study → folder of its view, and its facts: ``key``,
            ``shape``, ``to_view`` (3×4: voxel of the prepared study → voxel of the view),
            ``seconds`` and ``bytes``.
    """

    reading: Reading
    studies: Mapping[Path, tuple[Path, Mapping[str, Any]]]

    def reader(self, study: CachedStudy) -> Reader:
        """What cuts the teacher's patch where the student's is, float32 C X Y Z."""
        folder, facts = self.studies[study.folder]
        image = mapped(folder / VIEW, tuple(facts["shape"]), np.float16)
        to_view = torch.tensor(facts["to_view"], dtype=torch.float32)

        def read(
            centre: NDArray[np.int64], patch: tuple[int, int, int], draw: SpatialDraw
        ) -> Tensor:
            points = lattice(patch, draw, self.reading.sides, self.reading.ratio)
            points = points + torch.from_numpy(centre).float()[:, None, None, None]
            points = torch.einsum("ij,jxyz->ixyz", to_view[:, :3], points)
            return sampled(image, points + to_view[:, 3, None, None, None])

        return read

    def facts(self) -> dict[str, Any]:
        """For the summary of a run."""
        return stored_facts(self.studies) | {"live": True, "sides": list(self.reading.sides)}


def build_views(
    teacher: ForeignTeacher, opened: Teacher, reading: Reading, asked: Asked
) -> TeacherViews:
    """Prepare every study for a live teacher that has no view yet.

    Args:
        teacher: as the recipe names it.
        opened: the same.
        reading: how its patches are read, but for its axes.
        asked: the studies.

    Raises:
        RecipeError: studies whose axes lie otherwise than those of the first.
        GliodistillError: any other error of the teacher.
    """

    def make(whole: Study, prepared: Prepared, study: CachedStudy, folder: Path) -> dict[str, Any]:
        view = opened.see(whole)
        axes, flips = orientation(view, prepared.affine)
        image = view.image.astype(np.float16)
        np.save(folder / VIEW, image)
        return {
            "shape": list(image.shape),
            "to_view": (np.linalg.inv(view.affine) @ prepared.affine)[:3].tolist(),
            "axes": axes,
            "flips": flips,
            "bytes": image.nbytes,
        }

    studies = each_study(teacher, opened, asked, "views", make)
    lie = {(tuple(facts["axes"]), tuple(facts["flips"])) for _, facts in studies.values()}
    if len(lie) > 1:
        raise RecipeError(
            "a live teacher that does not reorient needs studies with the same axes",
            field=asked.field,
            got=f"{len(lie)} orders or directions of axes",
            expected="one",
            hint="or ask it once, before training: live: false",
        )
    ((axes, flips),) = lie
    for id, facts in ((place.name, facts) for place, facts in studies.values()):
        steps = np.linalg.norm(np.array(facts["to_view"])[:, :3], axis=0)
        if not np.allclose(steps, reading.ratio, rtol=CLOSE):
            raise RecipeError(
                "a live teacher sees a study at another voxel size than its own",
                file=id,
                field=asked.field,
                got=", ".join(f"{step:.2f}" for step in steps),
                expected=", ".join(f"{step:.2f}" for step in reading.ratio),
                hint="or ask it once, before training: live: false",
            )
    return TeacherViews(replace(reading, axes=axes, flips=flips), studies)


def orientation(
    view: View, affine: NDArray[np.float64]
) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """For each axis of a view, the axis of the prepared study it lies along, and whether it runs
    the other way.
    """
    between = np.linalg.inv(affine[:3, :3]) @ view.affine[:3, :3]
    axes = tuple(int(axis) for axis in np.abs(between).argmax(axis=0))
    return axes, tuple(bool(between[axis, own] < 0) for own, axis in enumerate(axes))


def sampled(image: NDArray[np.float16], points: Tensor) -> Tensor:
    """Linear interpolation of an image (C and three axes) at points (3 X Y Z, its voxels), float32
    C X Y Z; 0 beyond it.
    """
    flat = points.reshape(3, -1)
    low = torch.clamp(flat.amin(1).floor().long(), min=0)
    high = torch.minimum(flat.amax(1).ceil().long() + 1, torch.tensor(image.shape[1:]))
    if bool((high <= low).any()):
        return torch.zeros((len(image), *points.shape[1:]))
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    part = torch.from_numpy(image[(slice(None), *box)].astype(np.float32))
    span = torch.clamp(high - low - 1, min=1).float()
    unit = (points - low.float()[:, None, None, None]) / span[:, None, None, None] * 2 - 1
    single = [axis for axis in range(3) if part.shape[axis + 1] == 1]
    if single:  # grid_sample with aligned corners needs two voxels to know a step
        part = functional.pad(part, [p for axis in (2, 1, 0) for p in (0, int(axis in single))])
    grid = unit.permute(1, 2, 3, 0).flip(-1)[None]  # grid_sample wants the last axis first
    return functional.grid_sample(part[None], grid, mode="bilinear", align_corners=True)[0]
