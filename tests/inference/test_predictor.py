import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import tiny_model
from gliodistill.errors import LabelError, OutputError, PackageError, StudyError
from gliodistill.images import Volume, read_labels, write_nifti
from gliodistill.inference import Predictor, load_model
from gliodistill.inference.ensemble import Ensemble
from gliodistill.inference.tta import parse_tta
from gliodistill.models import InferenceSettings, ModelPackage, NetworkSpec, OutputChannels, Step
from gliodistill.models.spec import ModelSpec
from gliodistill.preparation import Preparation
from gliodistill.studies.labels import CONVENTIONS
from gliodistill.studies.records import ImageFile, StudyRecord
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study, load_brain, load_study
from gliodistill.trust.calibration import Calibration, RegionCalibration
from way_back import to_native


@pytest.fixture(scope="session")
def predictor(package: ModelPackage) -> Predictor:
    return Predictor(package, threads=1)


def turned(study: Study, axes: tuple[int, int, int], flips: tuple[int, ...]) -> Study:
    """The same patient stored along other axes: voxel (i, j, k) of the result is at the same place
    in mm.
    """
    images = {}
    for sequence, image in study.images.items():
        data, affine = image.data.transpose(axes), image.affine[:, [*axes, 3]].copy()
        for axis in flips:
            data = np.flip(data, axis)
            affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
            affine[:3, axis] *= -1
        images[sequence] = Volume(np.ascontiguousarray(data), affine)
    return replace(study, images=images)


def codes(regions: NDArray[np.bool_], ed: int, ncr: int, et: int) -> NDArray[np.uint8]:
    whole, core, enhancing = regions
    return np.where(enhancing, et, np.where(core, ncr, np.where(whole, ed, 0))).astype(np.uint8)


def test_draws_what_it_should_on_the_studys_grid(predictor: Predictor) -> None:
    study, truth = tiny_model.study(), tiny_model.regions()
    answer = predictor.segment(study)
    np.testing.assert_array_equal(answer.regions, truth)
    np.testing.assert_array_equal(answer.labels.data, codes(truth, ed=2, ncr=1, et=4))
    assert answer.labels.same_grid(study.grid)
    assert answer.labels.data.dtype == np.uint8
    assert answer.volumes_ml == {
        name: pytest.approx(mask.sum() / 1000)
        for name, mask in zip(("WT", "TC", "ET"), truth, strict=True)
    }
    assert set(answer.seconds) == {"prepare", "infer", "restore"}
    assert answer.fingerprint == predictor.package.fingerprint


@pytest.mark.parametrize(
    ("name", "values"), [("brats2023", (2, 1, 3)), ("msd", (1, 2, 3)), ("brats-ped", (4, 2, 1))]
)
def test_writes_the_label_convention_asked_for(
    predictor: Predictor, name: str, values: tuple[int, int, int]
) -> None:
    answer = predictor.segment(tiny_model.study(), labels=name)
    np.testing.assert_array_equal(answer.labels.data, codes(tiny_model.regions(), *values))
    assert answer.convention == CONVENTIONS[name]


def test_unknown_convention_lists_the_known(predictor: Predictor) -> None:
    with pytest.raises(LabelError, match=r"unknown label convention.*brats2023"):
        predictor.segment(tiny_model.study(), labels="brats1999")


@pytest.mark.parametrize(
    ("axes", "flips"),
    [((0, 1, 2), (0, 1)), ((2, 0, 1), (1,)), ((1, 2, 0), (0, 1, 2)), ((2, 1, 0), ())],
)
def test_orientation_of_storage_does_not_matter(
    unet: ModelPackage, axes: tuple[int, int, int], flips: tuple[int, ...]
) -> None:
    predictor = Predictor(unet, threads=1)
    oblique = np.array([[0.9, 0.1, 0, -20], [-0.1, 0.9, 0, 5], [0, 0, 1.2, 7], [0, 0, 0, 1]])
    study = tiny_model.study(affine=oblique)
    other = turned(study, axes, flips)
    plain, answer = predictor.segment(study), predictor.segment(other)
    assert answer.labels.same_grid(other.grid)
    back = answer.labels.canonical()
    np.testing.assert_allclose(back.affine, oblique, atol=1e-9)
    assert 0 < (back.data > 0).sum() < back.data.size
    np.testing.assert_array_equal(back.data, plain.labels.data)


def test_resampling_model_answers_on_the_studys_grid(tmp_path: Path) -> None:
    package = tiny_model.export(
        tmp_path / "model", preparation=Preparation(spacing=(1.5, 1.5, 1.5))
    )
    study, truth = tiny_model.study(), tiny_model.regions()
    regions = Predictor(package, threads=1).segment(study).regions
    assert regions.shape == truth.shape
    for got, expected in zip(regions, truth, strict=True):
        # Partial volume moves the rim by a fraction of a voxel, evenly: the middle must not move.
        np.testing.assert_allclose(
            np.argwhere(got).mean(axis=0), np.argwhere(expected).mean(axis=0), atol=0.15
        )
        assert 2 * (got & expected).sum() / (got.sum() + expected.sum()) > 0.75


def test_classes_model_draws_the_same(tmp_path: Path) -> None:
    package = tiny_model.export(
        tmp_path / "model",
        network=NetworkSpec("test_voxelwise", {"out_channels": 4}),
        outputs=OutputChannels("classes", ("background", "ED", "NCR", "ET")),
    )
    np.testing.assert_array_equal(
        Predictor(package, threads=1).segment(tiny_model.study()).regions, tiny_model.regions()
    )


def test_threshold_is_a_probability(tmp_path: Path) -> None:
    # FLAIR's logit in the tumour is about 2.2, T2's and T1CE's 3.5 (their z-scores are clipped at
    # 5): 0.95 ↔ 2.94 lies between.
    settings = InferenceSettings((16, 16, 16), threshold=0.95)
    predictor = Predictor(tiny_model.export(tmp_path / "model", inference=settings), threads=1)
    logits = predictor.logits(predictor.package.preparation.apply(tiny_model.study()).image)
    assert 0 < logits[0].max() < 2.94 < logits[1].max()
    assert not predictor.segment(tiny_model.study()).regions.any()  # TC and ET only count inside WT


def test_torch_runtime_draws_the_same(package: ModelPackage) -> None:
    np.testing.assert_array_equal(
        Predictor(package, "torch").segment(tiny_model.study()).regions, tiny_model.regions()
    )


def test_windows_draw_the_same_as_one_pass(package: ModelPackage) -> None:
    windows = Predictor(package, threads=1, memory_gb=0)
    np.testing.assert_array_equal(windows.segment(tiny_model.study()).regions, tiny_model.regions())


def test_mirrorings_are_averaged_as_an_ensemble_averages_them(unet: ModelPackage) -> None:
    """At the study's own voxel size, with sides that need no padding, both ways of mirroring are
    one.
    """
    study = tiny_model.study()
    images = {}
    for s, image in study.images.items():
        data = image.data[:48, :52, :44].copy()
        data[[0, -1, 24], [26, 26, 0], 22] = data[24, [51, 26, 26], [22, 0, 43]] = 90  # every side
        images[s] = Volume(data, image.affine)
    study = replace(study, images=images)
    tta = parse_tta("xz")
    expected = Ensemble([Predictor(unet, threads=1)], tta).ask(study)
    answer = Predictor(unet, threads=1, tta=tta).segment(study, probability=True)
    assert answer.probabilities is not None
    assert np.abs(answer.probabilities / 255 - expected.probability).max() < 0.51 / 255 + 1e-5
    assert (
        answer.regions != expected.regions
    ).mean() < 1e-4  # where both are a rounding from one half
    assert answer.tta == ["", "x", "z", "xz"]


def test_clean_up_is_applied_and_can_be_left_out(tmp_path: Path) -> None:
    whole, core, enhancing = tiny_model.regions()
    steps = (Step("drop_small_et", {"mm3": float(enhancing.sum()) + 1}),)
    package = tiny_model.export(
        tmp_path / "model", inference=InferenceSettings((16, 16, 16), postprocessing=steps)
    )
    cleaned, raw = (
        Predictor(package, threads=1, postprocess=on).segment(tiny_model.study())
        for on in (True, False)
    )
    np.testing.assert_array_equal(raw.regions, tiny_model.regions())
    np.testing.assert_array_equal(cleaned.regions, np.stack([whole, core, np.zeros_like(core)]))
    assert cleaned.volumes_ml["ET"] == 0 and cleaned.volumes_ml["TC"] == raw.volumes_ml["TC"]
    assert cleaned.summary()["postprocessing"] == [
        {"name": "drop_small_et", "options": dict(steps[0].options)}
    ]
    assert raw.summary()["postprocessing"] == []


def test_et_is_dropped_by_the_networks_own_doubt(tmp_path: Path) -> None:
    plain = Predictor(tiny_model.export(tmp_path / "model"), threads=1).segment(tiny_model.study())
    expected = plain.quality.features["ET"]["expected_dice"]
    for limit, left in ((expected - 0.01, True), (expected + 0.01, False)):
        steps = (Step("drop_doubtful_et", {"expected_dice": limit}),)
        package = tiny_model.export(
            tmp_path / f"{left}", inference=InferenceSettings((16, 16, 16), postprocessing=steps)
        )
        answer = Predictor(package, threads=1).segment(tiny_model.study())
        assert answer.regions[2].any() == left
        np.testing.assert_array_equal(answer.regions[:2], tiny_model.regions()[:2])
        assert [flag.code for flag in answer.quality.flags if flag.code == "region_dropped"] == (
            [] if left else ["region_dropped"]
        )
        assert ("ET" in answer.quality.features) == left


def test_unknown_clean_up_is_refused_at_load(tmp_path: Path) -> None:
    package = tiny_model.export(
        tmp_path / "model",
        inference=InferenceSettings((16, 16, 16), postprocessing=(Step("polish"),)),
    )
    with pytest.raises(PackageError, match=r"unknown post-processing.*polish.*drop_small_et"):
        Predictor(package, threads=1)


@pytest.mark.parametrize("spacing", [None, (1.5, 1.5, 1.5)])
def test_a_study_read_without_its_empty_space_gives_the_same_answer(
    unet: ModelPackage, tmp_path: Path, spacing: object
) -> None:
    package = tiny_model.export(
        tmp_path / "model", "unet", preparation=Preparation(spacing=spacing)
    )
    study = turned(tiny_model.study(), (2, 0, 1), (1,))
    for sequence, image in study.images.items():
        write_nifti(image, tmp_path / f"{sequence}.nii.gz")
    record = StudyRecord(
        "a",
        "a",
        {sequence: ImageFile(tmp_path / f"{sequence}.nii.gz") for sequence in study.images},
    )
    predictor = Predictor(package, threads=1)
    brain, whole = (
        predictor.segment(study, probability=True)
        for study in (load_brain(record), load_study(record))
    )
    assert (whole.labels.data > 0).any()
    np.testing.assert_array_equal(brain.labels.data, whole.labels.data)
    np.testing.assert_array_equal(brain.probabilities, whole.probabilities)
    assert brain.labels.same_grid(study.grid)


@pytest.mark.parametrize("spacing", [(1.5, 1.5, 1.5), (2.0, 1.0, 3.0)])
def test_slabs_draw_what_whole_maps_would(
    tmp_path: Path, spacing: tuple[float, float, float]
) -> None:
    """Windows give the answer in parts; brought back part by part it is what the whole map gives at
    once.
    """
    package = tiny_model.export(
        tmp_path / "model", "unet", preparation=Preparation(spacing=spacing)
    )
    predictor = Predictor(package, threads=1, memory_gb=0)
    prepared = package.preparation.apply(tiny_model.study())
    expected = np.logical_and.accumulate(
        to_native(prepared, predictor.region_logits(prepared.image), 0.0)
    )
    np.testing.assert_array_equal(predictor.segment(tiny_model.study()).regions, expected)


def test_calibration_changes_probabilities_and_not_one_voxel_of_the_labels(tmp_path: Path) -> None:
    """Also on a grid of other voxels, and at another threshold the voxels of that probability."""
    package = tiny_model.export(
        tmp_path / "plain", "unet", preparation=Preparation(spacing=(1.5, 2.0, 1.5))
    )
    temperatures = {"WT": (2.0, 0.5), "TC": (0.7, 3.0), "ET": (1.0, 4.0)}
    parts = {r: RegionCalibration(*t, 5, 0.1, 0.01) for r, t in temperatures.items()}
    spec = replace(package.spec, calibration=Calibration("tests", parts, {}))
    assert ModelSpec.from_dict(spec.to_dict()) == spec
    plain, made = (Predictor(replace(package, spec=s), threads=1) for s in (package.spec, spec))
    study = tiny_model.study()
    before, after = (p.segment(study, probability=True) for p in (plain, made))
    np.testing.assert_array_equal(after.labels.data, before.labels.data)
    np.testing.assert_array_equal(made.segment(study).labels.data, before.labels.data)
    assert after.quality.features != before.quality.features
    prepared = made.prepare(study)
    place, part = prepared.on_grid
    logits = prepared.in_box(made.region_logits(prepared.image))[:, *part]
    scaled = [parts[region].apply(values) for region, values in zip(parts, logits, strict=True)]
    expected = np.zeros((3, *study.grid.canonical().shape), dtype=np.float32)
    expected[:, *place] = np.minimum.accumulate([1 / (1 + np.exp(-values)) for values in scaled])
    expected = study.grid.from_canonical(expected)
    np.testing.assert_allclose(after.probabilities / 255, expected, atol=0.003)
    np.testing.assert_allclose(Ensemble([made]).ask(study).probability, expected, atol=1e-4)
    strict = replace(spec, inference=replace(spec.inference, threshold=0.7))
    drawn = Predictor(replace(package, spec=strict), threads=1).segment(study).regions
    np.testing.assert_array_equal(drawn, expected > 0.7)


def test_regions_are_nested(unet: ModelPackage) -> None:
    whole, core, enhancing = Predictor(unet, threads=1).segment(tiny_model.study()).regions
    assert not (core & ~whole).any()
    assert not (enhancing & ~core).any()
    assert whole.any()


def test_memory_estimate_grows_with_the_padded_brain(predictor: Predictor) -> None:
    needs = predictor.package.runtime
    assert predictor.memory_of((9, 12, 16)) == pytest.approx(
        12 * 12 * 16 * needs.bytes_per_voxel / 1e9
    )


def test_missing_sequence_is_named_with_what_the_model_takes(predictor: Predictor) -> None:
    lacking = tiny_model.study(lacking=(MRSequence.T1CE, MRSequence.T2))
    with pytest.raises(
        StudyError,
        match=r"case: model tiny needs T1CE and T2.*got T1, FLAIR.*expected T1, T1CE, T2, FLAIR",
    ):
        predictor.segment(lacking)


def test_model_trained_to_lack_a_sequence_does_without(tmp_path: Path) -> None:
    predictor = Predictor(
        tiny_model.export(tmp_path / "model", may_lack=(MRSequence.T1CE,)), threads=1
    )
    regions = predictor.segment(tiny_model.study(lacking=(MRSequence.T1CE,))).regions
    np.testing.assert_array_equal(regions[:2], tiny_model.regions()[:2])
    assert not regions[2].any()
    with pytest.raises(StudyError, match=r"needs T2, which.*T1CE \(optional\)"):
        predictor.segment(tiny_model.study(lacking=(MRSequence.T1CE, MRSequence.T2)))


def test_extra_sequences_are_ignored(tmp_path: Path) -> None:
    three = Preparation(sequences=(MRSequence.T1CE, MRSequence.T2, MRSequence.FLAIR))
    network = NetworkSpec("unet", {"widths": [4, 8], "in_channels": 3})
    predictor = Predictor(
        tiny_model.export(tmp_path / "model", "unet", preparation=three, network=network), threads=1
    )
    with_t1, without = (
        predictor.segment(tiny_model.study()),
        predictor.segment(tiny_model.study(lacking=(MRSequence.T1,))),
    )
    np.testing.assert_array_equal(with_t1.labels.data, without.labels.data)


def test_empty_images_are_refused(predictor: Predictor) -> None:
    study = tiny_model.study()
    empty = {
        sequence: image.with_data(np.zeros_like(image.data))
        for sequence, image in study.images.items()
    }
    with pytest.raises(StudyError, match="empty"):
        predictor.segment(replace(study, images=empty))


def test_saved_labels_read_back_and_tell_nothing_else(predictor: Predictor, tmp_path: Path) -> None:
    answer = predictor.segment(tiny_model.study("SECRET-NAME"))
    answer.save(tmp_path / "labels.nii")
    read = read_labels(tmp_path / "labels.nii")
    np.testing.assert_array_equal(read.data, answer.labels.data)
    assert read.same_grid(answer.labels)
    assert b"SECRET" not in (tmp_path / "labels.nii").read_bytes()


def test_unwritable_place_is_told_and_leaves_nothing(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        predictor.segment(tiny_model.study()).save(tmp_path / "file" / "labels.nii.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [({"runtime": "abacus"}, "expected onnx, openvino, torch"), ({"threads": 0}, "threads")],
)
def test_bad_runtime_is_told(
    package: ModelPackage, options: dict[str, object], problem: str
) -> None:
    with pytest.raises(PackageError, match=problem):
        load_model(package.folder, **options)


def test_answer_is_deterministic(unet: ModelPackage) -> None:
    first, second = (
        load_model(unet.folder, threads=1).segment(tiny_model.study()) for _ in range(2)
    )
    np.testing.assert_array_equal(first.labels.data, second.labels.data)


SEGMENT = """
import sys
calls = []
sys.addaudithook(lambda event, _: calls.append(event) if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto") else None)
import numpy as np
from gliodistill.images import Volume
from gliodistill.inference import load_model
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study
noise = np.random.default_rng(0).normal(100, 10, (12, 14, 10)).astype(np.float32)
noise[np.ix_(*[(0, -1)] * 3)] = 0
study = Study("a", "a", {s: Volume(noise + i, np.eye(4)) for i, s in enumerate(MRSequence)})
load_model(sys.argv[1]).segment(study).save(sys.argv[2])
print(*calls, *[name for name in ("torch", "monai", "safetensors", "jaxtyping", "openvino.tools.ovc") if name in sys.modules])
"""


def test_segmenting_imports_no_torch_and_reports_to_nobody(
    unet: ModelPackage, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    # OpenVINO's telemetry keeps quiet where CI is set: without it the test would pass on a runner
    # and leak at a desk.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("CI", "GITHUB"))
    } | {"HOME": str(home)}
    command = [sys.executable, "-c", SEGMENT, str(unet.folder), str(tmp_path / "labels.nii.gz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
    assert list(home.iterdir()) == []
    assert (tmp_path / "labels.nii.gz").is_file()
