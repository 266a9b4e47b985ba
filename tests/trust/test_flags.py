import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import tiny_model
import tissue_studies
from gliodistill.images.volume import Volume
from gliodistill.inference import Predictor
from gliodistill.preparation import Preparation
from gliodistill.studies.image_checks import size_note
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study
from gliodistill.trust.appearance_model import fit_appearance

T1, T1CE, T2, FLAIR = MRSequence
PAGE = Path(__file__).parents[2] / "docs" / "trust.md"
EXPLAINED = set(re.findall(r"(?m)^\| `(\w+)` \|", PAGE.read_text().partition("| code |")[2]))
"""The codes that users can look up."""


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """Draws WT where FLAIR is bright, and knows what studies look like; learnt at 4 mm."""
    reference = fit_appearance(
        (tissue_studies.levels(seed) for seed in range(12)), tuple(MRSequence)
    )
    prepared = Preparation(spacing=(4.0, 4.0, 4.0))
    made = tiny_model.export(
        tmp_path_factory.mktemp("flags") / "model",
        reference=reference,
        preparation=prepared,
        may_lack=(T1, T1CE, T2),
    )
    return Predictor(made, threads=1)


def flags(predictor: Predictor, study: Study) -> dict[str, str]:
    """Code → text; the answer itself must not depend on them."""
    found = {flag.code: flag.text for flag in predictor.segment(study).quality.flags}
    assert set(found) <= EXPLAINED
    return found


def changed(study: Study, **arrays: np.ndarray) -> Study:
    images = {
        s: image.with_data(arrays[s.name].astype(np.float32)) if s.name in arrays else image
        for s, image in study.images.items()
    }
    return replace(study, images=images)


@pytest.mark.parametrize("seed", [20, 21, 22])
def test_a_right_study_has_none(predictor: Predictor, seed: int) -> None:
    assert flags(predictor, tissue_studies.study(seed)) == {}


@pytest.mark.parametrize(("one", "other"), [*combinations(MRSequence, 2)])
def test_sequences_exchanged(predictor: Predictor, one: MRSequence, other: MRSequence) -> None:
    study = tissue_studies.study(23)
    wrong = changed(
        study, **{one.name: study.images[other].data, other.name: study.images[one].data}
    )
    text = flags(predictor, wrong)["sequences_exchanged"]
    assert f"{one} resembles {other}" in text and f"{other} resembles {one}" in text


def test_one_image_under_two_names(predictor: Predictor) -> None:
    study = tissue_studies.study(24)
    found = flags(
        predictor, changed(study, FLAIR=study.images[T1].data * 2 + (study.images[T1].data > 0))
    )
    assert "T1 and FLAIR are the same image" in found["same_image"]
    assert "sequences_exchanged" not in found  # one fault, one flag


def test_an_image_of_something_else(predictor: Predictor) -> None:
    study = tissue_studies.study(25)
    noise = np.random.default_rng(1).uniform(1, 2, study.grid.shape) * (study.images[T2].data > 0)
    assert "T2 resembles none" in flags(predictor, changed(study, T2=noise))["unusual_image"]


def test_skull_left_on(predictor: Predictor) -> None:
    study = tissue_studies.study(26)
    head = tissue_studies.ball((0.5, 0.5, 0.5), 0.5) & (study.images[T1].data == 0)
    with_skull = changed(
        study, **{s.name: image.data + head * 80.0 for s, image in study.images.items()}
    )
    larger = {
        s: Volume(image.data, np.diag([4.6, 4.6, 4.6, 1])) for s, image in with_skull.images.items()
    }
    assert (
        "expected a brain, at most 2200 ml"
        in flags(predictor, replace(with_skull, images=larger))["not_skull_stripped"]
    )


def test_background_that_is_not_0(predictor: Predictor) -> None:
    study = tissue_studies.study(27)
    moved = changed(study, **{s.name: image.data + 1 for s, image in study.images.items()})
    assert "1 was subtracted" in flags(predictor, moved)["background_corrected"]
    np.testing.assert_array_equal(
        predictor.segment(moved).labels.data, predictor.segment(study).labels.data
    )


@pytest.mark.parametrize(
    ("side_mm", "code"), [(0.7, "small_brain"), (1.0, None), (1.5, "not_skull_stripped")]
)
def test_brain_of_an_impossible_size(side_mm: float, code: str | None) -> None:
    volume = 1400 * side_mm**3
    note = size_note(volume, (side_mm,) * 3)
    assert (note and note.code) == code
    if note:
        assert f"{volume:.0f} ml" in note.text
        assert f"{side_mm} × {side_mm} × {side_mm} mm" in note.text


def test_no_tumour(predictor: Predictor) -> None:
    study = tissue_studies.study(28, tumour=False)
    found = flags(predictor, changed(study, FLAIR=np.minimum(study.images[FLAIR].data, 110)))
    assert set(found) == {"no_tumour_found"}
    assert "expected at least 1 ml" in found["no_tumour_found"]


def test_tumour_at_the_end_of_the_images(predictor: Predictor) -> None:
    study = tissue_studies.study(29)
    affine = study.grid.affine
    cut = {s: Volume(image.data[:, :, :21].copy(), affine) for s, image in study.images.items()}
    assert "(top)" in flags(predictor, replace(study, images=cut))["tumour_at_edge"]
    turned = {
        s: Volume(image.data[:, :, ::-1].copy(), affine @ np.diag([1, 1, -1, 1]))
        for s, image in cut.items()
    }
    assert "(top)" in flags(predictor, replace(study, images=turned))["tumour_at_edge"]


def test_field_of_view_cut(predictor: Predictor) -> None:
    study = tissue_studies.study(30)
    half = study.images[T2].data.copy()
    half[:, :, 19:] = 0
    text = flags(predictor, changed(study, T2=half))["field_of_view_cut"]
    assert text.startswith("T2 covers 50%") and "95%" in text
    alone = replace(study, images={FLAIR: study.images[FLAIR]})
    assert "field_of_view_cut" not in flags(predictor, alone)  # what is not given is not cut


def test_thick_slices(predictor: Predictor) -> None:
    study = tissue_studies.study(31)
    thick = {
        s: Volume(image.data[:, :, ::3].copy(), np.diag([4.0, 4.0, 12.0, 1]))
        for s, image in study.images.items()
    }
    assert (
        "voxels of 4 × 4 × 12 mm; the model was trained on 4 × 4 × 4 mm"
        in flags(predictor, replace(study, images=thick))["thick_slices"]
    )


def test_flags_do_not_change_the_answer(predictor: Predictor, tmp_path: Path) -> None:
    study, spec = tissue_studies.study(32), predictor.package.spec
    plain = tiny_model.export(
        tmp_path / "model", preparation=spec.preparation, may_lack=spec.may_lack
    )
    np.testing.assert_array_equal(
        predictor.segment(study).labels.data, Predictor(plain, threads=1).segment(study).labels.data
    )
