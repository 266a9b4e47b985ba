"""A 3-D image with its geometry."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import ImageError
from gliodistill.images.qform_sform import Forms, distance, tenth_of_a_voxel


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D image with its geometry.

    Attributes:
        data: voxels on axes X, Y, Z; any real dtype.
        affine: 4×4 float64, voxel index → mm in RAS+ (x to the patient's right, y to anterior, z to
            superior).
        forms: qform and sform of the file's header, to be written again; None for a grid that is
            not from a file.

    Raises:
        ImageError: data not 3-D, empty or not real; affine not 4×4, not finite or singular.

    Example:
        >>> import numpy as np
        >>> from gliodistill import Volume
        >>> volume = Volume(np.zeros((4, 5, 6)), np.diag([2.0, 2.0, 3.0, 1.0]))
        >>> volume.spacing
        (2.0, 2.0, 3.0)
    """

    data: NDArray[Any]
    affine: NDArray[np.float64]
    forms: Forms | None = None

    def __post_init__(self) -> None:
        if self.data.ndim != 3 or 0 in self.data.shape:
            raise ImageError(
                "not a volume",
                field="shape",
                got=self.data.shape,
                expected="three axes, none empty",
            )
        if self.data.dtype.kind not in "biuf":
            raise ImageError(
                "not real numbers",
                field="dtype",
                got=self.data.dtype,
                expected="bool, integers or floats",
            )
        affine = np.asarray(self.affine, dtype=np.float64)
        if (
            affine.shape != (4, 4)
            or not np.isfinite(affine).all()
            or abs(np.linalg.det(affine[:3, :3])) < 1e-9
        ):
            raise ImageError(
                "unusable affine",
                field="affine",
                got=affine.tolist(),
                expected="4×4, finite, invertible",
            )
        object.__setattr__(self, "affine", affine)

    def __repr__(self) -> str:
        return f"<Volume {_by(self.shape)} voxels of {_by(self.spacing)} mm, {self.data.dtype}>"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along X, Y, Z."""
        x, y, z = self.data.shape
        return x, y, z

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along X, Y, Z in mm."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in ml."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def orientation(self) -> str:
        """The patient direction in which each axis grows, e.g. ``"RAS"`` or ``"LPS"``."""
        return "".join("RAS"[world] if sign > 0 else "LPI"[world] for world, sign in self._axes())

    def _axes(self) -> list[tuple[int, int]]:
        """Per voxel axis: the world axis it follows best and its sign (a one-to-one match)."""
        directions = self.affine[:3, :3] / np.asarray(self.spacing)
        left, result = [0, 1, 2], [(0, 0)] * 3
        # The best-aligned axis is assigned first, so that oblique grids also get a permutation.
        for axis in np.argsort(-np.abs(directions).max(axis=0)):
            world = max(left, key=lambda w: abs(directions[w, axis]))
            left.remove(world)
            result[axis] = (world, 1 if directions[world, axis] >= 0 else -1)
        return result

    def canonical(self) -> "Volume":
        """The same voxels with axes permuted and flipped to the closest RAS+ (a view; nothing is
        resampled).
        """
        axes = self._axes()
        order = [[world for world, _ in axes].index(world) for world in range(3)]
        data = self.data.transpose(order)
        affine = self.affine[:, [*order, 3]].copy()
        for world, axis in enumerate(order):
            if axes[axis][1] < 0:
                data = np.flip(data, axis=world)
                affine[:3, 3] += affine[:3, world] * (data.shape[world] - 1)
                affine[:3, world] *= -1
        return Volume(data, affine)

    def from_canonical(self, data: NDArray[Any]) -> NDArray[Any]:
        """Voxels on the axes of :meth:`canonical`, on this volume's own axes (a view).

        Args:
            data: … X Y Z on the canonical grid; leading axes stay.

        Returns:
            the same voxels, … X Y Z on this grid.

        Raises:
            ImageError: the shape is not that of the canonical grid.
        """
        axes = self._axes()
        worlds = [world for world, _ in axes]
        expected = tuple(self.shape[worlds.index(world)] for world in range(3))
        if data.shape[-3:] != expected:
            raise ImageError(
                "array does not fit the canonical grid",
                field="shape",
                got=data.shape,
                expected=expected,
            )
        lead = data.ndim - 3
        flipped: NDArray[Any] = np.flip(
            data, tuple(lead + world for world, sign in axes if sign < 0)
        )
        return flipped.transpose([*range(lead), *(lead + world for world in worlds)])

    def with_data(self, data: NDArray[Any]) -> "Volume":
        """Other voxels on this grid.

        Raises:
            ImageError: the shape differs.
        """
        if data.shape != self.data.shape:
            raise ImageError(
                "array does not fit the grid",
                field="shape",
                got=data.shape,
                expected=self.data.shape,
            )
        return Volume(data, self.affine, self.forms)

    def same_grid(self, other: "Volume") -> bool:
        """Whether both have the same shape, and every voxel lies within a tenth of its side."""
        return self.apart(other) <= tenth_of_a_voxel(self.affine)

    def apart(self, other: "Volume") -> float:
        """Largest distance between two voxels of one index, in mm; infinite if shapes differ."""
        if self.shape != other.shape:
            return float("inf")
        return distance(self.affine, other.affine, self.shape)

    def difference(self, other: "Volume") -> str:
        """How another grid differs, in words: shapes, or shape and distance."""
        one, two = ("×".join(map(str, volume.shape)) for volume in (self, other))
        if one != two:
            return f"{one} voxels, not {two}"
        return (
            f"voxels up to {self.apart(other):.3g} mm apart; expected less than"
            f" {tenth_of_a_voxel(self.affine):.3g} mm, a tenth of a voxel"
        )


def _by(numbers: tuple[float, ...]) -> str:
    return " × ".join(f"{number:.4g}" for number in numbers)
