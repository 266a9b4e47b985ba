"""The page of one study as scanned: volumes, doubts, pictures, and what was done to it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gliodistill.inference.cases.scanned import Scanned
from gliodistill.inference.outputs.base import PAGE, Result
from gliodistill.reports.charts.pictures import outlined_figure
from gliodistill.reports.page.html import Section, write_report
from gliodistill.reports.page.markup import Html, tag
from gliodistill.reports.page.tables import duration, settings_table, tiles
from gliodistill.studies.sequence import MRSequence

SHOWN = (MRSequence.T1CE, MRSequence.FLAIR, MRSequence.T2, MRSequence.T1)


@dataclass(frozen=True)
class PageWriter:
    """Writes ``report.html`` into the folder of a study as scanned."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """None: there is nothing to choose."""
        return {}

    def check(self, scan: Scanned) -> None:
        """Every study can be shown."""

    def write(self, result: Result, folder: Path) -> None:
        """Write the page."""
        write_study_page(folder / PAGE, result)


def write_study_page(path: Path, result: Result) -> None:
    """Write the page of a study.

    Args:
        path: of the HTML file.
        result: the study and its segmentation.

    Raises:
        OutputError: it cannot be written.
    """
    answer, done = result.answer, result.answer.preprocessing
    sections = [
        Section("", [tiles([*_tiles(result)])]),
        Section("To be checked", [_list(_doubts(result))]),
        Section("Pictures", [_figure(result)]),
        Section("Preprocessing", [f"{done.form}; {done.done}.", _steps(result)]),
    ]
    if done.choice:
        sections.append(Section("Series", [_series(done.choice), _list(_rules(done.choice))]))
    who = f"{done.identity}; " if done.identity else ""
    write_report(
        path,
        f"Segmentation of study {answer.id}",
        [*sections, Section("Made by", [settings_table(_made_by(result))])],
        subtitle=f"{who}sequences used: {', '.join(map(str, answer.sources.used))}; absent:"
        f" {', '.join(map(str, answer.absent)) or 'none'}",
    )


def _tiles(result: Result) -> Iterable[tuple[str, str, str]]:
    answer = result.answer
    dice = answer.quality.summary()["predicted_dice"] or {}
    for region, volume in answer.volumes_ml.items():
        expected = dice.get(region)
        known = "" if expected is None else f"; predicted Dice {expected:.2f}"
        yield region, f"{volume:.1f} ml", f"{answer.task.look(region).words}{known}"


def _doubts(result: Result) -> list[str]:
    flags = [flag.text for flag in result.answer.quality.flags]
    return flags or ["No flag was raised; this does not mean that the segmentation is right."]


def _figure(result: Result) -> Html:
    images, task = result.scan.aligned.images, result.answer.task
    shown = [sequence for sequence in SHOWN if sequence in images][:2]
    return outlined_figure(
        {str(sequence): images[sequence] for sequence in shown},
        {"Prediction": task.regions_of(result.common.data, result.answer.convention)},
        "Largest section of the whole tumour",
        note="aligned images; label maps lie on the grid of each series",
        task=task,
    )


def _steps(result: Result) -> Html:
    used = result.answer.sources.used
    rows = []
    for name, step in result.answer.preprocessing.steps.items():
        sequence = MRSequence(name)
        grid = result.answer.on_series.get(sequence)
        size = " × ".join(f"{side:.3g}" for side in grid.spacing) if grid else "–"
        rows.append([str(sequence), used.get(sequence) or "–", size, _words(step)])
    return _table(["Sequence", "From", "Voxel, mm", "Done"], rows)


def _words(step: object) -> str:
    """A step in words: its text, else names and values."""
    if isinstance(step, Mapping):
        if "text" in step:
            return str(step["text"])
        said = (f"{name.replace('_', ' ')} {_words(value)}" for name, value in step.items())
        return "; ".join(said)
    if isinstance(step, float):
        return f"{step:.3g}"
    if isinstance(step, list | tuple):
        return "; ".join(map(_words, step))
    return str(step)


def _series(choice: Mapping[str, Any]) -> Html:
    rows = []
    for one in choice["series"]:
        taken = one["sequence"] or one["other"] or "cannot be told"
        used = ", used" if one["used"] else ""
        rows.append(
            [
                one["key"],
                one["name"] or "–",
                f"{taken}{used}",
                "; ".join(one["evidence"]),
                "; ".join(one["doubts"]) or "–",
            ]
        )
    return _table(["Series", "Name", "Taken for", "Evidence", "Doubts"], rows)


def _rules(choice: Mapping[str, Any]) -> list[str]:
    return [f"{sequence}: {rule}" for sequence, rule in choice["rules"].items()]


def _made_by(result: Result) -> dict[str, object]:
    from gliodistill import __version__

    answer = result.answer
    seconds = ", ".join(f"{stage} {duration(took)}" for stage, took in answer.seconds.items())
    return {
        "gliodistill": __version__,
        "Model": f"{answer.model}, SHA-256 {answer.fingerprint}",
        "Runtime": f"{answer.runtime} on {answer.device}",
        "Labels": ", ".join(f"{code} {tissue}" for code, tissue in answer.convention.codes.items()),
        "Seconds": seconds,
    }


def _list(lines: Sequence[str]) -> Html:
    return tag("ul", *(tag("li", line) for line in lines))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    head = tag("tr", *(tag("th", column, scope="col") for column in columns))
    named = (zip(row, columns, strict=True) for row in rows)
    body = [tag("tr", *(tag("td", cell, data_label=name) for cell, name in row)) for row in named]
    table = tag("table", tag("thead", head), tag("tbody", *body), class_="scores stack")
    return tag("div", table, class_="wide")
