"""A folder of predictions against a cohort: matching, conventions, and every problem at once."""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from gliodistill.errors import EvaluationError, LabelError
from gliodistill.evaluation.evaluate import ComparisonError, evaluate
from gliodistill.evaluation.rules import RULES
from gliodistill.evaluation.rules.plain import Plain
from gliodistill.evaluation.scores import score_study
from gliodistill.images.nifti import write_channels, write_nifti
from gliodistill.images.volume import Volume
from gliodistill.studies.labels import BRATS2021, CONVENTIONS, REGIONS, LabelConvention

SHAPE = (22, 20, 18)
AFFINE = np.array([[-1.0, 0, 0, 10], [0, -2.0, 0, 20], [0, 0, 1.5, -5], [0, 0, 0, 1]])
IDS = ("case_a", "case_b", "case_c")


def tumour(radius: float, centre: tuple[float, float, float] = (11, 10, 9)) -> np.ndarray:
    """Nested balls as WT, TC, ET (a shell around necrosis) on 3 X Y Z."""
    axes = np.meshgrid(
        *(np.arange(n) - c for n, c in zip(SHAPE, centre, strict=True)), indexing="ij"
    )
    distance = np.sqrt(sum(a**2 for a in axes))
    return np.stack(
        [
            distance < radius,
            distance < radius * 0.65,
            (distance < radius * 0.65) & (distance > radius * 0.4),
        ]
    )


TRUTH = {id: tumour(6 + order) for order, id in enumerate(IDS)}
PREDICTION = {id: tumour(5.5 + order, (11.5, 10, 8)) for order, id in enumerate(IDS)}


def write_cohort(folder: Path, convention: LabelConvention = BRATS2021) -> Path:
    for id, regions in TRUTH.items():
        (folder / id).mkdir(parents=True)
        for sequence in ("t1", "t1ce", "t2", "flair"):
            write_nifti(
                Volume(np.ones(SHAPE, np.int16), AFFINE), folder / id / f"{id}_{sequence}.nii.gz"
            )
        write_nifti(
            Volume(convention.from_regions(regions), AFFINE), folder / id / f"{id}_seg.nii.gz"
        )
    return folder


def write_predictions(
    folder: Path, convention: LabelConvention = BRATS2021, pattern: str = "{id}.nii.gz"
) -> Path:
    for id, regions in PREDICTION.items():
        path = folder / pattern.format(id=id)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_nifti(Volume(convention.from_regions(regions), AFFINE), path)
    return folder


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("truth"))


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    return write_predictions(tmp_path / "predictions")


@pytest.mark.parametrize(
    "pattern",
    [
        "{id}.nii.gz",
        "{id}.nii",
        "{id}_seg.nii.gz",
        "{id}-seg.nii.gz",
        "{id}/{id}_seg.nii.gz",
        "{id}/{id}.nii.gz",
    ],
)
def test_scores_every_study_whatever_the_folder_looks_like(
    pattern: str, truth: Path, tmp_path: Path
) -> None:
    scores = evaluate(write_predictions(tmp_path, pattern=pattern), truth)
    assert scores.ok
    assert sorted(scores.studies) == list(IDS)
    for id in IDS:
        expected = score_study(PREDICTION[id], TRUTH[id], (1.0, 2.0, 1.5))
        for region in REGIONS:
            assert scores.studies[id][region] == pytest.approx(expected[region], abs=1e-9)


def test_the_truth_against_itself_is_perfect(truth: Path) -> None:
    scores = evaluate(truth, truth)
    assert {scores.mean(region) for region in REGIONS} == {1.0}
    assert {scores.mean(region, "hd95_mm") for region in REGIONS} == {0.0}


def test_jobs_change_nothing(predictions: Path, truth: Path) -> None:
    assert (
        evaluate(predictions, truth, jobs=1).to_json()
        == evaluate(predictions, truth, jobs=3).to_json()
    )


@pytest.mark.parametrize(
    "name", [n for n, c in CONVENTIONS.items() if n != "brats2021" and c.detectable]
)
def test_conventions_may_differ(name: str, truth: Path, tmp_path: Path, predictions: Path) -> None:
    other = write_predictions(tmp_path / "other", CONVENTIONS[name])
    scores = evaluate(other, truth, prediction_labels=name)
    assert scores.studies == evaluate(predictions, truth).studies
    assert scores.provenance["prediction_labels"] == f"{name} (declared)"


def test_an_undeclared_foreign_convention_is_never_scored(truth: Path, tmp_path: Path) -> None:
    other = write_predictions(tmp_path / "other", CONVENTIONS["msd"])
    with pytest.raises(ComparisonError, match=r"unknown label codes.*--prediction-labels"):
        evaluate(other, truth)


def test_the_same_codes_with_another_meaning_are_noticed(tmp_path: Path) -> None:
    # Both know 1, 2, 3 and nothing else: only the shape of the tumour tells oedema from necrosis.
    truth = write_cohort(tmp_path / "truth", CONVENTIONS["brats2023"])
    other = write_predictions(tmp_path / "other", CONVENTIONS["msd"])
    with pytest.raises(
        ComparisonError, match=r"resemble msd, the reference is brats2023.*--prediction-labels"
    ):
        evaluate(other, truth, labels="brats2023")
    assert evaluate(other, truth, labels="brats2023", prediction_labels="msd").mean("TC") > 0.6


def test_a_prediction_stored_along_other_axes_is_the_same_prediction(
    truth: Path, predictions: Path, tmp_path: Path
) -> None:
    for id, regions in PREDICTION.items():
        write_nifti(
            Volume(BRATS2021.from_regions(regions), AFFINE).canonical(), tmp_path / f"{id}.nii.gz"
        )
    for id, study in evaluate(tmp_path, truth).studies.items():
        expected = evaluate(predictions, truth).studies[id]
        assert all(study[region] == pytest.approx(expected[region]) for region in REGIONS)


def test_every_problem_is_reported_at_once(truth: Path, tmp_path: Path) -> None:
    shifted = AFFINE.copy()
    shifted[0, 3] += 3
    write_nifti(
        Volume(BRATS2021.from_regions(PREDICTION["case_a"]), shifted), tmp_path / "case_a.nii.gz"
    )
    write_nifti(Volume(np.full(SHAPE, 9, np.uint8), AFFINE), tmp_path / "case_b.nii.gz")
    write_nifti(Volume(np.zeros(SHAPE, np.uint8), AFFINE), tmp_path / "stranger.nii.gz")
    write_nifti(Volume(np.zeros(SHAPE, np.uint8), AFFINE), tmp_path / "case_b_seg.nii.gz")
    with pytest.raises(ComparisonError) as caught:
        evaluate(tmp_path, truth)
    problems = "\n".join(caught.value.problems)
    for part in (
        "case_a: grids differ",
        "case_b: two predictions",
        "case_b: prediction",
        "stranger: prediction without a reference",
        "case_c: no prediction",
    ):
        assert part in problems
    assert len(caught.value.problems) == 5
    assert "\n" not in str(caught.value)
    assert "5 problems" in str(caught.value)


def test_a_truncated_prediction_is_found_before_anything_is_computed(
    truth: Path, predictions: Path
) -> None:
    file = predictions / "case_b.nii.gz"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ComparisonError, match=r"case_b: prediction .*case_b\.nii\.gz"):
        evaluate(predictions, truth)


def test_another_shape_is_named(truth: Path, predictions: Path) -> None:
    write_nifti(Volume(np.zeros((22, 20, 17), np.uint8), AFFINE), predictions / "case_c.nii.gz")
    with pytest.raises(
        ComparisonError, match=r"case_c: grids differ: prediction 22×20×17 .*reference 22×20×18"
    ):
        evaluate(predictions, truth)


def test_a_subset_must_be_asked_for(truth: Path, predictions: Path) -> None:
    (predictions / "case_a.nii.gz").unlink()
    with pytest.raises(ComparisonError, match="case_a: no prediction"):
        evaluate(predictions, truth)
    scores = evaluate(predictions, truth, subset=True)
    assert sorted(scores.studies) == ["case_b", "case_c"]
    assert scores.provenance["studies"] == "2 of 3 with reference"


def test_images_beside_a_prediction_are_not_taken_for_it(truth: Path, tmp_path: Path) -> None:
    folder = write_predictions(tmp_path, pattern="{id}/{id}_seg.nii.gz")
    write_nifti(Volume(np.ones(SHAPE, np.int16), AFFINE), folder / "case_a" / "case_a_flair.nii.gz")
    assert evaluate(folder, truth).ok


def test_empty_predictions_are_scored_by_the_rule(truth: Path, tmp_path: Path) -> None:
    for id in IDS:
        write_nifti(Volume(np.zeros(SHAPE, np.uint8), AFFINE), tmp_path / f"{id}.nii.gz")
    scores = evaluate(tmp_path, truth)
    assert scores.mean("WT") == 0.0
    assert scores.mean("WT", "hd95_mm") == pytest.approx(373.1287, abs=1e-4)


@dataclass(frozen=True)
class Fussy(Plain):
    """A rule set that cannot score a large tumour."""

    def score_region(self, region):  # type: ignore[no-untyped-def]
        if region.truth.sum() > TRUTH["case_b"][0].sum():
            raise ValueError("too large\nby far")
        return super().score_region(region)


def test_a_study_that_fails_is_recorded_and_the_others_go_on(
    truth: Path, predictions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RULES, "fussy", Fussy)
    scores = evaluate(predictions, truth, rules="fussy")
    assert sorted(scores.studies) == ["case_a", "case_b"]
    assert scores.failed == {"case_c": "ValueError: too large by far"}
    assert not scores.ok


def test_options_that_do_not_exist(truth: Path, predictions: Path, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="unknown rule set"):
        evaluate(predictions, truth, rules="none")
    with pytest.raises(LabelError, match=r"prediction-labels.*brats2021"):
        evaluate(predictions, truth, prediction_labels="brats1999")
    with pytest.raises(EvaluationError, match="jobs"):
        evaluate(predictions, truth, jobs=0)
    with pytest.raises(EvaluationError, match="no such folder of predictions"):
        evaluate(tmp_path / "nowhere", truth)
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvaluationError, match="no predictions"):
        evaluate(tmp_path / "empty", truth)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_set_from_files(name: str, truth: Path, predictions: Path) -> None:
    task = "ssa" if name in ("brats2024", "brats2025") else "gli"
    scores = evaluate(predictions, truth, rules=name, task=task, tolerance_mm=2.0)
    for id in IDS:
        expected = score_study(PREDICTION[id], TRUTH[id], (1.0, 2.0, 1.5), scores.rules)
        for region in REGIONS:
            assert scores.studies[id][region] == pytest.approx(expected[region], abs=1e-9)


def test_the_regions_of_a_task(tmp_path: Path) -> None:
    truth = write_cohort(tmp_path / "truth", CONVENTIONS["brats-ped"])
    scores = evaluate(truth, truth, task="ped", labels="brats-ped", prediction_labels="brats-ped")
    assert {region: scores.mean(region) for region in scores.rules.regions} == dict.fromkeys(
        ("WT", "TC", "ET", "NETC", "CC", "ED"), 1.0
    )


def test_manifests_on_both_sides(truth: Path, predictions: Path, tmp_path: Path) -> None:
    for name, label in (
        ("said", lambda id: predictions / f"{id}.nii.gz"),
        ("real", lambda id: truth / id / f"{id}_seg.nii.gz"),
    ):
        rows = [f"{id},{truth / id / f'{id}_flair.nii.gz'},{label(id)}" for id in IDS]
        (tmp_path / f"{name}.csv").write_text("\n".join(["id,flair,truth", *rows]))
    scores = evaluate(tmp_path / "said.csv", tmp_path / "real.csv")
    assert scores.studies == evaluate(predictions, truth).studies


def write_probabilities(folder: Path, affine: np.ndarray = AFFINE) -> dict[str, np.ndarray]:
    folder.mkdir()
    random = np.random.default_rng(5)
    maps = {
        id: (
            np.clip(PREDICTION[id] * 0.7 + random.random((3, *SHAPE)) * 0.3, 0, 1).astype(
                np.float32
            )
        )
        for id in IDS
    }
    for id, said in maps.items():
        write_channels([Volume(channel, affine) for channel in said], folder / f"{id}_prob.nii.gz")
    return maps


def test_probabilities_are_judged_around_the_tumour(
    truth: Path, predictions: Path, tmp_path: Path
) -> None:
    maps = write_probabilities(tmp_path / "said")
    scores = evaluate(predictions, truth, probabilities=tmp_path / "said")
    assert scores.calibration is not None
    everything = 0
    for id in IDS:
        where = np.argwhere((TRUTH[id] | PREDICTION[id]).any(axis=0))
        margin = np.round(10 / np.array([1.0, 2.0, 1.5])).astype(int)
        low, high = np.maximum(where.min(axis=0) - margin, 0), where.max(axis=0) + 1 + margin
        box = (slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))
        said, real = maps[id][box].astype(float), TRUTH[id][box]
        everything += real[0].size
        for channel, region in enumerate(REGIONS):
            assert scores.studies[id][region]["brier"] == pytest.approx(
                ((said[channel] - real[channel]) ** 2).mean(), abs=1e-6
            )
            assert 0 < scores.studies[id][region]["ece"] < 1
    assert sum(part.voxels for part in scores.calibration["WT"]) == everything


def test_probabilities_that_do_not_fit_are_named_before_anything_is_computed(
    truth: Path, predictions: Path, tmp_path: Path
) -> None:
    shifted = AFFINE.copy()
    shifted[0, 3] += 3
    write_probabilities(tmp_path / "said", shifted)
    (tmp_path / "said" / "case_a_prob.nii.gz").unlink()
    write_nifti(
        Volume(np.zeros(SHAPE, np.float32), AFFINE), tmp_path / "said" / "case_b_prob.nii.gz"
    )
    with pytest.raises(ComparisonError) as caught:
        evaluate(predictions, truth, probabilities=tmp_path / "said")
    for part in (
        "case_a: no probability map",
        "case_b: probabilities",
        "1 channels instead of 3",
        "case_c: grids differ: probabilities",
    ):
        assert part in "\n".join(caught.value.problems)
    with pytest.raises(EvaluationError, match="no such folder of probabilities"):
        evaluate(predictions, truth, probabilities=tmp_path / "nowhere")


def test_a_map_that_holds_no_probabilities_fails_its_study_alone(
    truth: Path, predictions: Path, tmp_path: Path
) -> None:
    write_probabilities(tmp_path / "said")
    logits = [Volume(np.full(SHAPE, 4.0, np.float32), AFFINE)] * 3
    write_channels(logits, tmp_path / "said" / "case_b_prob.nii.gz")
    scores = evaluate(predictions, truth, probabilities=tmp_path / "said")
    assert sorted(scores.studies) == ["case_a", "case_c"]
    assert "not probabilities (got 4 … 4, expected 0 … 1)" in scores.failed["case_b"]


def test_a_truth_without_labels_is_refused(predictions: Path, tmp_path: Path) -> None:
    (tmp_path / "images" / "case_a").mkdir(parents=True)
    write_nifti(
        Volume(np.ones(SHAPE, np.int16), AFFINE),
        tmp_path / "images" / "case_a" / "case_a_flair.nii.gz",
    )
    with pytest.raises(EvaluationError, match="no reference to compare with"):
        evaluate(predictions, tmp_path / "images")


def test_a_text_file_in_disguise_is_named(truth: Path, predictions: Path) -> None:
    (predictions / "case_a.nii.gz").write_bytes(gzip.compress(b"not an image"))
    with pytest.raises(ComparisonError, match=r"case_a: prediction .*case_a"):
        evaluate(predictions, truth)


def test_probability_maps_beside_the_predictions_are_no_predictions(
    truth: Path, predictions: Path
) -> None:
    """As ``segment --probabilities`` leaves them."""
    for id in IDS:
        write_channels(
            [Volume(region.astype(np.uint8) * 255, AFFINE) for region in PREDICTION[id]],
            predictions / f"{id}_prob.nii.gz",
            1 / 255,
        )
    scores = evaluate(predictions, truth, probabilities=predictions)
    assert set(scores.studies) == set(IDS)
    assert scores.studies[IDS[0]]["WT"]["brier"] is not None
