"""Whether two studies are the same pictures under different names.

Collections overlap: the Decathlon's patients are BraTS's under new ids, and BraTS renames its own
from year to year. Ids do not show it, and hashes do not survive a file that is saved anew. So each
study is reduced to a few coarse z-scores of its brain, which neither storage type, nor scale, nor
orientation, nor cropping changes much, and studies are compared by correlation.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from gliodistill.images.bounds import filled_box, whole
from gliodistill.images.resampling import axis_matrix, resample
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study
from gliodistill.studies.usable import usable

SIDE = 16
"""The brain's box becomes SIDE³ blocks of about a centimetre: coarse enough to forgive another
skull-strip.
"""

ALIKE = 0.8
"""Likeness from which two studies are taken for the same. Of 30 BraTS patients no two reach 0.7; a
study saved anew, turned or cut otherwise stays above 0.99, one resampled or stripped otherwise may
come down to 0.9."""

Signature = Mapping[MRSequence, NDArray[np.float32]]
"""Sequence → SIDE³ z-scores of unit length, flat."""


def signature_of(study: Study) -> Signature:
    """The signature of a study; its truth is not looked at.

    Raises:
        StudyError: as :func:`~gliodistill.studies.usable.usable`.
    """
    study = usable(study)
    canonical = ((sequence, image.canonical().data) for sequence, image in study.images.items())
    return signature((sequence, data, data != 0) for sequence, data in canonical)


def signature(
    images: Iterable[tuple[MRSequence, NDArray[np.float32], NDArray[np.bool_]]],
) -> Signature:
    """The signature of images on canonical axes.

    Args:
        images: sequence, image (X Y Z, any unit) and where it has brain; one without any is left
            out.
    """
    return {name: _blocks(image, inside) for name, image, inside in images if inside.any()}


def likeness(one: Signature, other: Signature) -> float:
    """Mean correlation over the sequences that both have, −1 to 1; 0 where they have none in
    common.
    """
    shared = one.keys() & other.keys()
    return (
        float(np.mean([one[sequence] @ other[sequence] for sequence in shared])) if shared else 0.0
    )


def most_alike(one: Signature, others: Mapping[str, Signature]) -> tuple[str, float] | None:
    """The name of the likest of ``others`` and its likeness, if that is at least ``ALIKE``."""
    ranked = max(
        ((likeness(one, other), name) for name, other in others.items()), default=(0.0, "")
    )
    return (ranked[1], ranked[0]) if ranked[0] >= ALIKE else None


def _blocks(image: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """One sequence (X Y Z, any unit, canonical axes) and where it has brain → means of blocks,
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
    # Clipped, so that a bright tumour in the same place does not make two patients one.
    scores = np.where(
        kept, np.clip((mean - mean[kept].mean()) / (mean[kept].std() or 1.0), -3, 3), 0.0
    )
    unit: NDArray[np.float32] = (
        (scores / (np.linalg.norm(scores) or 1.0)).astype(np.float32).ravel()
    )
    return unit
