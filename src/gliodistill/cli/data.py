"""Commands about data: phantom, inspect, prepare."""

from pathlib import Path
from typing import Annotated

import typer

from gliodistill.cli.output import Json, Labels, console, emit, table


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(phantom)
    app.command()(inspect)
    app.command()(prepare)


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder of the cohort: new, or one to continue.", show_default=False)],
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Number of studies.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same studies.")] = 0,
    spacing: Annotated[float, typer.Option(min=0.5, max=8.0, help="Voxel size in mm.")] = 1.0,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes (default: one per core).")] = None,
    as_json: Json = False,
) -> None:
    """Generate synthetic glioma studies with truth, in BraTS layout.

    Example: [cyan]gliodistill phantom cohort -n 20 --seed 1 --spacing 2[/cyan]
    """
    from gliodistill.phantom.cohort import write_cohort

    cohort = write_cohort(out, n, seed, spacing=spacing, jobs=jobs)
    ids = [record.id for record in cohort.studies]
    emit(as_json, {"folder": str(out), "studies": ids}, lambda: console().print(f"{len(ids)} synthetic studies in {out}"))


def inspect(
    path: Annotated[Path, typer.Argument(help="Folder of studies in any layout, a study, or a manifest.", show_default=False)],
    deep: Annotated[bool, typer.Option("--deep", help="Read every voxel, not only headers.")] = False,
    as_json: Json = False,
) -> None:
    """Say what is there: layout, studies, sequences, label convention, every problem found.

    Example: [cyan]gliodistill inspect patients/[/cyan]
    """
    from gliodistill.studies.inspection import inspect as look

    found = look(path, deep=deep)

    def show() -> None:
        facts = found.as_dict()
        out = console()
        out.print(f"[bold]{path}[/bold]: layout [cyan]{facts['layout']}[/cyan], {len(facts['studies'])} studies")
        convention = facts["convention"]
        evidence = "; ".join(facts["evidence"]) if isinstance(facts["evidence"], list) else facts["evidence"]
        out.print(f"labels: [cyan]{convention or 'none'}[/cyan]" + (f" ({evidence})" if evidence else ""))
        rows = []
        for study in facts["studies"]:
            matched = ", ".join(f"{s} ← {m['spelling']}" for s, m in study["sequences"].items())
            grid = "" if study["shape"] is None else "×".join(map(str, study["shape"]))
            spacing = "" if study["spacing"] is None else "×".join(f"{s:.3g}" for s in study["spacing"])
            truth = "" if study["truth"] is None else "yes"
            rows.append([study["id"], study["patient"], matched, grid, spacing, study["orientation"] or "", truth])
        table(out, ["study", "patient", "sequences ← spelling", "voxels", "mm", "axes", "truth"], rows)
        for problem in facts["problems"]:
            out.print(f"[yellow]problem[/yellow] {problem if isinstance(problem, str) else problem['line']}", highlight=False)
        if not facts["problems"]:
            out.print("no problems found")

    emit(as_json, found.as_dict(), show)
    if found.problems:
        raise typer.Exit(1)


def prepare(
    path: Annotated[Path, typer.Argument(help="Studies in any layout.", show_default=False)],
    cache: Annotated[Path, typer.Option("--output", "-o", help="Folder of the cache: new, or one to continue.", show_default=False)],
    spacing: Annotated[float | None, typer.Option(min=0.3, max=8.0, help="Voxel size in mm (default: each study's own).")] = None,
    sequences: Annotated[str, typer.Option(help="Channels, in order.")] = "T1,T1CE,T2,FLAIR",
    recipe: Annotated[Path | None, typer.Option(help="Take sequences and spacing from a recipe.", show_default=False)] = None,
    labels: Labels = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes (default: one per core).")] = None,
    as_json: Json = False,
) -> None:
    """Prepare studies once for training: crop to the brain, resample, normalise, one byte a voxel.

    Example: [cyan]gliodistill prepare patients/ -o cache --recipe recipes/compression.yaml[/cyan]
    """
    from gliodistill.preparation import Preparation, build_cache
    from gliodistill.studies.cohort import open_cohort
    from gliodistill.studies.sequence import Sequence

    if recipe is not None:
        from gliodistill.training.recipe import load_recipe

        preparation = load_recipe(recipe).data.preparation()
    else:
        channels = tuple(Sequence.parse(name) for name in sequences.split(","))
        preparation = Preparation(channels, None if spacing is None else (spacing, spacing, spacing))
    built = build_cache(open_cohort(path, labels=labels), preparation, cache, jobs)
    size = sum(file.stat().st_size for file in Path(cache).rglob("*.npy"))
    facts = {"cache": str(cache), "studies": [study.id for study in built], "bytes": size, "preparation": preparation.to_dict()}
    emit(as_json, facts, lambda: console().print(f"{len(built)} studies prepared in {cache} ({size / 1e6:.0f} MB)"))
