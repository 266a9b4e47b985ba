"""The predictor: from a study to its segmentation."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import PackageError, StudyError
from gliodistill.inference import tiling
from gliodistill.inference.cases.base import Ready
from gliodistill.inference.cases.finding import one_case
from gliodistill.inference.postprocessing import RULES, Known, check_steps, clean
from gliodistill.inference.runtimes import RUNTIMES, open_runtime
from gliodistill.inference.segmentation import Segmentation
from gliodistill.inference.tta import NO_TTA, Mirroring, averaged, names
from gliodistill.logits import FLOOR, probabilities
from gliodistill.models.package import ModelPackage
from gliodistill.models.shipped import find_model
from gliodistill.preparation.prepared import Prepared
from gliodistill.progress import stage
from gliodistill.studies.image_checks import IGNORED, usable
from gliodistill.studies.labels import LabelConvention, find_convention
from gliodistill.studies.records import Sources
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study
from gliodistill.trust.assessment import Evidence, assess
from gliodistill.trust.calibration import RegionCalibration, calibrated

MEMORY_GB = 3.0
"""Memory limit of a whole-brain pass, above which a sliding window is used; fixed, so that results
do not depend on the load.
"""


class Predictor:
    """A model ready to segment studies.

    Args:
        package: an opened package, the folder of one, or the name of a shipped model; None = the
            default of the shipped ones.
        runtime: ``"openvino"``, ``"onnx"``, ``"torch"``, or one that another package adds.
        threads: processor threads; None = all cores.
        device: ``"cpu"``, ``"cuda"`` (torch) or ``"auto"``
            (:func:`~gliodistill.inference.runtimes.open_runtime`).
        precision: numeric precision (:func:`~gliodistill.inference.runtimes.open_runtime`); None =
            the package's default.
        memory_gb: memory limit of a whole-brain pass, above which a sliding window is used; 0
            always uses it.
        tta: mirrorings to average (:func:`~gliodistill.inference.tta.parse_tta`).
        postprocess: whether the package's clean-up steps are applied.

    Raises:
        PackageError: the package is damaged, a clean-up step unknown, the runtime unknown or not
            installed, or without such a device.
    """

    def __init__(
        self,
        package: ModelPackage | str | os.PathLike[str] | None = None,
        runtime: str = "openvino",
        threads: int | None = None,
        *,
        device: str = "cpu",
        precision: str | None = None,
        memory_gb: float = MEMORY_GB,
        tta: tuple[Mirroring, ...] = NO_TTA,
        postprocess: bool = True,
    ) -> None:
        self.package = (
            package if isinstance(package, ModelPackage) else ModelPackage.open(find_model(package))
        )
        self.steps = self.package.spec.inference.postprocessing if postprocess else ()
        check_steps(self.steps, self.package.spec.task)
        self.runtime = open_runtime(runtime, self.package, threads, precision, device)
        self.runtime_name, self.precision, self.threads = runtime, precision, threads
        self.device = str(getattr(self.runtime, "device", "cpu"))
        self.memory_gb = memory_gb
        self.tta = tta

    def __getstate__(self) -> dict[str, Any]:
        """Without the runtime, which each process opens anew."""
        return {name: value for name, value in self.__dict__.items() if name != "runtime"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.runtime = open_runtime(
            self.runtime_name, self.package, self.threads, self.precision, self.device
        )

    def segment(
        self,
        study: Study | str | os.PathLike[str],
        *,
        labels: LabelConvention | str | None = None,
        probability: bool = False,
    ) -> Segmentation:
        """Segment one study, prepared or as scanned.

        No float map of the whole study is made: scores are resampled to the study's grid a few
        planes at a time, and, without ``probability``, only around voxels above the threshold.

        Args:
            study: sequences the model does not take are ignored; or the path of one: NIfTI, with
                skull or without, or DICOM (a folder, a zip, a DICOMDIR).
            labels: convention of the output; None = that of the model's training references.
            probability: keep the probabilities too.

        Raises:
            StudyError: the study lacks a sequence that the model needs, or its images are empty.
            LabelError: no such convention.
            GliodistillError: a path at which no study, or several, can be read.
        """
        if isinstance(study, Study):
            return self.segment_ready(Ready(study), labels=labels, probability=probability)
        with one_case(study) as case:
            return self.segment_ready(
                case.ready(self.threads), labels=labels, probability=probability
            )

    def segment_ready(
        self,
        ready: Ready,
        *,
        labels: LabelConvention | str | None = None,
        probability: bool = False,
    ) -> Segmentation:
        """As :meth:`segment`, of a case that was made ready
        (:mod:`gliodistill.inference.cases`).
        """
        began = time.perf_counter()
        study = usable(ready.study)
        prepared = self.prepare(study)
        answer = self.segment_prepared(prepared, labels=labels, probability=probability)
        seconds = {
            "prepare": time.perf_counter() - began - sum(answer.seconds.values()),
            **answer.seconds,
        }
        seconds = {**ready.seconds, **seconds}
        answer = replace(self.with_sources(answer, study.sources, study.sequences), seconds=seconds)
        return answer if ready.scan is None else ready.scan.back(answer)

    def with_sources(
        self, answer: Segmentation, sources: Sources, present: tuple[MRSequence, ...]
    ) -> Segmentation:
        """The segmentation with the files it was made from.

        Args:
            answer: the segmentation.
            sources: the study's files.
            present: the study's sequences; one without a file came from memory.
        """
        takes = self.package.spec.sequences
        files = {sequence: sources.used.get(sequence) for sequence in present}
        absent = tuple(sequence for sequence in takes if sequence not in present)
        used = Sources(files, sources.unused).of(takes)
        return replace(answer, sources=used, absent=absent)

    def prepare(self, study: Study) -> Prepared:
        """Check a study and prepare it for the network.

        Raises:
            StudyError: as :meth:`segment`.
        """
        stage("prepare")
        study = usable(study)
        self.check(study)
        return self.package.preparation.apply(study)

    def segment_prepared(
        self,
        prepared: Prepared,
        *,
        labels: LabelConvention | str | None = None,
        probability: bool = False,
    ) -> Segmentation:
        """As :meth:`segment`; the study's images need not be in memory."""
        convention = self.package.convention if labels is None else find_convention(labels)
        task = self.package.spec.task
        codes, members = task.codes(convention), task.members(convention)
        grid, began = prepared.native, time.perf_counter()
        inferring = 0.0
        stage("infer")

        def watched() -> Iterator[NDArray[np.float32]]:
            nonlocal inferring
            asked = time.perf_counter()
            for slab in self._region_slabs(prepared.image):
                inferring += time.perf_counter() - asked
                evidence.add(calibrated(slab, scales))
                yield slab
                asked = time.perf_counter()

        scales = self.temperatures(prepared)
        threshold = self.package.spec.inference.logit_threshold
        evidence = Evidence(threshold, task)
        # Voxels are compared before calibration, so that interpolation between them is the same
        # with and without it.
        limits = [threshold if scale is None else scale.before(threshold) for scale in scales]
        depth = np.zeros([side.stop - side.start for side in prepared.box], dtype=np.uint8)
        kept = np.zeros((len(limits), *depth.shape), dtype=np.uint8) if probability else None
        outermost = None if probability else {root: limits[root] for root in task.roots}
        for place, values in prepared.slabs_in_box(watched(), outermost):
            # A region only inside the one around it, as in label maps.
            pairs = zip(values, limits, strict=True)
            depth[place] = task.paint(np.stack([channel > limit for channel, limit in pairs]))
            if kept is not None:
                kept[:, *place] = np.rint(
                    task.nest(probabilities(calibrated(values, scales))) * 255
                )
        part = prepared.on_grid[1]
        depth = clean(
            depth[part], self.steps, Known(grid.voxel_ml * 1000, evidence.expected_dice(), task)
        )
        counts = np.bincount(depth.ravel(), minlength=len(codes))
        volumes = {
            region: float(counts[inside].sum()) * grid.voxel_ml
            for region, inside in zip(task.names, members, strict=True)
        }
        return Segmentation(
            id=prepared.id,
            labels=grid.with_data(prepared.to_own_grid(codes[depth])),
            convention=convention,
            task=task,
            volumes_ml=volumes,
            quality=assess(prepared, self.package.spec, evidence, depth, volumes),
            model=self.package.identity,
            fingerprint=self.package.fingerprint,
            precision=self.precision,
            runtime=self.runtime_name,
            device=self.device,
            plugins=self.plugins,
            tta=names(self.tta),
            postprocessing=self.steps,
            seconds={"infer": inferring, "restore": time.perf_counter() - began - inferring},
            probabilities=(
                None
                if kept is None
                else np.stack([prepared.to_own_grid(region[part]) for region in kept])
            ),
        )

    def __repr__(self) -> str:
        sequences = " ".join(
            f"[{s}]" if s in self.package.spec.may_lack else str(s)
            for s in self.package.spec.sequences
        )
        name = self.package.identity
        return f"<Predictor {name}: {sequences}; {self.runtime_name} on {self.device}>"

    @property
    def plugins(self) -> dict[str, str]:
        """What other packages add to this predictor, as ``runtime plug_runtime``, to the package
        and its version.
        """
        used = {f"runtime {self.runtime_name}": RUNTIMES.package(self.runtime_name)}
        used |= {f"postprocessing {s.name}": RULES.package(s.name) for s in self.steps}
        return {what: package for what, package in used.items() if package is not None}

    def temperatures(self, prepared: Prepared) -> tuple[RegionCalibration | None, ...]:
        """The package's calibration of each region for a study with these sequences; None where
        there is none.
        """
        calibration = self.package.spec.calibration
        if calibration is None:
            return (None,) * len(self.package.spec.task.regions)
        there = zip(self.package.sequences, prepared.present, strict=True)
        given = (sequence for sequence, present in there if present)
        return calibration.of(given, self.package.spec.task.names)

    def region_logits(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits of the regions (R X Y Z, float32) of a prepared image (levels, uint8 C X Y Z),
        for any kind of outputs; not calibrated.
        """
        return self.package.spec.outputs.region_logits(self.logits(image))

    def logits(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The network's logits (K X Y Z, float32) of a prepared image (levels, uint8 C X Y Z),
        in one pass or by a sliding window.
        """
        slabs = list(self._slabs(image, self._ask))
        return slabs[0] if len(slabs) == 1 else np.concatenate(slabs, axis=1)

    def _region_slabs(self, image: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
        """Logits of the regions, averaged over mirrorings, slab by slab along X."""
        outputs = self.package.spec.outputs
        if self.tta == NO_TTA:
            slabs = (outputs.region_logits(slab) for slab in self._slabs(image, self._ask))
            return (
                slabs if outputs.kind == "regions" else (np.maximum(slab, FLOOR) for slab in slabs)
            )
        return self._slabs(
            image,
            averaged(
                lambda levels: np.stack([outputs.region_logits(k) for k in self._ask(levels)]),
                self.tta,
            ),
        )

    def _ask(self, levels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the network and check its output: shape, and no NaN or Inf."""
        logits = self.runtime(levels)
        expected = (len(levels), len(self.package.spec.outputs.names), *levels.shape[2:])
        if logits.shape != expected or logits.dtype != np.float32:
            raise PackageError(
                "graph's outputs are not those of the model description",
                file=self.package.folder,
                field="outputs",
                got=f"{logits.dtype} {logits.shape}",
                expected=f"float32 {expected}",
            )
        # A NaN or Inf makes the sum NaN or Inf, which is cheaper than checking each voxel.
        if not np.isfinite(logits.sum()):
            bad = int(np.count_nonzero(~np.isfinite(logits)))
            raise PackageError(
                f"model {self.package.identity} gives NaN or Inf",
                file=self.package.folder,
                field="logits",
                got=f"{bad} NaN or Inf of {logits.size}",
                expected="finite numbers",
                hint=(
                    "it is damaged, or a value overflows: try --precision f32 or another"
                    " --runtime, or export it again"
                ),
            )
        return logits

    def _slabs(
        self, image: NDArray[np.uint8], network: tiling.Network
    ) -> Iterator[NDArray[np.float32]]:
        settings, divisor = self.package.spec.inference, self.package.runtime.divisor
        if self._whole(image.shape[1:]):
            return iter([tiling.whole(image, network, divisor)])
        return tiling.by_windows(image, network, settings.patch, settings.overlap, divisor)

    def _whole(self, shape: tuple[int, ...]) -> bool:
        return self.package.spec.inference.whole and self.memory_of(shape) <= self.memory_gb

    def memory_of(self, shape: tuple[int, ...]) -> float:
        """Estimated memory of a whole-brain pass over ``shape`` (X Y Z), in GB."""
        x, y, z = shape
        return (
            float(np.prod(tiling.padded_sides((x, y, z), self.package.runtime.divisor)))
            * self.package.runtime.bytes_per_voxel
            / 1e9
        )

    def check(self, study: Study) -> None:
        """Raise StudyError if the study lacks a sequence that the model needs."""
        spec = self.package.spec
        missing = [s for s in spec.sequences if s not in study.images and s not in spec.may_lack]
        if missing:
            takes = ", ".join(
                f"{s} (optional)" if s in spec.may_lack else str(s) for s in spec.sequences
            )
            raise StudyError(
                f"model {spec.name} needs {' and '.join(missing)}, which the study lacks",
                file=study.id,
                field="sequences",
                got=", ".join(study.sequences)
                + "".join(f"; {note.text}" for note in study.notes if note.code == IGNORED),
                expected=takes,
                hint="add the sequence, or use a model that works without it",
            )


def load_model(
    model: str | os.PathLike[str] | None = None,
    runtime: str = "openvino",
    threads: int | None = None,
    device: str = "cpu",
) -> Predictor:
    """Load a model: ``load_model().segment(Study.open(folder)).save("labels.nii.gz")``.

    Args:
        model: the package's folder, or the name of a shipped model; None = the default of the
            shipped ones.
        runtime: ``"openvino"``, ``"onnx"``, ``"torch"``, or one that another package adds.
        threads: processor threads; None = all cores.
        device: ``"cpu"``, or with torch ``"cuda"`` (a GPU) or ``"auto"``.

    Raises:
        PackageError: there is no such model, the package is damaged, or the runtime unknown, not
            installed or without such a device.
    """
    return Predictor(model, runtime, threads, device=device)


def segment(
    study: Study | str | os.PathLike[str],
    model: str | os.PathLike[str] | None = None,
    runtime: str = "openvino",
    threads: int | None = None,
    device: str = "cpu",
) -> Segmentation:
    """Segment one study; for many, keep :func:`load_model`'s predictor.

    Args:
        study: a study, or the path of one: NIfTI, prepared or as scanned, or DICOM.
        model: as in :func:`load_model`.
        runtime: as in :func:`load_model`.
        threads: as in :func:`load_model`.
        device: as in :func:`load_model`.

    Raises:
        GliodistillError: the study or the model cannot be read, or do not fit.
    """
    return load_model(model, runtime, threads, device).segment(study)
