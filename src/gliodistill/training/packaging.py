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
from gliodistill.models.package import ModelPackage
from gliodistill.models.spec import (
    InferenceSettings,
    ModelSpec,
    NetworkSpec,
    Outputs,
    Step,
    TrainingSummary,
)
from gliodistill.networks import Network
from gliodistill.preparation.cache import Cache, CachedStudy, is_cache
from gliodistill.studies.labels import BRATS2021, REGIONS
from gliodistill.training.checkpoint import read_tensors
from gliodistill.training.experiment import Experiment, find_run
from gliodistill.training.loop import BEST, NO_STATE
from gliodistill.trust.expected_quality import QualityModel
from gliodistill.trust.reference import Reference, fit_reference

CLASSES = ("background", "NCR", "ED", "ET")
COMPARED = 4
"""Training studies that exports are compared on, at most, and at most half of them."""
CALIBRATING = 8
"""Further training studies that int8 is calibrated on, at most."""
PATCHES = 4
"""Patches of each: every other one around a voxel of the tumour."""


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
) -> ModelPackage:
    """Write the model package of a finished run.

    What its training studies look like goes along where the run's cache is at hand
    (:func:`~gliodistill.trust.reference.fit_reference`).

    Args:
        path: folder of an experiment or of one of its runs.
        out: new or empty folder.
        run: which run of an experiment; None = its last, the student.
        name: of the model; None = recipe and run.
        formats: some of ``openvino``, ``onnx``, ``torch``.
        int8: adds an int8 OpenVINO graph, calibrated on training studies in the run's cache.
        int8_default: whether OpenVINO takes that graph unless told otherwise.
        threshold: probability above which the model draws a region, (0, 1).
        postprocessing: clean-up rules that the model brings along.
        card: more sections of the model card.
        quality: what predicts the Dice of its answers, from a cross-validation of the same recipe.

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
                hint="export without --int8, or prepare the data again where the cache was",
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
        finished.spec, inference=inference, quality=quality, reference=finished.reference()
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


@dataclass(frozen=True, eq=False)
class _Finished:
    """A run that ended, its network and what the model made of it is."""

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
        channels, sequences = list(resolved.channels), resolved.sequences
        options = {
            **part.network.options,
            "in_channels": len(sequences),
            "out_channels": part.channels,
        }
        counts = {side: len(ids) for side, ids in experiment.split.items()}
        data = (
            f"{counts['training']} labelled studies to train on and {counts['validation']} to"
            " validate on, no patient on both sides"
        )
        if learnt := summary.get("pseudo"):
            seen = (
                f", {learnt['transductive']} of them of validation patients (transductive)"
                if learnt["transductive"]
                else ""
            )
            data += f"; {learnt['studies']} pseudo-labelled or synthetic studies{seen}"
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
                Outputs("regions", REGIONS)
                if part.outputs == "regions"
                else Outputs("classes", CLASSES)
            ),
            convention=experiment.convention or BRATS2021,
            inference=InferenceSettings(recipe.sampling.patch),
            training=TrainingSummary(
                recipe=recipe.name,
                method=part.method.name,
                seed=part.seed,
                steps=int(summary["steps"]),
                validation_dice={
                    region: float(dice[region]) for region in REGIONS if region in dice
                },
                data=data,
            ),
            # A network that learnt with sequences dropped can do without any of them.
            may_lack=sequences if part.augmentation.modality_dropout.p > 0 else (),
        )
        return cls(experiment, channels, network, spec)

    def studies(self) -> tuple[list[CachedStudy], list[CachedStudy]]:
        """Training studies to compare exports on, and others to calibrate int8 on; none where the
        cache is gone.
        """
        found = list(self.training or ())
        compared = min(COMPARED, -(-len(found) // 2))
        return found[:compared], found[compared : compared + CALIBRATING]

    def reference(self) -> Reference | None:
        """What its training studies look like; None where the cache is gone or holds too few."""
        if self.training is None:
            return None
        try:
            return fit_reference(
                (study.image() for study in self.training), self.training.preparation.sequences
            )
        except EvaluationError:
            return None

    @cached_property
    def training(self) -> Cache | None:
        """Its training studies, as prepared; None where the cache is gone."""
        if not is_cache(self.experiment.cache):
            return None
        cache = Cache.open(self.experiment.cache)
        return cache.select(set(self.experiment.split["training"]) & {study.id for study in cache})

    def image(self, study: CachedStudy) -> NDArray[np.uint8]:
        """What the network sees of a study, uint8 C X Y Z."""
        return np.asarray(study.image()[self.channels])

    def patches(self, study: CachedStudy, sides: list[int]) -> Iterable[NDArray[np.uint8]]:
        """Patches of a study, uint8 C and ``sides``: around voxels of the tumour and anywhere, by
        turns; the same ones every time.
        """
        image, tumour = self.image(study), np.argwhere(study.truth() & 7)
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
