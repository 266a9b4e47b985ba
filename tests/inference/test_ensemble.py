"""Models × mirrorings → one answer; expected values are computed here in float64, member by
member.
"""

from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest

import tiny_model
from gliodistill.errors import PackageError, StudyError
from gliodistill.images import Volume
from gliodistill.inference import Predictor
from gliodistill.inference.ensemble import Ensemble
from gliodistill.inference.tta import parse_tta
from gliodistill.models import ModelPackage, NetworkSpec, OutputChannels
from gliodistill.preparation import Preparation
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study

CLASSES = {
    "network": NetworkSpec("test_voxelwise", {"out_channels": 4}),
    "outputs": OutputChannels("classes", ("background", "ED", "NCR", "ET")),
}


@pytest.fixture(scope="module")
def random(unet: ModelPackage) -> Predictor:
    """Untrained weights: the output of every mirroring differs."""
    return Predictor(unet, threads=1)


@pytest.fixture(scope="module")
def bright(package: ModelPackage) -> Predictor:
    return Predictor(package, threads=1)


@pytest.fixture(scope="module")
def study() -> Study:
    """Stored along other axes than the prepared grid's."""
    whole = tiny_model.study()
    affine = np.array([[0.0, -1, 0, 9], [0, 0, 1.5, -4], [-1, 0, 0, 30], [0, 0, 0, 1]])
    return replace(
        whole,
        images={sequence: Volume(image.data, affine) for sequence, image in whole.images.items()},
    )


def exported(out: Path, kind: str = "test_voxelwise", **changes: object) -> Predictor:
    return Predictor(tiny_model.export(out, kind, **changes), threads=1)


def logistic(values):
    return 1 / (1 + np.exp(-values.astype(np.float64)))


def brain(study: Study):
    """Where a model with the default preparation and no resampling answers: the brain's box with 3
    mm around it.
    """
    image = study.grid.canonical()
    found = np.nonzero(image.data)
    margins = [round(3 / step) for step in image.spacing]
    return tuple(
        slice(max(0, a.min() - m), min(n, a.max() + 1 + m))
        for a, m, n in zip(found, margins, image.shape, strict=True)
    )


def test_tta_by_name():
    assert parse_tta("none") == ((),)
    assert parse_tta("y") == ((), (1,))
    assert set(parse_tta("xy")) == {(), (0,), (1,), (0, 1)}
    everything = {tuple(np.flatnonzero(chosen)) for chosen in product((0, 1), repeat=3)}
    assert set(parse_tta("all")) == set(parse_tta("xyz")) == set(parse_tta("zyx")) == everything
    for wrong in ("", "xx", "lr", "some"):
        with pytest.raises(PackageError, match="no such test-time augmentation"):
            parse_tta(wrong)


def test_mean_spread_and_agreement_of_mirrorings_are_the_manual_ones(
    random: Predictor, study: Study
):
    tta = parse_tta("xz")
    said = Ensemble([random], tta).ask(study)
    image = random.package.preparation.apply(study).image
    members = []
    for chosen in product((1, -1), repeat=2):  # by slices, not by np.flip
        x, z = (slice(None, None, step) for step in chosen)
        members.append(logistic(random.logits(np.ascontiguousarray(image[:, x, :, z]))[:, x, :, z]))
    nested = [np.logical_and.accumulate(member > 0.5) for member in members]
    place = (slice(None), *brain(study))
    canonical = [study.grid.with_data(values).canonical().data for values in said.probability]
    np.testing.assert_allclose(
        np.stack(canonical)[place], np.minimum.accumulate(np.mean(members, axis=0)), atol=2e-6
    )
    spread = np.stack([study.grid.with_data(values).canonical().data for values in said.deviation])
    np.testing.assert_allclose(spread[place], np.std(members, axis=0), atol=1e-3)
    assert said.agreement is not None
    for channel, region in enumerate(("WT", "TC", "ET")):
        dice = []
        for one, other in combinations([member[channel] for member in nested], 2):
            size = one.sum() + other.sum()
            dice.append(2 * (one & other).sum() / size if size else 1.0)
        assert said.agreement[region] == pytest.approx(np.mean(dice), abs=1e-3)
    outside = np.ones(canonical[0].shape, dtype=bool)
    outside[brain(study)] = False
    assert not np.stack(canonical)[:, outside].any()


def test_two_equal_models_are_one(random: Predictor, study: Study, tmp_path: Path):
    """The same weights under another name: same answer, full agreement, no spread; and alone, the
    predictor's own answer.
    """
    twin = exported(tmp_path / "twin", "unet", name="twin")
    one, two = Ensemble([random]).ask(study), Ensemble([random, twin]).ask(study)
    assert one.agreement is None
    np.testing.assert_array_equal(one.probability, two.probability)
    assert two.agreement == {"WT": 1, "TC": 1, "ET": 1}
    assert not two.deviation.any()
    np.testing.assert_array_equal(one.regions, random.segment(study).regions)


def test_models_of_other_outputs_voxel_size_and_sequences_are_mixed(
    bright: Predictor, tmp_path: Path
):
    """All draw the same bright balls: regions at 1 mm, classes at 1 mm, regions at 2 mm."""
    study = tiny_model.study()
    classes = exported(tmp_path / "classes", **CLASSES)
    coarse = exported(tmp_path / "coarse", preparation=Preparation(spacing=(2.0, 2.0, 2.0)))
    said = Ensemble([bright, classes, coarse], parse_tta("x")).ask(study)
    alone = [Ensemble([model]).ask(study).probability for model in (bright, classes, coarse)]
    np.testing.assert_allclose(
        said.probability[0], np.mean(alone, axis=0)[0], atol=1e-5
    )  # WT: nesting leaves it as it is
    assert said.agreement is not None and 0.8 < said.agreement["WT"] < 1
    truth = tiny_model.regions()
    for drawn, region in zip(said.regions, truth, strict=True):
        assert 2 * (drawn & region).sum() / (drawn.sum() + region.sum()) > 0.95


def test_a_region_that_a_model_cannot_draw_stays_finite(bright: Predictor, tmp_path: Path):
    two = exported(
        tmp_path / "two",
        preparation=Preparation(spacing=(2.0, 2.0, 2.0)),
        network=NetworkSpec("test_voxelwise", {"out_channels": 4}),
        outputs=OutputChannels("classes", ("background", "ED", "NCR", "CC")),
    )
    said = Ensemble([bright, two]).ask(tiny_model.study())
    assert np.isfinite(said.probability).all() and said.probability[2].max() <= 0.5


def test_probabilities_are_nested_and_maps_in_range(
    random: Predictor, bright: Predictor, study: Study
):
    said = Ensemble([random, bright], parse_tta("y")).ask(study)
    whole, core, enhancing = said.probability
    assert (whole >= core).all() and (core >= enhancing).all()
    np.testing.assert_array_equal(said.regions, np.logical_and.accumulate(said.probability > 0.5))
    expected = np.minimum.reduce([abs(2 * p.astype(np.float64) - 1) for p in said.probability])
    np.testing.assert_allclose(said.confidence(), expected, atol=1e-6)
    for values in (said.confidence(), said.disagreement()):
        assert values.shape == study.grid.shape and values.min() >= 0 and values.max() <= 1
    assert said.disagreement().max() > 0.5  # the two were never taught to agree


def test_refuses_nothing_and_one_model_twice(bright: Predictor):
    with pytest.raises(PackageError, match="no model"):
        Ensemble([])
    with pytest.raises(PackageError, match="a model given twice"):
        Ensemble([bright, bright])


def test_a_missing_sequence_is_told_before_any_model_works(bright: Predictor):
    with pytest.raises(StudyError, match="needs FLAIR"):
        Ensemble([bright], parse_tta("all")).ask(tiny_model.study(lacking=(MRSequence.FLAIR,)))
