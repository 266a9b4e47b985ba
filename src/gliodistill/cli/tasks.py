"""The command that lists what can be segmented: tasks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gliodistill.cli.output import Json, emit

if TYPE_CHECKING:
    from rich.console import Console

    from gliodistill.tasks.task import Task


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(tasks)


def tasks(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[TASK]", help="A shipped task, or the YAML file of one.", show_default=False
        ),
    ] = None,
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="Print the task's file, to write your own.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the tasks (label sets) that can be trained and segmented, or show one.

    A task says which tissues there are, how they are coded, which regions a network learns, how
    they are painted into a label map, and what is scored. Recipes name a task.

    Example: [cyan]gliodistill tasks glioma-post --yaml > mine.yaml[/cyan]
    """
    from gliodistill.errors import GliodistillError
    from gliodistill.tasks.catalogue import find_task, shipped_tasks
    from gliodistill.tasks.description import description_of

    if name is None:
        if as_yaml:
            raise GliodistillError(
                "no task to print", field="TASK", expected=", ".join(shipped_tasks())
            )
        listed = {each: find_task(each) for each in shipped_tasks()}
        plain = {each: description_of(task) for each, task in listed.items()}
        emit(as_json, {"tasks": plain}, lambda screen: _list(screen, list(listed.values())))
        return
    task = find_task(name)
    if as_yaml:
        file = shipped_tasks().get(name, Path(name))
        typer.echo(file.read_text(encoding="utf-8"), nl=False)  # byte for byte, with its comments
        return
    emit(as_json, description_of(task), lambda screen: _show(screen, task))


def _list(screen: "Console", listed: "list[Task]") -> None:
    from gliodistill.cli.output import table

    rows = [
        [task.name, task.nesting, ", ".join(each.name for each in task.conventions), task.title]
        for task in listed
    ]
    table(screen, ["task", "regions", "label conventions", "for"], rows)
    screen.print(
        "Show one with: gliodistill tasks NAME. Train on one with: task: NAME in a recipe."
    )


def _show(screen: "Console", task: "Task") -> None:
    from gliodistill.cli.output import table

    screen.print(f"{task.name}: {task.title}", style="bold")
    screen.print(task.scans)
    for convention in task.conventions:
        codes = ", ".join(f"{code} {tissue}" for code, tissue in convention.codes.items())
        screen.print(f"codes      {convention.name}: {codes}")
    rows: list[list[Any]] = [
        [
            region.name,
            region.look.words,
            " ".join(sorted(map(str, region.tissues))),
            " or ".join(map(str, region.paint)),
            region.within or "–",
        ]
        for region in task.regions
    ]
    table(screen, ["region", "in words", "tissues", "painted as", "within"], rows)
    scored = ", ".join(task.evaluation.regions)
    challenges = ", ".join(task.evaluation.challenges) or "none"
    screen.print(f"scored     {scored} (challenges: {challenges})")
    screen.print(f"clean-up   {', '.join(task.clean_up) or 'none'}")
