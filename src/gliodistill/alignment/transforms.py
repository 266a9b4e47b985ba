"""Rigid and affine transforms as ITK's ``.tfm``, a text that SimpleITK, ANTs and Slicer read.

A file holds one ``AffineTransform_double_3_3`` in ITK's convention: points of the fixed image →
points of the moving image, mm, LPS+. In gliodistill's matrices the points are RAS+; both are
converted into each other here.
"""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import ImageError
from gliodistill.files import write_text

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""RAS+ → LPS+ and back."""

HEAD = "#Insight Transform File V1.0"
KINDS = ("AffineTransform_double_3_3", "MatrixOffsetTransformBase_double_3_3")


def write_transform(matrix: NDArray[np.float64], path: str | os.PathLike[str]) -> None:
    """Write a 4×4 ``matrix`` (fixed → moving, mm, RAS+).

    Raises:
        OutputError: the file cannot be written.
    """
    placed = LPS @ matrix @ LPS
    numbers = [*placed[:3, :3].ravel(), *placed[:3, 3]]
    lines = (
        HEAD,
        "#Transform 0",
        f"Transform: {KINDS[0]}",
        "Parameters: " + " ".join(repr(float(number)) for number in numbers),
        "FixedParameters: 0 0 0",
    )
    write_text(path, "\n".join(lines) + "\n")


def read_transform(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    """Read a 4×4 matrix (fixed → moving, mm, RAS+) from a ``.tfm`` with one affine transform.

    Raises:
        ImageError: another kind of file or transform.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        fields = dict(
            line.split(": ", 1) for line in text.splitlines() if not line.startswith("#") and line
        )
        kind = fields["Transform"].strip()
        numbers = np.array(fields["Parameters"].split(), dtype=np.float64)
        centre = np.array(fields["FixedParameters"].split(), dtype=np.float64)
    except (KeyError, ValueError) as error:
        raise ImageError(
            "not a transform", file=path, got=str(error), expected="an ITK .tfm text file"
        ) from error
    if (
        not text.startswith(HEAD)
        or kind not in KINDS
        or numbers.shape != (12,)
        or centre.shape != (3,)
        or not np.isfinite([*numbers, *centre]).all()
    ):
        raise ImageError(
            "not a transform that can be read",
            file=path,
            got=kind,
            expected=f"{KINDS[0]} with 12 finite parameters and a centre",
        )
    placed = np.eye(4)
    placed[:3, :3] = numbers[:9].reshape(3, 3)
    placed[:3, 3] = numbers[9:] + centre - placed[:3, :3] @ centre
    matrix: NDArray[np.float64] = LPS @ placed @ LPS
    return matrix
