"""A segmentation drawn by matplotlib, for notebooks; reports draw without it."""

from typing import TYPE_CHECKING, Any

import numpy as np

from gliodistill.errors import GliodistillError, StudyError
from gliodistill.images.planes import PLANES, largest_section
from gliodistill.images.volume import Volume
from gliodistill.studies.naming import parse_sequence
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gliodistill.inference.segmentation import Segmentation

PREFERRED = (MRSequence.FLAIR, MRSequence.T1CE, MRSequence.T2, MRSequence.T1)
"""The sequence behind the outlines, where none is named: the first of these that is there."""


def plot_segmentation(
    segmentation: "Segmentation",
    image: Study | Volume | None = None,
    sequence: MRSequence | str | None = None,
) -> "Figure":
    """Outlines of the regions in three planes, through the largest section of the whole tumour.

    Args:
        segmentation: what is outlined.
        image: the study, or one image on its grid, behind the outlines; None = nothing.
        sequence: which of the study's; None = FLAIR, or else the next that is there.

    Raises:
        GliodistillError: matplotlib is not installed.
        StudyError: another grid, or the study lacks the sequence.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise GliodistillError(
            "not installed", field="matplotlib", hint="pip install matplotlib"
        ) from error
    behind = _image(segmentation, image, sequence)
    grid = segmentation.labels.canonical()
    regions = [
        segmentation.labels.with_data(region).canonical().data for region in segmentation.regions
    ]
    task = segmentation.task
    roots = [regions[root] for root in task.roots]
    outermost = next((mask for mask in roots if mask.any()), roots[0])
    values = None if behind is None else behind.canonical().data
    figure = Figure(figsize=(10.5, 3.8), layout="constrained")
    axes: Any = figure.subplots(1, len(PLANES))
    for plane, each in zip(PLANES, axes, strict=True):
        index = largest_section(outermost, plane.axis)
        across, up = (step for axis, step in enumerate(grid.spacing) if axis != plane.axis)
        under = np.zeros(grid.shape) if values is None else values
        cut = plane.cut(under, index)
        low, high = np.percentile(under, (0.5, 99.7)) if values is not None else (0, 1)
        each.imshow(cut, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=up / across)
        for region, mask in zip(task.regions, regions, strict=True):
            outline = plane.cut(mask, index)
            if outline.any() and not outline.all():
                each.contour(outline, levels=[0.5], colors=region.look.colour, linewidths=1.2)
        each.set_title(f"{plane.name}, slice {index}", fontsize=9)
        each.set_xlabel(f"{plane.left} – {plane.right}", fontsize=8)
        each.set_xticks([])
        each.set_yticks([])
    words = ", ".join(f"{name} {ml:.1f} ml" for name, ml in segmentation.volumes_ml.items())
    figure.suptitle(f"{segmentation.id}: {words}; research use, not a medical device", fontsize=9)
    return figure


def _image(
    segmentation: "Segmentation", image: Study | Volume | None, sequence: MRSequence | str | None
) -> Volume | None:
    """What lies behind the outlines, on the segmentation's grid."""
    if isinstance(image, Study):
        wanted = PREFERRED if sequence is None else (parse_sequence(str(sequence)),)
        there = [each for each in wanted if each in image.images]
        if not there:
            raise StudyError(
                "study lacks the sequence to draw",
                file=image.id,
                field="sequence",
                got=", ".join(image.sequences),
                expected=str(wanted[0]),
            )
        image = image.images[there[0]]
    if image is not None and not image.same_grid(segmentation.labels):
        raise StudyError(
            "image is on another grid than the segmentation",
            file=segmentation.id,
            field="grid",
            got=image,
            expected=segmentation.labels,
        )
    return image
