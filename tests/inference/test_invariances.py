"""How a study is saved is no part of it: other axes, voxel types, header scaling or a larger grid
give the same segmentation.
"""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import tiny_model
from benchmarks import resaving
from gliodistill.inference import Predictor
from gliodistill.models import ModelPackage
from gliodistill.models.shipped import names
from gliodistill.preparation import Preparation
from gliodistill.studies.cohort import find_cohort
from gliodistill.studies.study import Study, load_brain, load_study

# The benchmark of the shipped model saves studies in the same ways, with NiBabel.
WAYS = {way.name: way for way in resaving.RESAVINGS}


def exact() -> list[str]:
    return [name for name, way in WAYS.items() if way.exact]


def labels_of(predictor: Predictor, saved: "resaving.Saved") -> NDArray[np.uint8]:
    return predictor.segment(load_brain(saved.record)).labels.data


@pytest.fixture(scope="module")
def study() -> Study:
    return resaving.whole_numbers(tiny_model.study())


GRIDS = {
    "own grid": Preparation(),
    "1.5 mm": Preparation(spacing=(1.5, 1.5, 1.5)),
    "bias taken off": Preparation(spacing=(1.5, 1.5, 1.5), bias_mm=20.0),
}


@pytest.fixture(scope="module", params=list(GRIDS))
def predictor(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Predictor:
    """A U-Net of random weights: every voxel matters, and where its coarser grid begins."""
    folder = tmp_path_factory.mktemp("unet") / "model"
    return Predictor(tiny_model.export(folder, "unet", preparation=GRIDS[request.param]), threads=1)


@pytest.fixture(scope="module")
def reference(
    predictor: Predictor, study: Study, tmp_path_factory: pytest.TempPathFactory
) -> NDArray[np.uint8]:
    labels = labels_of(predictor, resaving.save_plainly(study, tmp_path_factory.mktemp("plain")))
    assert 0.01 < (labels > 0).mean() < 0.99
    return labels


@pytest.mark.parametrize("name", exact())
def test_saved_otherwise_it_is_the_same_study(
    predictor: Predictor, study: Study, reference: NDArray[np.uint8], name: str, tmp_path: Path
) -> None:
    saved = WAYS[name].save(study, tmp_path)
    np.testing.assert_array_equal(*resaving.compared(labels_of(predictor, saved), saved, reference))


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in WAYS
        if name.startswith(("intensities × 0", "intensities × 1", "each sequence"))
    ],
)
def test_units_of_intensity_round_at_most_a_few_voxels(
    predictor: Predictor, study: Study, reference: NDArray[np.uint8], name: str, tmp_path: Path
) -> None:
    """A factor that is no power of 2 changes float32's last bit, which can move a voxel from one of
    255 levels to the next.
    """
    labels = labels_of(predictor, WAYS[name].save(study, tmp_path))
    # Of random weights, whose logits lie near the threshold everywhere; where the processor has
    # bfloat16, they are rounded to 8 bits too.
    assert (labels != reference).mean() < (5e-3 if predictor.runtime.precision == "bf16" else 1e-3)


def test_resampled_to_another_grid_it_is_nearly_the_same(
    package: ModelPackage, study: Study, tmp_path: Path
) -> None:
    """Turned by 4°, between voxels. A model that draws what is bright draws the blurred rim as
    well, evenly: the middle stays.
    """
    saved = WAYS["resampled to the MNI grid"].save(study, tmp_path)
    empty = np.zeros(study.grid.shape, np.uint8)
    labels, _ = resaving.compared(labels_of(Predictor(package, threads=1), saved), saved, empty)
    regions = package.convention.to_regions(labels)
    for found, true in zip(regions, tiny_model.regions(), strict=True):
        np.testing.assert_allclose(
            np.argwhere(found).mean(axis=0), np.argwhere(true).mean(axis=0), atol=0.2
        )
        assert 2 * (found & true).sum() / (found.sum() + true.sum()) > 0.85


@pytest.mark.real
@pytest.mark.parametrize(
    "name",
    [
        "axes PIR",
        "int16 with slope and offset",
        "cut to the brain",
        "on the MNI grid, whole voxels",
    ],
)
def test_a_real_patient_saved_otherwise(
    real_data: Path, unet: ModelPackage, name: str, tmp_path: Path
) -> None:
    """By the shipped model where there is one."""
    predictor = Predictor(None if names() else unet, threads=1)
    study = resaving.whole_numbers(load_study(find_cohort(real_data / "labelled")[0].studies[0]))
    (tmp_path / "plain").mkdir()
    plain = labels_of(predictor, resaving.save_plainly(study, tmp_path / "plain"))
    assert (plain > 0).any()
    saved = WAYS[name].save(study, tmp_path)
    np.testing.assert_array_equal(*resaving.compared(labels_of(predictor, saved), saved, plain))
