"""Detection of duplicates: the same images under different names.

Data sets overlap: the Decathlon has BraTS patients under new ids, and BraTS renames its own every
year. Ids do not show this, and file hashes change when a file is re-saved. Therefore each study is
reduced to coarse z-scores of its brain, which hardly change with data type, scale, orientation or
cropping, and studies are compared by correlation.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from gliodistill.images.bounds import filled_box, whole
from gliodistill.images.resampling import axis_matrix, resample
from gliodistill.studies.image_checks import usable
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study

SIDE = 16
"""The brain's box is reduced to SIDE³ blocks of about a centimetre, which tolerates another
skull-stripping.
"""

ALIKE = 0.8
"""Correlation above which two studies count as duplicates. No pair of 30 BraTS patients reaches
0.7; a re-saved, re-oriented or re-cropped study stays above 0.99, one resampled or skull-stripped
again above 0.9.
"""

Signature = Mapping[MRSequence, NDArray[np.float32]]
"""Sequence → SIDE³ z-scores of unit length, flat."""


def signature_of(study: Study) -> Signature:
    """The signature of a study; its reference is not used.

    Raises:
        StudyError: as :func:`~gliodistill.studies.image_checks.usable`.
    """
    study = usable(study)
    canonical = ((sequence, image.canonical().data) for sequence, image in study.images.items())
    return signature((sequence, data, data != 0) for sequence, data in canonical)


def signature(
    images: Iterable[tuple[MRSequence, NDArray[np.float32], NDArray[np.bool_]]],
) -> Signature:
    """The signature of images on canonical axes.

    Args:
        images: sequence, image (X Y Z, any unit) and brain mask; images without brain are skipped.
    """
    return {name: _blocks(image, inside) for name, image, inside in images if inside.any()}


def similarity(one: Signature, other: Signature) -> float:
    """Mean correlation over common sequences, −1 to 1; 0 if there are none."""
    shared = one.keys() & other.keys()
    return (
        float(np.mean([one[sequence] @ other[sequence] for sequence in shared])) if shared else 0.0
    )


def most_similar(one: Signature, others: Mapping[str, Signature]) -> tuple[str, float] | None:
    """The name and correlation of the most similar of ``others``, if it is at least ``ALIKE``."""
    ranked = max(
        ((similarity(one, other), name) for name, other in others.items()), default=(0.0, "")
    )
    return (ranked[1], ranked[0]) if ranked[0] >= ALIKE else None


def _blocks(image: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """One sequence (X Y Z, any unit, canonical axes) and its brain mask → means of blocks,
    z-scored, clipped, of unit length.
    """
    box = filled_box(inside) or whole(inside.shape)
    cut, brain = image[box], inside[box]
    matrices = tuple(axis_matrix(side, SIDE, side / SIDE) for side in cut.shape)
    share = resample(brain, matrices)
    kept = share > 0.5
    mean = np.where(
        kept, resample(np.where(brain, cut, 0), matrices) / np.maximum(share, 1e-6), 0.0
    )
    # Clipped, so that a bright tumour in the same place does not make two patients similar.
    scores = np.where(
        kept, np.clip((mean - mean[kept].mean()) / (mean[kept].std() or 1.0), -3, 3), 0.0
    )
    unit: NDArray[np.float32] = (
        (scores / (np.linalg.norm(scores) or 1.0)).astype(np.float32).ravel()
    )
    return unit
