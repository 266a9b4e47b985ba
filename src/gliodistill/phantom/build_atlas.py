"""Rebuild the tissue atlas from the ICBM 152 maps that nilearn ships: ``python -m
gliodistill.phantom.build_atlas FOLDER``.
"""

import sys
from pathlib import Path

import numpy as np

from gliodistill.files import atomic_file
from gliodistill.images.bounds import filled_box
from gliodistill.phantom.atlas import ATLAS_FILE, LEVELS

MAPS = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"


def build(folder: Path, target: Path = ATLAS_FILE) -> None:
    """Crop, halve and quantise the maps.

    Args:
        folder: ``nilearn/datasets/data`` of an installed or unpacked nilearn, with the T1, GM and
            WM maps (uint8, 1 mm).
        target: the ``.npz`` to write.
    """
    import nibabel as nib

    images = {
        name: nib.Nifti1Image.from_filename(folder / MAPS.format(name))
        for name in ("t1", "gm", "wm")
    }
    t1, grey, white = (np.asarray(image.dataobj) for image in images.values())
    box = filled_box(t1 > 0)
    if box is None:
        raise SystemExit("the T1 map is empty")
    affine = images["t1"].affine
    corner = affine[:3, :3] @ [side.start for side in box] + affine[:3, 3]
    t1, grey, white = t1[box], grey[box], white[box]
    if not (np.array_equal(grey, grey[::-1]) and np.array_equal(white, white[::-1])):
        raise SystemExit("the maps are not mirror-symmetric: half of them would not do")
    half = slice(0, t1.shape[0] // 2 + 1)
    quantised = [
        np.round(tissue[half] / 255.0 * (LEVELS - 1)).astype(np.uint8) for tissue in (grey, white)
    ]
    with atomic_file(target) as temporary:
        np.savez_compressed(
            temporary,
            tissue=quantised[0] | quantised[1] << 4,
            mask=np.packbits(t1[half] > 0),
            width=np.int64(t1.shape[0]),
            corner_mm=corner.astype(np.float64),
        )


if __name__ == "__main__":
    build(Path(sys.argv[1]))
