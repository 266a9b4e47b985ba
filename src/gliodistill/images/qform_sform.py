"""The two geometries of a NIfTI-1 header: qform and sform.

The qform is a rotation, an offset and voxel sizes; the sform is any affine. A form is set if its
code is above 0. If both are set and differ, readers differ: nibabel and gliodistill use the sform,
ITK decides by the codes. Therefore results have both forms and codes of their input, so that every
reader aligns the two.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Forms:
    """Both forms as a header stores them, in mm.

    Attributes:
        codes: of qform and sform; 0: not set.
        qfac: −1 where the qform flips its third axis, else 1.
        pixdim: voxel size along X, Y, Z that the qform uses.
        quaternion: b, c, d.
        offset: of the qform.
        srow: the sform's three rows, one after the other.
    """

    codes: tuple[int, int]
    qfac: float
    pixdim: tuple[float, float, float]
    quaternion: tuple[float, float, float]
    offset: tuple[float, float, float]
    srow: tuple[float, ...]

    @property
    def qform(self) -> NDArray[np.float64] | None:
        """4×4 float64, voxel → mm in RAS+; None if it is not set or no rotation."""
        turn = rotation(self.quaternion)
        if self.codes[0] <= 0 or turn is None:
            return None
        affine = np.eye(4)
        affine[:3, :3] = turn * self.pixdim
        affine[:3, 2] *= self.qfac
        affine[:3, 3] = self.offset
        return affine

    @property
    def sform(self) -> NDArray[np.float64] | None:
        """4×4 float64, voxel → mm in RAS+; None if it is not set."""
        if self.codes[1] <= 0:
            return None
        return np.vstack([np.reshape(self.srow, (3, 4)), [0, 0, 0, 1]])

    def apart(self, shape: tuple[int, ...]) -> float:
        """Largest distance in mm between the positions of a voxel by both forms, on a grid of
        ``shape`` (X Y Z); 0 below a tenth of a voxel, or if one is not set.
        """
        qform, sform = self.qform, self.sform
        if qform is None or sform is None:
            return 0.0
        found = distance(qform, sform, shape)
        return found if found > tenth_of_a_voxel(sform) else 0.0

    @classmethod
    def of(cls, affine: NDArray[np.float64]) -> "Forms":
        """Two equal forms: the sform holds ``affine``, the qform the nearest rotation
        (equal to it unless the axes are sheared).
        """
        spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
        left, _, right = np.linalg.svd(affine[:3, :3] / spacing)
        turn = left @ right
        qfac = 1.0 if np.linalg.det(turn) > 0 else -1.0
        turn[:, 2] *= qfac
        x, y, z = (float(side) for side in spacing)
        offset = tuple(float(value) for value in affine[:3, 3])
        rows = tuple(float(value) for value in affine[:3].ravel())
        return cls(
            (1, 1), qfac, (x, y, z), _quaternion(turn), (offset[0], offset[1], offset[2]), rows
        )


def distance(one: NDArray[np.float64], other: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """Largest distance in mm between the positions of a voxel by two affines, on a grid of
    ``shape`` (X Y Z); it occurs at a corner.
    """
    corners = np.array(
        [
            [x, y, z, 1]
            for x in (0, shape[0] - 1)
            for y in (0, shape[1] - 1)
            for z in (0, shape[2] - 1)
        ]
    )
    apart = corners @ (one - other)[:3].T
    return float(np.sqrt((apart**2).sum(axis=1)).max())


def tenth_of_a_voxel(affine: NDArray[np.float64]) -> float:
    """A tenth of the smallest side of a voxel, in mm; nearer positions count as equal."""
    return float(np.sqrt((affine[:3, :3] ** 2).sum(axis=0)).min()) / 10


def rotation(quaternion: tuple[float, float, float]) -> NDArray[np.float64] | None:
    """Unit quaternion (b, c, d; a ≥ 0 is implied) → 3×3 rotation, as nifti1.h defines it; None if
    the squares sum to more than 1.
    """
    b, c, d = quaternion
    rest = 1.0 - (b * b + c * c + d * d)
    if not rest > -1e-5:
        return None
    if rest < 4e-7:
        # Half a turn: the rest to 1 is rounding of three float32 squares, as in nifti1_io.c.
        norm = math.sqrt(1.0 - rest)
        a, b, c, d = 0.0, b / norm, c / norm, d / norm
    else:
        a = math.sqrt(rest)
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )


def _quaternion(turn: NDArray[np.float64]) -> tuple[float, float, float]:
    """3×3 rotation → (b, c, d) with a ≥ 0: the eigenvector of Bar-Itzhack's matrix (J. Guid.
    Control 23, 2000).
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = turn
    matrix = np.array(
        [
            [xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, xx - yy - zz, yx + xy, xz + zx],
            [xz - zx, yx + xy, yy - xx - zz, zy + yz],
            [yx - xy, xz + zx, zy + yz, zz - xx - yy],
        ]
    )
    a, b, c, d = np.linalg.eigh(matrix)[1][:, -1]
    sign = -1.0 if a < 0 else 1.0
    return float(sign * b), float(sign * c), float(sign * d)
