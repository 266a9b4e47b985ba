import csv
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import tiny_model
from gliodistill.errors import OutputError, StudyError
from gliodistill.evaluation.evaluate import ComparisonError, evaluate
from gliodistill.images import read_labels, read_nifti, write_nifti
from gliodistill.inference import Predictor, segment_studies
from gliodistill.inference.tta import parse_tta
from gliodistill.models import ModelPackage
from gliodistill.progress import listening
from gliodistill.studies.labels import BRATS2021
from gliodistill.studies.records import ImageFile, StudyRecord
from gliodistill.studies.study import load_study


@pytest.fixture(scope="session")
def predictor(package: ModelPackage) -> Predictor:
    return Predictor(package, threads=1)


@pytest.fixture(scope="session")
def record(tmp_path_factory: pytest.TempPathFactory) -> StudyRecord:
    folder = tmp_path_factory.mktemp("studies")
    for sequence, image in tiny_model.study().images.items():
        write_nifti(image, folder / f"{sequence}.nii.gz")
    images = {
        sequence: ImageFile(folder / f"{sequence}.nii.gz") for sequence in tiny_model.study().images
    }
    return StudyRecord("a", "a", images)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_labels_and_summary_of_each(
    predictor: Predictor, record: StudyRecord, tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "out"
    report = segment_studies([record, replace(record, id="b")], predictor, out, labels="brats2023")
    assert report.ok
    assert names(out) == ["a.json", "a.nii.gz", "b.json", "b.nii.gz", "volumes.csv"]
    labels = read_labels(out / "b.nii.gz")
    assert set(np.unique(labels.data)) == {0, 1, 2, 3}
    summary = json.loads((out / "b.json").read_text())
    assert summary == report.done["b"]
    assert summary["volumes_ml"]["WT"] == pytest.approx(
        tiny_model.regions()[0].sum() / 1000, abs=1e-4
    )
    assert set(summary["seconds"]) == {"read", "prepare", "infer", "restore", "write"}
    assert summary["labels"]["convention"] == "brats2023"


def test_stages_are_told_to_who_listens(
    predictor: Predictor, record: StudyRecord, tmp_path: Path
) -> None:
    heard: list[str] = []
    with listening(heard.append):
        assert segment_studies([record], predictor, tmp_path / "out", jobs=1).ok
    assert heard == ["read", "prepare", "infer", "write"]
    assert segment_studies([record], predictor, tmp_path / "again").ok
    assert len(heard) == 4


def test_bad_study_does_not_stop_the_rest(
    predictor: Predictor, record: StudyRecord, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.nii.gz"
    damaged.write_bytes(next(iter(record.images.values())).path.read_bytes()[:500])
    flawed = replace(record, id="flawed", images=dict.fromkeys(record.images, ImageFile(damaged)))
    lacking = replace(record, id="lacking", images=dict(list(record.images.items())[:2]))
    report = segment_studies([flawed, record, lacking], predictor, tmp_path / "out")
    assert not report.ok
    assert set(report.failed) == {"flawed", "lacking"}
    assert "needs T2 and FLAIR" in str(report.failed["lacking"])
    assert names(tmp_path / "out") == ["a.json", "a.nii.gz", "volumes.csv"]


def test_the_table_of_volumes_has_every_finished_study_in_order(
    predictor: Predictor, record: StudyRecord, tmp_path: Path
) -> None:
    segment_studies([replace(record, id="b")], predictor, tmp_path)
    segment_studies([record, replace(record, id="b")], predictor, tmp_path, resume=True)
    with (tmp_path / "volumes.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [row["id"] for row in rows] == ["a", "b"]
    for region, mask in zip(("WT", "TC", "ET"), tiny_model.regions(), strict=True):
        assert float(rows[1][f"{region}_ml"]) == pytest.approx(mask.sum() / 1000, abs=1e-4)
    assert rows[0]["sha256"] == predictor.package.fingerprint


def test_probabilities_lie_on_the_studys_grid_and_agree_with_the_labels(
    predictor: Predictor, record: StudyRecord, tmp_path: Path
) -> None:
    segment_studies([record], predictor, tmp_path, probability=True)
    image = nib.load(tmp_path / "a_prob.nii.gz")
    labels = read_labels(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(image.affine, labels.affine, atol=1e-6)
    assert image.shape == (*labels.shape, 3)
    values = image.get_fdata()
    assert values.min() == 0 and 0.8 < values.max() <= 1
    np.testing.assert_array_equal(np.moveaxis(values > 0.5, -1, 0), tiny_model.regions())
    assert read_nifti(tmp_path / "a_prob.nii.gz", 2).data.max() == pytest.approx(
        values[..., 2].max()
    )


def test_resume_does_again_what_lacks_probabilities_or_had_other_settings(
    package: ModelPackage, predictor: Predictor, record: StudyRecord, tmp_path: Path
) -> None:
    segment_studies([record], predictor, tmp_path)
    assert set(
        segment_studies([record], predictor, tmp_path, probability=True, resume=True).done
    ) == {"a"}
    assert segment_studies(
        [record], predictor, tmp_path, probability=True, resume=True
    ).skipped == ["a"]
    mirrored = Predictor(package, threads=1, tta=parse_tta("x"))
    assert set(segment_studies([record], mirrored, tmp_path, resume=True).done) == {"a"}
    assert names(tmp_path) == [
        "a.json",
        "a.nii.gz",
        "volumes.csv",
    ]  # probabilities of other settings do not stay
    assert json.loads((tmp_path / "a.json").read_text())["tta"] == ["", "x"]


@pytest.mark.parametrize("jobs", [1, 3])
def test_answers_do_not_depend_on_how_many_are_at_work(
    predictor: Predictor, record: StudyRecord, tmp_path: Path, jobs: int
) -> None:
    records = [replace(record, id=id) for id in ("c", "a", "b")]
    report = segment_studies(records, predictor, tmp_path, jobs=jobs)
    assert list(report.done) == ["c", "a", "b"]
    assert len({(tmp_path / f"{id}.nii.gz").read_bytes() for id in "abc"}) == 1


def test_truth_is_not_looked_at(predictor: Predictor, record: StudyRecord, tmp_path: Path) -> None:
    with_truth = replace(record, truth=ImageFile(tmp_path / "nowhere.nii.gz"))
    assert segment_studies([with_truth], predictor, tmp_path / "out").ok


def test_resume_does_only_what_is_left(
    predictor: Predictor, record: StudyRecord, tmp_path: Path
) -> None:
    other = replace(record, id="b")
    segment_studies([record], predictor, tmp_path)
    before = (tmp_path / "a.nii.gz").stat().st_mtime_ns
    report = segment_studies([record, other], predictor, tmp_path, resume=True)
    assert report.skipped == ["a"]
    assert set(report.done) == {"b"}
    assert (tmp_path / "a.nii.gz").stat().st_mtime_ns == before


def test_resume_redoes_what_is_half_done_or_of_another_model_or_convention(
    predictor: Predictor, unet: ModelPackage, record: StudyRecord, tmp_path: Path
) -> None:
    segment_studies([record], predictor, tmp_path)
    assert set(segment_studies([record], predictor, tmp_path, labels="msd", resume=True).done) == {
        "a"
    }
    assert set(
        segment_studies(
            [record], Predictor(unet, threads=1), tmp_path, labels="msd", resume=True
        ).done
    ) == {"a"}
    (tmp_path / "a.json").write_text("{")
    assert set(segment_studies([record], predictor, tmp_path, resume=True).done) == {"a"}


def test_results_are_not_overwritten_unasked(
    predictor: Predictor, record: StudyRecord, tmp_path: Path
) -> None:
    (tmp_path / "a.nii.gz").write_text("corrected by hand")
    with pytest.raises(OutputError, match="results exist"):
        segment_studies([replace(record, id="b"), record], predictor, tmp_path)
    assert names(tmp_path) == ["a.nii.gz"]


def test_ids_must_differ(predictor: Predictor, record: StudyRecord, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="two studies with the same id"):
        segment_studies([record, record], predictor, tmp_path)


def test_unusable_folder_is_told(predictor: Predictor, record: StudyRecord, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        segment_studies([record], predictor, tmp_path / "file" / "out")


def test_nothing_to_do_is_fine(predictor: Predictor, tmp_path: Path) -> None:
    assert segment_studies([], predictor, tmp_path).ok


@pytest.mark.real
def test_real_patients_come_back_on_their_grid(
    unet: ModelPackage, real_data: Path, tmp_path: Path
) -> None:
    from gliodistill.studies.cohort import open_cohort

    records = open_cohort(real_data / "labelled").studies[:1]
    report = segment_studies(records, Predictor(unet), tmp_path)
    assert report.ok
    labels = read_labels(tmp_path / f"{records[0].id}.nii.gz")
    assert labels.same_grid(load_study(replace(records[0], truth=None)).grid)


def test_what_the_codes_mean_need_not_be_told_to_evaluate(
    predictor: Predictor, record: StudyRecord, tmp_path: Path
) -> None:
    # brats-ped writes 1 for enhancing tumour, brats2021 for necrosis: the codes alone would be
    # mixed up.
    out, truth = tmp_path / "out", tmp_path / "truth"
    segment_studies([record], predictor, out, labels="brats-ped")
    (truth / "a").mkdir(parents=True)
    for sequence, image in tiny_model.study().images.items():
        write_nifti(image, truth / "a" / f"a_{sequence.lower()}.nii.gz")
    drawn = read_labels(out / "a.nii.gz")
    write_nifti(
        drawn.with_data(BRATS2021.from_regions(tiny_model.regions())), truth / "a" / "a_seg.nii.gz"
    )
    scores = evaluate(out, truth)
    assert [scores.mean(region) for region in ("WT", "TC", "ET")] == [1, 1, 1]
    assert scores.provenance["prediction_labels"] == "brats-ped (noted in their summaries)"
    (out / "a.json").unlink()
    with pytest.raises(ComparisonError, match="resemble brats-ped, the reference is brats2021"):
        evaluate(out, truth)
