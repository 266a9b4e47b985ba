"""Figures of the worst and best studies of an evaluation, with outlines of prediction and
reference.
"""

from dataclasses import dataclass
from statistics import fmean

import numpy as np

from gliodistill.errors import GliodistillError
from gliodistill.evaluation.evaluate import Pair, Pairs
from gliodistill.evaluation.scores import Scores
from gliodistill.images.nifti import read_labels, read_nifti
from gliodistill.images.volume import Volume
from gliodistill.progress import track
from gliodistill.reports.charts.pictures import TRUTH, Regions, outlined_figure
from gliodistill.reports.page.markup import Html, tag
from gliodistill.reports.pages.summary import heading, shown
from gliodistill.studies.sequence import MRSequence

WORST, BEST = 4, 2
PREFERRED = (MRSequence.T1CE, MRSequence.FLAIR, MRSequence.T2, MRSequence.T1)
"""The first two present sequences are shown: one for the enhancing core, one for the whole tumour.
"""
ROWS = ("dice", "hd95_mm", "prediction_ml", "truth_ml")


@dataclass(frozen=True)
class Case:
    """One study's pictures.

    Attributes:
        study: its id.
        kind: "Worst" or "Best".
        anchor: id of the figure on the page.
        markup: the figure.
    """

    study: str
    kind: str
    anchor: str
    markup: Html


def rank_studies(scores: Scores) -> list[tuple[str, float]]:
    """Studies and their mean Dice over regions with a value, worst first; ties by id."""
    means = {
        study: fmean(values)
        for study, regions in scores.studies.items()
        if (
            values := [
                value for region in regions.values() if (value := region["dice"]) is not None
            ]
        )
    }
    return sorted(means.items(), key=lambda item: (item[1], item[0]))


def case_figures(scores: Scores, pairs: Pairs) -> list[Case]:
    """Figures of the worst and the best studies, one study in memory at a time.

    A study whose files can no longer be read is shown without images, or as a line that says so.

    Args:
        scores: of ``pairs``.
        pairs: files and label conventions.
    """
    ranked = rank_studies(scores)
    best = ranked[max(WORST, len(ranked) - BEST) :][::-1]
    chosen = [("Worst", place, *study) for place, study in enumerate(ranked[:WORST], 1)]
    chosen += [("Best", place, *study) for place, study in enumerate(best, 1)]
    by_id = {pair.id: pair for pair in pairs.pairs}
    cases = []
    for kind, place, study, mean in track(chosen, "drawing cases"):
        anchor = f"{kind.lower()}-{place}"
        figure = _figure(
            by_id[study], scores, f"{kind} {place}: {study}", f"mean Dice {mean:.3f}", anchor
        )
        cases.append(Case(study, kind, anchor, figure))
    return cases


def _figure(pair: Pair, scores: Scores, title: str, note: str, anchor: str) -> Html:
    table, task = _measures(scores, pair.id), scores.rules.described
    try:
        truth = read_labels(pair.truth.path, pair.truth.channel).canonical()
        prediction = read_labels(pair.prediction.path, pair.prediction.channel).canonical()
        layers = {
            TRUTH: task.regions_of(truth.data, pair.truth_labels),
            "Prediction": task.regions_of(prediction.data, pair.prediction_labels),
        }
        images, lacking = _images(pair, truth)
        figure = outlined_figure(
            images or _label_picture(truth, layers),
            layers,
            title,
            note=note,
            below=[lacking, table],
            id=anchor,
            task=task,
        )
    except GliodistillError:
        # The reason would name a folder; the scores remain valid.
        note = f"{note}; its label maps can no longer be read"
        return tag(
            "figure",
            tag("figcaption", tag("b", title), tag("span", note, class_="muted")),
            table,
            class_="study",
            id=anchor,
        )
    return figure


def _images(pair: Pair, truth: Volume) -> tuple[dict[str, Volume], Html]:
    """Up to two images on the reference's grid, and a line about missing ones."""
    images = {}
    for sequence in [sequence for sequence in PREFERRED if sequence in pair.images][:2]:
        file = pair.images[sequence]
        try:
            image = read_nifti(file.path, file.channel).canonical()
        except GliodistillError:
            continue
        if image.same_grid(truth):
            images[str(sequence)] = image
    return images, (
        Html("")
        if images
        else tag("p", "No image can be read: outlines are shown on the label maps.", class_="muted")
    )


def _label_picture(truth: Volume, layers: dict[str, Regions]) -> dict[str, Volume]:
    """A grey picture of the labels: brighter in more regions; only predicted voxels are darkest."""
    grey = 2.0 * layers[TRUTH].sum(axis=0, dtype=np.float32) + layers["Prediction"].any(axis=0)
    return {"labels": truth.with_data(grey)}


def _measures(scores: Scores, study: str) -> Html:
    regions = scores.studies[study]
    head = tag(
        "tr", tag("td"), *(tag("th", region, scope="col", class_="number") for region in regions)
    )
    rows = []
    for metric in ROWS:
        cells = [
            tag("td", shown(metric, values[metric]), class_="number") for values in regions.values()
        ]
        rows.append(tag("tr", tag("th", heading(metric), scope="row"), *cells))
    return tag(
        "div",
        tag("table", tag("thead", head), tag("tbody", *rows), class_="measures"),
        class_="wide",
    )
