"""Study in, segmentation out."""

import os
import time

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import StudyError
from gliodistill.inference import tiling
from gliodistill.inference.runtimes import open_runtime
from gliodistill.inference.segmentation import Segmentation
from gliodistill.models.package import ModelPackage
from gliodistill.models.spec import find_convention
from gliodistill.studies.labels import LabelConvention
from gliodistill.studies.study import Study

MEMORY_GB = 6.0
"""Memory a whole-brain pass may take before windows are used instead; fixed, so that answers do not depend on the load."""


class Predictor:
    """A model ready to segment studies.

    Args:
        package: an opened package, or the folder of one.
        runtime: ``"openvino"`` or ``"torch"``.
        threads: processor threads; None = all cores.
        memory_gb: a brain whose one-pass estimate is larger is segmented by windows; 0 always uses windows.

    Raises:
        PackageError: the package is damaged, or the runtime unknown or not installed.
    """

    def __init__(
        self,
        package: ModelPackage | str | os.PathLike[str],
        runtime: str = "openvino",
        threads: int | None = None,
        *,
        memory_gb: float = MEMORY_GB,
    ) -> None:
        self.package = package if isinstance(package, ModelPackage) else ModelPackage.open(package)
        self.runtime = open_runtime(runtime, self.package, threads)
        self.memory_gb = memory_gb

    def segment(self, study: Study, *, labels: LabelConvention | str | None = None) -> Segmentation:
        """Segment one study.

        Args:
            study: sequences the model does not take are ignored.
            labels: convention of the output; None = that of the model's training truth.

        Raises:
            StudyError: the study lacks a sequence that the model needs, or its images are empty.
            LabelError: no such convention.
        """
        spec = self.package.spec
        convention = spec.convention if labels is None else find_convention(labels)
        self.check(study)
        began = time.perf_counter()
        prepared = spec.preparation.apply(study)
        ready = time.perf_counter()
        scores = self.region_logits(prepared.image)
        inferred = time.perf_counter()
        # TC only inside WT and ET only inside TC, as anatomy and label maps have it.
        regions = np.logical_and.accumulate(prepared.to_native(scores, spec.inference.logit_threshold), axis=0)
        codes = study.grid.with_data(convention.from_regions(regions))
        seconds = {"prepare": ready - began, "infer": inferred - ready, "restore": time.perf_counter() - inferred}
        return Segmentation(study.id, codes, regions, convention, self.package.name, self.package.fingerprint, seconds)

    def region_logits(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits of WT, TC, ET (3 X Y Z, float32) of a prepared image (levels, uint8 C X Y Z), whatever the network's outputs are."""
        return self.package.spec.outputs.region_logits(self.logits(image))

    def logits(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits (K X Y Z, float32) of a prepared image (levels, uint8 C X Y Z), in one pass or by windows."""
        settings, needs = self.package.spec.inference, self.package.runtime
        if settings.whole and self.memory_of(image.shape[1:]) <= self.memory_gb:
            return tiling.whole(image, self.runtime, needs.divisor)
        return tiling.by_windows(image, self.runtime, settings.patch, settings.overlap, needs.divisor)

    def memory_of(self, shape: tuple[int, ...]) -> float:
        """Estimated memory of a whole-brain pass over ``shape`` (X Y Z), in GB."""
        x, y, z = shape
        return float(np.prod(tiling.padded_sides((x, y, z), self.package.runtime.divisor))) * self.package.runtime.bytes_per_voxel / 1e9

    def check(self, study: Study) -> None:
        """Raise StudyError if the study lacks a sequence that the model needs."""
        spec = self.package.spec
        missing = [s for s in spec.sequences if s not in study.images and s not in spec.may_lack]
        if missing:
            takes = ", ".join(f"{s} (optional)" if s in spec.may_lack else str(s) for s in spec.sequences)
            raise StudyError(
                f"model {spec.name} needs {' and '.join(missing)}, which the study lacks",
                file=study.id,
                field="sequences",
                got=", ".join(study.sequences),
                expected=takes,
                hint="add the sequence, or use a model that can do without it",
            )


def load_model(path: str | os.PathLike[str], runtime: str = "openvino", threads: int | None = None) -> Predictor:
    """Open a model package for use: ``load_model(path).segment(Study.open(folder)).save("labels.nii.gz")``.

    Args:
        path: the package's folder.
        runtime: ``"openvino"`` or ``"torch"``.
        threads: processor threads; None = all cores.

    Raises:
        PackageError: the package is damaged, or the runtime unknown or not installed.
    """
    return Predictor(path, runtime, threads)
