"""The pretrained run of another training: found, and checked for each run that uses it."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from gliodistill.errors import CheckpointError, RecipeError
from gliodistill.networks.widening import check_widening
from gliodistill.recipes.schema import PRETRAINED, Recipe
from gliodistill.training.experiment import DATA, find_run
from gliodistill.training.resolved import ResolvedRun


def find_pretrained(
    wanted: Sequence[ResolvedRun],
    recipe: Recipe,
    given: str | os.PathLike[str] | None,
    there: dict[str, str] | None,
    root: Path,
) -> dict[str, str] | None:
    """The pretrained run for the ``wanted`` runs with ``init_from: pretrained``.

    Args:
        wanted: the runs to train now.
        recipe: theirs.
        given: folder of a finished run of another training.
        there: the pretrained run stored in this training's folder.
        root: this training's folder.

    Returns:
        ``folder``, ``recipe``, ``run`` and ``weights_sha256`` of the pretrained run; ``there`` if
        no wanted run needs one.

    Raises:
        CheckpointError: none is given, it is not finished, or it differs from ``there``.
        RecipeError: it has other sequences, or a network that does not fit.
    """
    starting = [run for run in wanted if run.init_from == PRETRAINED]
    if not starting:
        return there
    if given is None and there is None:
        raise CheckpointError(
            f"run {starting[0].name} needs a pretrained run",
            field=f"runs.{starting[0].name}.init_from",
            got="none",
            hint="give --pretrained RUN, a finished run of another training",
        )
    if given is None:
        assert there is not None
        given = Path(there["folder"]) / there["run"]
    experiment, name = find_run(given)
    found = {
        "folder": str(experiment.folder.resolve()),
        "recipe": experiment.recipe.name,
        "run": name,
        "weights_sha256": experiment.summary(name)["weights_sha256"],
    }
    if there is not None and there["weights_sha256"] != found["weights_sha256"]:
        raise CheckpointError(
            "folder was initialised from other weights",
            file=root / DATA,
            got=str(given),
            expected=there["folder"],
            hint="resume with the same pretrained run, or choose another folder",
        )
    theirs = experiment.run(name)
    _check_averaging(recipe, theirs)
    for run in starting:
        if run.sequences != theirs.sequences:
            raise RecipeError(
                "pretrained run has other sequences",
                field=f"runs.{run.name}.init_from",
                got=", ".join(theirs.sequences),
                expected=", ".join(run.sequences),
            )
        with torch.device("meta"):
            check_widening(theirs.build_network(), run.build_network())
    return found


def _check_averaging(recipe: Recipe, theirs: ResolvedRun) -> None:
    """Check that weights are averaged only with those of the same network."""
    network = theirs.part.network
    for name, part in recipe.runs.items():
        head = recipe.head(name)
        if part.weight_averaging and head == PRETRAINED and part.network != network:
            raise RecipeError(
                "averages weights of another network",
                field=f"runs.{name}.weight_averaging",
                got=f"{network.name} {network.options}",
                expected=f"{part.network.name} {part.network.options}",
            )
