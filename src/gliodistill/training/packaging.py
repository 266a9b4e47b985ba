"""From a finished run to a model package that runs without torch, or to a MONAI bundle."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import NoneType

import numpy as np
from numpy.typing import NDArray

from gliodistill.documents import Fields
from gliodistill.errors import EvaluationError, PackageError
from gliodistill.files import check_free
from gliodistill.models.export import DEFAULT_FORMATS, Int8, check_formats, export_package
from gliodistill.models.monai_bundle import write_bundle
from gliodistill.models.outputs import BACKGROUND, OutputChannels
from gliodistill.models.package import ModelPackage
from gliodistill.models.spec import InferenceSettings, ModelSpec, NetworkSpec, Step, TrainingSummary
from gliodistill.networks import Network
from gliodistill.preparation.cache import Cache, CachedStudy, is_cache
from gliodistill.preparation.prepared import TUMOUR
from gliodistill.studies.labels import LabelConvention
from gliodistill.tasks.task import Task
from gliodistill.training.checkpoint import read_tensors
from gliodistill.training.experiment import Experiment, find_run
from gliodistill.training.loop import BEST, NO_STATE
from gliodistill.trust.appearance_model import AppearanceModel, fit_appearance
from gliodistill.trust.calibration import Calibration
from gliodistill.trust.expected_quality import QualityModel

COMPARED = 4
"""Most training studies on which exports are compared; at most half of them are used."""
CALIBRATING = 8
"""Most further training studies for the calibration of int8."""
PATCHES = 4
"""Patches of each study; every other one is centred on a tumour voxel."""


def export(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    run: str | None = None,
    name: str | None = None,
    *,
    formats: Iterable[str] = DEFAULT_FORMATS,
    int8: bool = False,
    int8_default: bool = False,
    threshold: float = 0.5,
    postprocessing: tuple[Step, ...] = (),
    card: str = "",
    quality: QualityModel | None = None,
    calibration: Calibration | None = None,
) -> ModelPackage:
    """Write the model package of a finished run.

    It includes the appearance of its training studies if the run's cache exists
    (:func:`~gliodistill.trust.appearance_model.fit_appearance`).

    Args:
        path: folder of an experiment or of one of its runs.
        out: new or empty folder.
        run: which run of an experiment; None = its last, the student.
        name: of the model; None = recipe and run.
        formats: some of ``openvino``, ``onnx``, ``torch``.
        int8: adds an int8 OpenVINO graph, calibrated on training studies in the run's cache.
        int8_default: whether that graph is OpenVINO's default.
        threshold: probability above which a voxel belongs to a region, (0, 1).
        postprocessing: clean-up rules of the model.
        card: more sections of the model card.
        quality: the model that predicts its Dice, fitted in a cross-validation of the same recipe.
        calibration: of its probabilities, fitted in the same way
            (:func:`~gliodistill.trust.calibration.fit_calibration`).

    Raises:
        CheckpointError: not a finished run.
        PackageError: an exported graph disagrees with the network, no such format, a threshold out
            of range, or nothing to calibrate int8 on.
        OutputError: ``out`` cannot be written.
    """
    formats = check_formats(formats, int8 or int8_default)
    check_free(out)
    finished = _Finished.open(path, run, name)
    compared, calibrating = finished.studies()
    wish = None
    if int8 or int8_default:
        if not calibrating:
            raise PackageError(
                "too few studies to calibrate int8 on",
                file=finished.experiment.cache,
                field="--int8",
                got=f"{len(compared)} prepared training studies",
                expected="2 or more, in the cache of the run",
                hint="export without --int8, or prepare the data again into the run's cache",
            )
        sides = [
            -(-side // finished.network.divisor) * finished.network.divisor
            for side in finished.spec.inference.patch
        ]
        patches = [patch for study in calibrating for patch in finished.patches(study, sides)]
        wish = Int8(patches, len(calibrating), default=int8_default)
    samples = [finished.image(study) for study in compared]
    inference = replace(finished.spec.inference, threshold=threshold, postprocessing=postprocessing)
    spec = replace(
        finished.spec,
        inference=inference,
        calibration=calibration,
        quality=quality,
        reference=finished.reference(),
    )
    return export_package(
        finished.network, spec, out, formats=formats, int8=wish, samples=samples, card=card
    )


def bundle_run(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    run: str | None = None,
    name: str | None = None,
) -> Path:
    """Write the MONAI bundle of a finished run; arguments and errors as of :func:`export`."""
    check_free(out)
    finished = _Finished.open(path, run, name)
    return write_bundle(finished.network, finished.spec, out)


def _classes(task: Task) -> tuple[str, ...]:
    """The classes of a task of three nested regions, in the order that the losses take."""
    whole, core, enhancing = (str(region.paint[0]) for region in task.regions)
    return BACKGROUND, core, whole, enhancing


def _writable(convention: LabelConvention | None, task: Task) -> LabelConvention:
    """The convention of the references, if label maps of the task can be written in it; else the
    task's own.
    """
    if convention is not None and all(
        set(region.paint) & set(convention.codes.values()) for region in task.regions
    ):
        return convention
    return task.conventions[0]


@dataclass(frozen=True, eq=False)
class _Finished:
    """A finished run, its network and the specification of its model."""

    experiment: Experiment
    channels: list[int]
    network: Network
    spec: ModelSpec

    @classmethod
    def open(cls, path: str | os.PathLike[str], run: str | None, name: str | None) -> "_Finished":
        experiment, run = find_run(path, run)
        recipe, part = experiment.recipe, experiment.recipe.runs[run]
        summary = experiment.summary(run)
        network = experiment.load_network(run)
        _, facts = read_tensors(experiment.folder / run / BEST)
        told = Fields(facts, NO_STATE.of(experiment.folder / run / BEST))
        dice = {}
        if told.get("dice", (dict, NoneType), "an object or null") is not None:
            dice = {region: told.part("dice").number(region) for region in told.part("dice")}
        resolved = experiment.run(run)
        task = resolved.task
        channels, sequences = list(resolved.channels), resolved.sequences
        options = {
            **part.network.options,
            "in_channels": len(sequences),
            "out_channels": resolved.out_channels,
        }
        counts = {side: len(ids) for side, ids in experiment.split.items()}
        data = (
            f"{counts['training']} labelled studies for training and {counts['validation']} for"
            " validation, split by patient"
        )
        if used := summary.get("pseudo"):
            seen = (
                f", {used['transductive']} of them of validation patients (transductive)"
                if used["transductive"]
                else ""
            )
            data += f"; {used['studies']} pseudo-labelled or synthetic studies{seen}"
        for source in recipe.lineage(run):
            data += f"; fine-tuned from {experiment.named(source)}"
        if part.weight_averaging:
            data += "; weights averaged with " + ", ".join(
                f"{experiment.named(run)} ({share:g})"
                for run, share in part.weight_averaging.items()
            )
        spec = ModelSpec(
            name=name or f"{recipe.name}-{run}",
            preparation=replace(recipe.data.preparation_in_use(), sequences=sequences),
            network=NetworkSpec(part.network.name, options),
            outputs=(
                OutputChannels("regions", task.names, task)
                if part.outputs == "regions"
                else OutputChannels("classes", _classes(task), task)
            ),
            convention=_writable(experiment.convention, task),
            inference=InferenceSettings(recipe.sampling.patch),
            training=TrainingSummary(
                recipe=recipe.name,
                method=part.method.name,
                seed=part.seed,
                steps=int(summary["steps"]),
                validation_dice={
                    region: float(dice[region]) for region in task.names if region in dice
                },
                data=data,
            ),
            # A network trained with modality dropout can lack any sequence.
            may_lack=sequences if part.augmentation.modality_dropout.p > 0 else (),
        )
        return cls(experiment, channels, network, spec)

    def studies(self) -> tuple[list[CachedStudy], list[CachedStudy]]:
        """Training studies for comparing exports, and others for calibrating int8; none without the
        cache.
        """
        found = list(self.training or ())
        compared = min(COMPARED, -(-len(found) // 2))
        return found[:compared], found[compared : compared + CALIBRATING]

    def reference(self) -> AppearanceModel | None:
        """The appearance of its training studies; None without cache or with too few studies."""
        if self.training is None:
            return None
        try:
            return fit_appearance(
                (study.image() for study in self.training), self.training.preparation.sequences
            )
        except EvaluationError:
            return None

    @cached_property
    def training(self) -> Cache | None:
        """Its prepared training studies; None without the cache."""
        if not is_cache(self.experiment.cache):
            return None
        cache = Cache.open(self.experiment.cache)
        return cache.select(set(self.experiment.split["training"]) & {study.id for study in cache})

    def image(self, study: CachedStudy) -> NDArray[np.uint8]:
        """The network's input of a study, uint8 C X Y Z."""
        return np.asarray(study.image()[self.channels])

    def patches(self, study: CachedStudy, sides: list[int]) -> Iterable[NDArray[np.uint8]]:
        """Patches of a study, uint8 C and ``sides``: alternately around tumour voxels and anywhere;
        deterministic.
        """
        image, tumour = self.image(study), np.argwhere(study.truth() & TUMOUR)
        rng = np.random.default_rng(0)
        padded = np.pad(
            image,
            [
                (0, 0),
                *(
                    (0, max(0, side - old))
                    for side, old in zip(sides, image.shape[1:], strict=True)
                ),
            ],
        )
        for i in range(PATCHES):
            middle = rng.choice(tumour) if i % 2 and len(tumour) else rng.integers(image.shape[1:])
            starts = np.clip(middle - np.array(sides) // 2, 0, np.array(padded.shape[1:]) - sides)
            yield np.ascontiguousarray(
                padded[
                    (slice(None), *(slice(a, a + n) for a, n in zip(starts, sides, strict=True)))
                ]
            )
