"""The command that plans a student: plan."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gliodistill.cli.output import Json, Threads, emit, table
from gliodistill.errors import BudgetError

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 24


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(plan)


def plan(
    teacher: Annotated[
        str,
        typer.Option(
            "--teacher",
            metavar="RUN|NETWORK|KIND:PATH",
            help=(
                "Folder of a training or of one of its runs, the name of a network, or a teacher of"
                " another tool, e.g. nnunet:FOLDER."
            ),
            show_default=False,
        ),
    ],
    budget: Annotated[
        list[str],
        typer.Option(
            "--budget",
            metavar="LIMIT",
            help=(
                "params<=11%, flops<=200G, size<=4MB, latency<=300ms; % is of the teacher. May be"
                " repeated; all must hold."
            ),
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="PLAN", help="Folder of the plan: new.", show_default=False
        ),
    ] = None,
    student: Annotated[
        list[str] | None,
        typer.Option(
            "--student",
            metavar="NETWORK",
            help=(
                "Type of blocks: unet (default), residual_unet, attention_fused; may be repeated."
            ),
            show_default=False,
        ),
    ] = None,
    stem_stride: Annotated[
        list[int] | None,
        typer.Option(
            "--stem-stride",
            metavar="N",
            help=(
                "Stem stride: the trunk's grid is 1, 2 or 4 times coarser; may be repeated"
                " (default:"
                " up to 3.7 mm)."
            ),
            show_default=False,
        ),
    ] = None,
    runtime: Annotated[
        str,
        typer.Option(
            "--runtime", metavar="NAME", help="Runtime of the student: openvino or torch."
        ),
    ] = "openvino",
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            metavar="NAME",
            help="f32 or bf16 (default: the fastest here).",
            show_default=False,
        ),
    ] = None,
    threads: Threads = None,
    shape: Annotated[
        str | None,
        typer.Option(
            "--shape",
            metavar="X,Y,Z",
            help="Size of a brain in voxels (default: a typical one, at the recipe's spacing).",
            show_default=False,
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0, metavar="N", help="Time to spend on measurements.")
    ] = 60.0,
    as_json: Json = False,
) -> None:
    """Propose a student for a budget of parameters, operations, size or latency.

    The student has the widest trunk within the budget, measured on this machine. The output is
    two runs of a recipe: baseline and distilled. -o writes [bold]student.yaml[/bold] (the runs),
    [bold]recipe.yaml[/bold] (the teacher's recipe with them), [bold]plan.json[/bold],
    [bold]plan.html[/bold].

    Example: [cyan]gliodistill plan --teacher runs/first/teacher --budget "params<=11%" --budget
    "latency<=1s" -o plan[/cyan]
    """
    from gliodistill.files import check_free
    from gliodistill.planner.output import write_plan
    from gliodistill.planner.planning import plan_student

    sides = None if shape is None else _sides(shape)
    if out is not None:
        check_free(out)  # before the work
    made = plan_student(
        teacher,
        budget,
        networks=student or ("unet",),
        strides=stem_stride or (),
        runtime=runtime,
        precision=precision,
        threads=threads,
        shape=sides,
        seconds=seconds,
    )
    facts, fragment = made.as_dict(), made.fragment()
    if out is not None:
        write_plan(made, out)

    def show(screen: "Console") -> None:
        _show(screen, facts)
        screen.print(f"\n{fragment}", end="")
        screen.print(
            f"plan in {out}"
            if out
            else "Put these runs into the teacher's recipe, or write it all with -o PLAN."
        )

    emit(as_json, facts | {"folder": out and str(out)}, show)


def _sides(text: str) -> tuple[int, int, int]:
    words = text.replace("x", ",").split(",")
    if len(words) != 3 or not all(word.strip().isdecimal() and int(word) > 0 for word in words):
        raise BudgetError(
            "not a brain's shape",
            field="--shape",
            got=text,
            expected="three sides in voxels, e.g. 144,178,145",
        )
    x, y, z = map(int, words)
    return x, y, z


def _show(screen: "Console", facts: dict[str, Any]) -> None:
    from gliodistill.planner.budgets import written

    measured = [c for c in facts["candidates"] if c["latency_s"] is not None]
    rows = []
    for c in sorted(measured, key=lambda c: float(c["latency_s"]))[:SHOWN]:
        options = c["options"]
        mark = (
            "proposed"
            if c["chosen"]
            else "over budget"
            if not c["within"]
            else "front"
            if c["front"]
            else ""
        )
        rows.append(
            [
                f"{c['network']} {'-'.join(map(str, options['widths']))}",
                str(options["stem_stride"]),
                options["norm"],
                f"{c['parameters']:,}",
                f"{c['flops'] / 1e9:.3g}",
                f"{c['size_bytes'] / 1e6:.2f}",
                f"{1000 * c['latency_s']:.0f}",
                f"{c['flops'] / c['latency_s'] / 1e9:.0f}",
                str(c["passes"]),
                mark,
            ]
        )
    table(
        screen,
        ["student", "stem", "norm", "parameters", "GFLOP", "MB", "ms", "GFLOP/s", "passes", ""],
        rows,
    )
    conditions, shares = facts["measured"], facts["shares"]
    screen.print(
        f"One pass over a brain of {' × '.join(map(str, conditions['shape']))} voxels:"
        f" {conditions['runtime']}, {conditions['precision']}, {conditions['threads']} threads;"
        f" medians of interleaved passes. {len(facts['candidates'])} candidates."
    )
    screen.print(facts["rule"])
    screen.print(facts["alignment"]["explanation"])
    if facts["teaching"] is not None:
        screen.print(facts["teaching"]["explanation"])
    costs = {"params": facts["proposed"]["parameters"], "flops": facts["proposed"]["flops"]}
    of_teacher = ", ".join(
        f"{written(name, value)} {name}"
        + (f" ({shares[name]:.1%} of the teacher's)" if name in shares else "")
        for name, value in costs.items()
    )
    screen.print(f"Proposed: {of_teacher}, {written('latency', facts['proposed']['latency_s'])}.")
