"""From a finished run to a model package that runs without torch."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from gliodistill.errors import CheckpointError
from gliodistill.models.export import export_package
from gliodistill.models.package import ModelPackage
from gliodistill.models.spec import InferenceSettings, ModelSpec, NetworkSpec, Outputs, TrainingSummary
from gliodistill.preparation.cache import Cache, is_cache
from gliodistill.studies.labels import BRATS2021, REGIONS
from gliodistill.training.checkpoint import read_tensors
from gliodistill.training.experiment import RECIPE, Experiment
from gliodistill.training.loop import BEST
from gliodistill.training.methods import channels_of

CLASSES = ("background", "NCR", "ED", "ET")


def find_run(path: str | os.PathLike[str], run: str | None = None) -> tuple[Experiment, str]:
    """The experiment and run meant by the folder of an experiment (its last run: the student) or of one of its runs.

    Raises:
        CheckpointError: neither.
    """
    folder = Path(path)
    if run is None and not (folder / RECIPE).exists() and (folder.parent / RECIPE).exists():
        folder, run = folder.parent, folder.name
    experiment = Experiment.open(folder)
    name = run or list(experiment.recipe.runs)[-1]
    if name not in experiment.recipe.runs:
        raise CheckpointError("no such run", file=folder, got=name, expected=", ".join(experiment.recipe.runs))
    return experiment, name


def package_run(path: str | os.PathLike[str], out: str | os.PathLike[str], run: str | None = None, name: str | None = None) -> ModelPackage:
    """Write the model package of a finished run.

    Args:
        path: folder of an experiment or of one of its runs.
        out: new or empty folder.
        run: which run of an experiment; None = its last, the student.
        name: of the model; None = recipe and run.

    Raises:
        CheckpointError: not a finished run.
        PackageError: the exported graph disagrees with the network.
        OutputError: ``out`` cannot be written.
    """
    experiment, run = find_run(path, run)
    recipe, part = experiment.recipe, experiment.recipe.runs[run]
    summary = experiment.summary(run)
    network = experiment.load_network(run)
    _, facts = read_tensors(experiment.folder / run / BEST)
    dice = facts.get("dice") or {}
    channels = channels_of(recipe, run)
    sequences = tuple(recipe.data.sequences[channel] for channel in channels)
    options = {**part.network.options, "in_channels": len(sequences), "out_channels": part.channels}
    counts = {side: len(ids) for side, ids in experiment.split.items()}
    data = f"{counts['training']} labelled studies to train on and {counts['validation']} to validate on, no patient on both sides"
    if learnt := summary.get("pseudo"):
        seen = f", {learnt['transductive']} of them of validation patients (transductive)" if learnt["transductive"] else ""
        data += f"; {learnt['studies']} pseudo-labelled studies{seen}"
    spec = ModelSpec(
        name=name or f"{recipe.name}-{run}",
        preparation=replace(recipe.data.preparation(), sequences=sequences),
        network=NetworkSpec(part.network.name, options),
        outputs=Outputs("regions", REGIONS) if part.outputs == "regions" else Outputs("classes", CLASSES),
        convention=experiment.convention or BRATS2021,
        inference=InferenceSettings(recipe.sampling.patch),
        training=TrainingSummary(
            recipe=recipe.name,
            method=part.method.name,
            seed=part.seed,
            steps=int(summary["steps"]),
            validation_dice={region: float(dice[region]) for region in REGIONS if region in dice},
            data=data,
        ),
        # A network that learnt with sequences dropped can do without any of them.
        may_lack=sequences if part.augmentation.drop_sequence > 0 else (),
    )
    return export_package(network, spec, out, samples=[image[channels] for image in _samples(experiment)])


def _samples(experiment: Experiment) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """One prepared study, where the cache is still there, to compare formats on beside random images."""
    if not is_cache(experiment.cache):
        return []
    cache = Cache.open(experiment.cache)
    ids = set(experiment.split["validation"]) & {study.id for study in cache}
    return [np.asarray(study.image()) for study in cache.select(ids)][:1]
