"""Where a NIfTI-1 header places its voxels: qform, sform and voxel size, checked against each
other.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import ImageError
from gliodistill.images.qform_sform import Forms

MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""xyzt_units code (unknown, metre, millimetre, micrometre) → mm; unknown is taken as mm."""
SPACING_MM = (0.05, 30.0)
"""Range of valid voxel sizes, well beyond those of any head MRI."""
SPACING_TOLERANCE = 0.01


def read_forms(values: tuple[Any, ...], pixdim: tuple[float, ...], units: int, file: Path) -> Forms:
    """Both forms of a header's values, in mm."""
    if units not in MILLIMETRES:
        raise ImageError(
            "unknown unit of length",
            file=file,
            field="xyzt_units",
            got=units,
            expected="2 (mm), 1 (m) or 3 (µm)",
        )
    scale = MILLIMETRES[units]
    for name, code in (("sform_code", values[45]), ("qform_code", values[44])):
        if not 0 <= code <= 5:  # nifti1.h; readers differ in what they make of other codes
            raise ImageError("unknown code", file=file, field=name, got=code, expected="0 to 5")
    codes, quaternion = [values[44], values[45]], values[46:49]
    offset, srow = ([value * scale for value in part] for part in (values[49:52], values[52:64]))
    if not np.isfinite([*quaternion, *offset]).all() and codes[1] > 0:
        codes[0], quaternion, offset = 0, (0.0, 0.0, 0.0), [0.0] * 3  # says nothing
    if not np.isfinite(srow).all() and codes[1] <= 0:
        srow = [0.0] * 12
    dx, dy, dz = (side * scale for side in pixdim[1:4])
    b, c, d = quaternion
    x, y, z = offset
    qfac = -1.0 if pixdim[0] < 0 else 1.0
    return Forms((codes[0], codes[1]), qfac, (dx, dy, dz), (b, c, d), (x, y, z), tuple(srow))


def checked_affine(forms: Forms, file: Path) -> NDArray[np.float64]:
    """The sform if it is set, else the qform; checked against pixdim and common sense."""
    sform, qform = forms.sform, forms.qform
    if sform is not None:
        field, affine = "sform", sform
    elif qform is not None:
        field, affine = "qform", qform
    elif forms.codes[0] > 0:
        raise ImageError(
            "not a rotation",
            file=file,
            field="quatern_b/c/d",
            got=forms.quaternion,
            expected="squares that sum to at most 1",
        )
    else:
        raise ImageError(
            "header without geometry",
            file=file,
            field="sform_code/qform_code",
            got=forms.codes[::-1],
            expected="one above 0",
            hint="export it again with a tool that keeps the orientation (e.g. dcm2niix)",
        )
    if not np.isfinite(affine).all():
        raise ImageError(
            "affine is not a number",
            file=file,
            field=field,
            got=affine[:3].tolist(),
            expected="finite numbers",
        )
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    if (spacing == 0).any() or abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-3:
        raise ImageError(
            "singular affine",
            file=file,
            field=field,
            got=affine[:3, :3].tolist(),
            expected="three independent axes",
        )
    declared = np.array(forms.pixdim)
    if not (np.abs(declared - spacing) <= SPACING_TOLERANCE * spacing).all():
        raise ImageError(
            "voxel size disagrees with the affine",
            file=file,
            field="pixdim",
            got=tuple(round(float(d), 4) for d in declared),
            expected=(
                f"{tuple(round(float(s), 4) for s in spacing)} mm as in the {field}, within 1 %"
            ),
            hint="one of the two is wrong: export the image again",
        )
    if spacing.min() < SPACING_MM[0] or spacing.max() > SPACING_MM[1]:
        raise ImageError(
            "implausible voxel size",
            file=file,
            field=field,
            got=f"{'×'.join(f'{s:.4g}' for s in spacing)} mm",
            expected=f"{SPACING_MM[0]} to {SPACING_MM[1]} mm",
            hint="check the unit in xyzt_units",
        )
    return affine


def check_sides(forms: Forms, file: Path) -> None:
    """Refuse forms with different axis directions, with which e.g. left and right would depend on
    the reader.
    """
    qform, sform = forms.qform, forms.sform
    if qform is None or sform is None:
        return
    # An axis rotated by 90° or more points to another side of the patient.
    along = (qform[:3, :3] * sform[:3, :3]).sum(axis=0)
    if np.linalg.det(qform[:3, :3]) * np.linalg.det(sform[:3, :3]) < 0 or (along <= 0).any():
        raise ImageError(
            "qform and sform name different sides of the patient",
            file=file,
            field="qform, sform",
            got=f"axes {_directions(qform)} and {_directions(sform)}",
            expected="the same; otherwise left and right depend on the reader",
            hint="find out which is right and copy it onto the other (e.g. fslorient"
            " -copysform2qform or -copyqform2sform)",
        )


def _directions(affine: NDArray[np.float64]) -> str:
    """Direction of each axis, e.g. ``LPS``."""
    worlds = np.abs(affine[:3, :3]).argmax(axis=0)
    return "".join(
        "RAS"[world] if affine[world, axis] > 0 else "LPI"[world]
        for axis, world in enumerate(worlds)
    )
