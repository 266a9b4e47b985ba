"""The command that compares models by their scores: compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gliodistill.cli.output import Json, emit, table
from gliodistill.errors import EvaluationError

if TYPE_CHECKING:
    from rich.console import Console

    from gliodistill.evaluation.comparison import Comparison
    from gliodistill.evaluation.scores import Scores

SCORES = "scores.json"


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(compare)


def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help=(
                "scores.json files, or folders made by evaluate. The model's name is that of the"
                " folder, unless given as NAME=PATH."
            ),
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the comparison as one HTML page.",
            show_default=False,
        ),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            metavar="NAME",
            help="Metric to compare (default: dice and hd95_mm); may be repeated.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="NAME",
            help="Compare each model only with this one (default: all pairs).",
            show_default=False,
        ),
    ] = None,
    strata: Annotated[
        Path | None,
        typer.Option(
            "--strata",
            metavar="FILE",
            help="CSV with a column id and columns that group the studies.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare models by their scores on the same studies.

    Shows paired differences with confidence intervals, tests corrected for multiple comparisons,
    effect sizes, a ranking over patients, and all of it within strata.

    Example: [cyan]gliodistill compare distilled=scores/distilled baseline=scores/baseline -o
    comparison.html[/cyan]
    """
    from gliodistill.evaluation.comparability import DEFAULT_METRICS
    from gliodistill.evaluation.comparison import compare as compare_scores
    from gliodistill.files import check_file

    if out is not None:
        check_file(out, [*(_named(word)[1] for word in models), *([strata] if strata else [])])
    wanted = tuple(dict.fromkeys(metrics or DEFAULT_METRICS))
    files = [_named(word) for word in models]
    comparison = compare_scores(
        _read(files, wanted, against), metrics=wanted, against=against, strata=strata
    )
    if out is not None:
        from gliodistill.reports.pages.comparison import write_comparison_report

        write_comparison_report(out, comparison, {name: str(file) for name, file in files})
    emit(as_json, comparison.as_dict(), lambda screen: _show(screen, comparison, out))


def _named(word: str) -> tuple[str, Path]:
    """The name of a model and the file of its scores."""
    name, given, rest = word.partition("=")
    chosen = bool(given and name and rest) and not Path(word).exists()  # a path may hold "=" itself
    path = Path(rest if chosen else word)
    file = path / SCORES if path.is_dir() else path
    own = file.resolve().parent.name if file.name == SCORES else file.stem
    return (name if chosen else own), file


def _read(
    files: list[tuple[str, Path]], metrics: tuple[str, ...], against: str | None
) -> dict[str, "Scores"]:
    """The models, or everything that is wrong with them at once."""
    from gliodistill.evaluation.comparability import IncomparableError, why_incomparable
    from gliodistill.evaluation.scores import Scores

    models: dict[str, Scores] = {}
    problems = []
    for name, file in files:
        if name in models:
            problems.append(f"two models are called {name}: name them with NAME=PATH")
            continue
        try:
            models[name] = Scores.read(file)
        except EvaluationError as error:
            problems.append(f"{name}: {error}")
    if problems:
        names = {name for name, _ in files}
        others = (
            why_incomparable(models, metrics=metrics, against=None if against in names else against)
            if len(models) > 1
            else []
        )
        raise IncomparableError(problems + others)
    return models


def _show(screen: "Console", comparison: "Comparison", out: Path | None) -> None:
    from gliodistill.evaluation.conclusions import cautions, conclusion, method
    from gliodistill.evaluation.metrics import FACTS

    rows = []
    for one in comparison.contrasts:
        form, difference = FACTS[one.metric].format.lstrip("+"), one.difference
        if difference is None:
            shown = ["–"] * 4
        else:
            interval = f"{difference.low:+{form}} … {difference.high:+{form}}"
            effect = "–" if one.rank_biserial is None else f"{one.rank_biserial:+.2f}"
            shown = [f"{difference.mean:+{form}}", interval, f"{one.holm_p:.2g}", effect]
        rows.append(
            [
                f"{one.first} - {one.second}",
                one.region,
                FACTS[one.metric].title,
                str(one.n),
                *shown,
                f"{one.wins}/{one.ties}/{one.losses}",
            ]
        )
    table(
        screen,
        [
            "difference",
            "region",
            "metric",
            "n",
            "mean",
            "95 % interval",
            "p (Holm)",
            "effect r",
            "better/equal/worse",
        ],
        rows,
    )
    for pair in comparison.pairs:
        said = conclusion(comparison, pair)
        screen.print(f"{said.sentence} {said.details}".strip())
    places = ", ".join(
        f"{one.position}. {one.model} ({one.mean_rank:.2f})" for one in comparison.ranking.standings
    )
    screen.print(f"mean rank over {comparison.ranking.patients} patients: {places}")
    for line in cautions(comparison):
        screen.print(f"caution: {line}")
    screen.print(method(comparison))
    if out is not None:
        screen.print(f"comparison in {out}; research use, not a medical device")
