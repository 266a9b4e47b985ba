"""Pictures of a study: sequences in three planes, with outlines of reference and predictions as
layers.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import EvaluationError
from gliodistill.evaluation import metrics
from gliodistill.images.bounds import extent
from gliodistill.images.planes import PLANES, Plane, largest_section
from gliodistill.images.volume import Volume
from gliodistill.reports.charts.outlines import outline_path
from gliodistill.reports.page.markup import Html, tag
from gliodistill.reports.page.png import grey, png_data_uri
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study
from gliodistill.tasks.catalogue import glioma
from gliodistill.tasks.task import Task, TaskRegion

Regions = NDArray[np.bool_]
MARGIN = 4
MAX_LAYERS = 6
TRUTH = "Reference"
"""Name of the layer with solid outlines."""


def study_figure(
    study: Study,
    prediction_regions: Regions | Mapping[str, Regions] | None,
    truth_regions: Regions | None,
    title: str,
    *,
    note: str = "",
    task: Task | None = None,
) -> Html:
    """One study with all its sequences, as :func:`outlined_figure`; below: volume and Dice of each
    layer and region.

    Args:
        study: its images; any orientation.
        prediction_regions: the regions as bool on R X Y Z of the study's grid; or several by name;
            or None.
        truth_regions: those of the reference, or None.
        title: heading.
        note: a line below it.
        task: whose regions they are; None = glioma.

    Raises:
        EvaluationError: regions that are not on the study's grid, or more than five predictions.
    """
    if isinstance(prediction_regions, Mapping):
        predictions = dict(prediction_regions)
    else:
        predictions = {} if prediction_regions is None else {"Prediction": prediction_regions}
    layers = {**({} if truth_regions is None else {TRUTH: truth_regions}), **predictions}
    images = {str(sequence): study.images[sequence] for sequence in study.sequences}
    missing = [str(sequence) for sequence in MRSequence if sequence not in study.images]
    return outlined_figure(
        images,
        layers,
        title,
        note=note,
        task=task,
        below=[
            (
                tag("p", f"Not acquired: {', '.join(missing)}.", class_="muted")
                if missing
                else Html("")
            ),
            _measures(study, layers, truth_regions, (task or glioma()).names),
        ],
    )


def outlined_figure(
    images: Mapping[str, Volume],
    layers: Mapping[str, Regions],
    title: str,
    *,
    note: str = "",
    below: Iterable[Html] = (),
    id: str = "",
    task: Task | None = None,
) -> Html:
    """Images × planes through the largest tumour cross-section of the first layer, with outlines.

    The reference is solid, predictions are dashed; check boxes switch layers (no script). With
    several predictions only the last is shown initially.

    Args:
        images: by name, at least one, all on one grid of any orientation.
        layers: the regions as bool on R X Y Z of that grid, by name; the reference is called
            :data:`TRUTH`, and is first.
        title: heading.
        note: a line below it.
        below: content after the pictures.
        id: of the figure, for links to it.
        task: whose regions they are; None = glioma.

    Raises:
        EvaluationError: regions that are not on the images' grid, or more than six layers.
    """
    task = task or glioma()
    grid = next(iter(images.values()))
    if len(layers) > MAX_LAYERS:
        raise EvaluationError(
            "too many layers for one picture",
            field=title,
            got=len(layers),
            expected=f"at most {MAX_LAYERS}",
        )
    for name, regions in layers.items():
        if regions.shape != (len(task.regions), *grid.shape):
            raise EvaluationError(
                "regions do not fit the images",
                field=f"{title}, {name}",
                got=regions.shape,
                expected=(len(task.regions), *grid.shape),
            )
    upright = {
        name: np.stack(
            [grid.with_data(channel.astype(bool)).canonical().data for channel in regions]
        )
        for name, regions in layers.items()
    }
    canonical = {name: image.canonical() for name, image in images.items()}
    rows = [_row(plane, canonical, upright, task) for plane in PLANES]
    shown = [name for name in layers if name == TRUTH or name == list(layers)[-1]]
    return tag(
        "figure",
        tag("figcaption", tag("b", title), tag("span", note, class_="muted") if note else ""),
        tag("div", _switches(list(layers), shown), _region_key(task), class_="keys"),
        tag("div", *rows, class_="planes", style=f"--columns:{len(images)}"),
        *below,
        class_="study",
        id=id or None,
    )


def _row(
    plane: Plane, images: Mapping[str, Volume], layers: Mapping[str, Regions], task: Task
) -> Html:
    first = next(iter(images.values()))
    head = np.zeros(first.shape, dtype=bool)
    for image in images.values():
        head |= image.data > image.data.min()
    # The reference is the first layer, so it determines the slice if it is not empty.
    outermost = [regions[root] for root in task.roots for regions in layers.values()]
    index = largest_section(next((mask for mask in outermost if mask.any()), head), plane.axis)
    window = _window(
        head | np.any(outermost, axis=0) if layers else head,
        plane,
        index,
    )
    steps = [step for axis, step in enumerate(first.spacing) if axis != plane.axis]
    paths = [
        tag(
            "g",
            *_outlines([plane.cut(mask, index)[window] for mask in regions], task),
            class_=f"layer l{order}" + (" truth" if name == TRUTH else ""),
        )
        for order, (name, regions) in enumerate(layers.items())
    ]
    cells = []
    for sequence, image in images.items():
        values = image.data[head]
        low, high = (
            (float(v) for v in np.percentile(values, (0.5, 99.7))) if values.size else (0.0, 1.0)
        )
        # The window starts below the darkest tissue, so that CSF differs from the background.
        picture = grey(plane.cut(image.data, index)[window], low - 0.08 * (high - low), high)
        picture[~plane.cut(head, index)[window]] = 0
        name = (
            f"{plane.name} {sequence}, slice {index}, with outlines of"
            f" {', '.join(layers) or 'nothing'}"
        )
        cells.append(_cell(picture, (steps[0], steps[1]), paths, name, plane, sequence))
    where = tag("span", tag("b", plane.name), f" slice {index}", class_="where")
    return tag("div", where, *cells, class_="plane")


def _outlines(cuts: list[NDArray[np.bool_]], task: Task) -> list[Html]:
    """A path for each region that the slice has."""
    drawn = ((region, outline_path(cut)) for region, cut in zip(task.regions, cuts, strict=True))
    return [
        tag("path", d=path, class_=region.name, style=_paint("stroke", region))
        for region, path in drawn
        if path
    ]


def _cell(
    picture: NDArray[np.uint8],
    steps: tuple[float, float],
    paths: list[Html],
    name: str,
    plane: Plane,
    sequence: str,
) -> Html:
    rows, columns = picture.shape
    width, height = columns * steps[0], rows * steps[1]
    uri = png_data_uri(picture)
    drawing = tag(
        "svg",
        tag("title", name),
        tag(
            "image",
            href=uri,
            width=f"{width:.4g}",
            height=f"{height:.4g}",
            preserveAspectRatio="none",
        ),
        tag("g", *paths, transform=f"scale({steps[0]:.6g} {steps[1]:.6g})"),
        viewBox=f"0 0 {width:.4g} {height:.4g}",
        role="img",
    )
    left = tag("i", plane.left, class_="side left", aria_hidden="true")
    right = tag("i", plane.right, class_="side right", aria_hidden="true")
    return tag(
        "div",
        drawing,
        left,
        right,
        tag("span", sequence, class_="name", aria_hidden="true"),
        class_="cell",
    )


def _window(content: NDArray[np.bool_], plane: Plane, index: int) -> tuple[slice, slice]:
    """Rows and columns to show: rows around the slice's content, columns around the volume's, so
    that a plane has one scale.
    """
    shadow = plane.cut(
        np.broadcast_to(content.any(axis=plane.axis, keepdims=True), content.shape), 0
    )
    here = plane.cut(content, index)
    shown = here if here.any() else shadow
    return _around(shown, 0), _around(shadow, 1)


def _around(picture: NDArray[np.bool_], axis: int) -> slice:
    """First to last index along ``axis`` with content, with a margin."""
    side = extent(picture, axis)
    return slice(max(side.start - MARGIN, 0), side.stop + MARGIN)


def _switches(names: list[str], shown: list[str]) -> Html:
    boxes = [
        tag(
            "label",
            tag("input", type="checkbox", class_=f"on{order}", checked=name in shown),
            tag("svg", tag("line", x1=0, x2=24, y1=5, y2=5, class_="sample" + ((
                " truth"
            ) if name == TRUTH else "")),
                width=24, height=10, aria_hidden="true"),
            name,
        )
        for order, name in enumerate(names)
    ]  # fmt: skip
    return tag("div", *boxes, class_="switches") if boxes else Html("")


def _region_key(task: Task) -> Html:
    entries = [
        tag(
            "li",
            tag("i", class_=f"swatch {region.name}", style=_paint("background", region)),
            tag("b", region.name),
            f" {region.look.words}",
        )
        for region in task.regions
    ]
    return tag("ul", *entries, class_="regions")


def _paint(what: str, region: TaskRegion) -> str | None:
    """A style with the region's colour; None where the page's style sheet has it, of gliomas."""
    known = any(region == ours for ours in glioma().regions)
    return None if known else f"{what}:{region.look.colour}"


def _measures(
    study: Study,
    layers: Mapping[str, Regions],
    truth: Regions | None,
    names: tuple[str, ...],
) -> Html:
    head = tag(
        "tr",
        tag("th", "Outline", scope="col"),
        *(tag("th", f"{region}", scope="col") for region in names),
    )
    rows = []
    for name, regions in layers.items():
        cells = []
        for channel, region in enumerate(names):
            volume = f"{metrics.volume_ml(regions[channel], study.grid.voxel_ml):.1f} ml"
            overlap = (
                metrics.dice(regions[channel], truth[channel])
                if truth is not None and name != TRUTH
                else None
            )
            small = "" if overlap is None else tag("small", f"Dice {overlap:.3f}")
            cells.append(tag("td", volume, small, data_label=region))
        rows.append(tag("tr", tag("th", name, scope="row"), *cells))
    return (
        tag("table", tag("thead", head), tag("tbody", *rows), class_="measures")
        if rows
        else Html("")
    )
