"""Bias fields come off, tumours stay."""

from dataclasses import replace
from functools import cache
from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from gliodistill.images import Volume
from gliodistill.phantom.cohort import render
from gliodistill.phantom.drawing import draw_parameters
from gliodistill.preparation import Preparation, bias
from gliodistill.preparation.bias import corrections, log_fields
from gliodistill.studies.cohort import open_cohort
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study, load_study

WIDTH = 20.0
SPACING = 4.0
CASES = (0, 1, 2)


@cache
def phantom(index: int, strength: float) -> Study:
    """A synthetic study without artefacts but bias fields, another in each sequence."""
    parameters = draw_parameters(3, index, 0.0, ())
    return render(
        replace(parameters, artefacts=replace(parameters.artefacts, bias=(strength,) * 4)), SPACING
    )


def logs(study: Study) -> NDArray[np.float64]:
    """Logarithms of the images in the brain, less their mean (C N)."""
    brain = np.logical_and.reduce([image.data > 0 for image in study.images.values()])
    values = np.log(
        np.stack([image.data[brain] for image in study.images.values()]).astype(np.float64)
    )
    return values - values.mean(axis=1, keepdims=True)


def take_off_bias(images, inside, spacing, width) -> None:
    """Multiply images by their corrections, in place."""
    for image, found in zip(images, corrections(images, inside, spacing, width), strict=True):
        if found is not None:
            image *= found.at(image.shape, spacing)


def corrected(study: Study) -> Study:
    images = [image.data.copy() for image in study.images.values()]
    take_off_bias(images, [image != 0 for image in images], (SPACING,) * 3, WIDTH)
    return replace(
        study,
        images={
            s: Volume(data, study.grid.affine) for s, data in zip(study.images, images, strict=True)
        },
    )


@pytest.mark.parametrize("index", CASES)
def test_most_of_a_drawn_field_comes_off(index):
    clean, spoilt = phantom(index, 0.0), phantom(index, 0.3)
    field = logs(spoilt) - logs(clean)
    assert field.std(axis=1).min() > 0.09
    left = logs(corrected(spoilt)) - logs(corrected(clean))
    explained = 1 - left.var(axis=1) / field.var(axis=1)
    assert explained.min() > 0.5
    assert explained.mean() > 0.65


def left_of(strength: float) -> float:
    """Share of a drawn field's standard deviation that stays in."""
    clean, spoilt = phantom(0, 0.0), phantom(0, strength)
    field, left = logs(spoilt) - logs(clean), logs(corrected(spoilt)) - logs(corrected(clean))
    return float((left.std(axis=1) / field.std(axis=1)).mean())


def test_strong_fields_are_looked_at_again_and_weak_ones_are_not(monkeypatch):
    again = {strength: left_of(strength) for strength in (0.05, 0.6)}
    monkeypatch.setattr(bias, "PASSES", 1)
    assert left_of(0.05) == again[0.05]
    assert again[0.6] < 0.85 * left_of(0.6)


@pytest.mark.real
def test_no_patient_is_looked_at_again(real_data, monkeypatch):
    """What was measured on them is of one look, and a large tumour is not taken for a strong field."""
    subsets = [tuple(MRSequence), (MRSequence.T1CE, MRSequence.FLAIR), (MRSequence.FLAIR,)]
    for record in open_cohort(real_data / "labelled").studies[::5]:
        study = load_study(replace(record, truth=None))
        answers = []
        for looks in (5, 1):
            monkeypatch.setattr(bias, "PASSES", looks)
            answers.append(
                [
                    Preparation(subset, (1.5, 1.5, 1.5), bias_mm=30.0).apply(study).image
                    for subset in subsets
                ]
            )
        for again, once in zip(*answers, strict=True):
            np.testing.assert_array_equal(again, once)


@pytest.mark.parametrize("index", CASES)
def test_a_tumour_keeps_its_contrast(index):
    plain = phantom(index, 0.0)
    whole = plain.convention.to_regions(plain.truth.data)[0]
    for sequence, image in corrected(plain).images.items():
        before, after = (
            np.log(np.median(data[whole]) / np.median(data[(data > 0) & ~whole]))
            for data in (plain.images[sequence].data, image.data)
        )
        assert abs(after - before) < 0.1 + 0.2 * abs(before), sequence


def test_oedema_survives_where_flair_has_company_better_than_alone():
    """Why the sequences share their tissues."""

    def lost(study: Study) -> float:
        whole = study.convention.to_regions(study.truth.data)[0]
        ratios = [
            np.log(flair[whole].mean() / flair[(flair > 0) & ~whole].mean())
            for flair in (one.images[MRSequence.FLAIR].data for one in (study, corrected(study)))
        ]
        return ratios[0] - ratios[1]

    studies = [phantom(index, 0.0) for index in CASES]
    alone = [
        replace(study, images={MRSequence.FLAIR: study.images[MRSequence.FLAIR]})
        for study in studies
    ]
    assert np.mean([lost(study) for study in studies]) < np.mean([lost(study) for study in alone])


def test_one_image_without_contrast_or_brain_is_left_whole():
    flat = np.full((60, 60, 60), 7, np.float32)
    images = [flat.copy(), np.zeros_like(flat)]
    take_off_bias(images, [image != 0 for image in images], (1.0,) * 3, WIDTH)
    np.testing.assert_allclose(images[0], flat, rtol=1e-6)
    assert not images[1].any()


def test_what_is_not_in_scanner_units_is_left_alone():
    study = phantom(0, 0.3)
    images = [image.data.copy() for image in study.images.values()]
    inside = [image != 0 for image in images]
    scores = images[0][inside[0]]
    images[0][inside[0]] = (scores - scores.mean()) / scores.std()
    before = [image.copy() for image in images]
    take_off_bias(images, inside, (SPACING,) * 3, WIDTH)
    np.testing.assert_array_equal(images[0], before[0])
    assert all(
        (image != old).mean() > 0.1 for image, old in zip(images[1:], before[1:], strict=True)
    )


def test_so_little_brain_that_nothing_can_be_learned_is_left_alone():
    few = [image.data[25:29, 25:29, 15:19].copy() for image in phantom(0, 0.3).images.values()]
    before = [image.copy() for image in few]
    take_off_bias(few, [image != 0 for image in few], (SPACING,) * 3, WIDTH)
    np.testing.assert_array_equal(few, before)
    assert np.all(np.array(before) > 0)


def test_a_cut_field_of_view_leaves_the_rest_of_the_study_corrected():
    clean, spoilt = phantom(1, 0.0), phantom(1, 0.3)
    cut = spoilt.images[MRSequence.T2].data.copy()
    cut[:, :, : cut.shape[2] // 2] = 0
    spoilt = replace(
        spoilt, images={**spoilt.images, MRSequence.T2: Volume(cut, spoilt.grid.affine)}
    )
    after, before = corrected(spoilt).images, clean.images
    for sequence in (MRSequence.T1, MRSequence.FLAIR):  # also where T2 says nothing
        brain = (before[sequence].data > 0) & (cut == 0)
        old, new, fresh = (
            np.log(images[sequence].data[brain].astype(np.float64))
            for images in (spoilt.images, after, before)
        )
        assert (new - fresh).std() < 0.75 * (old - fresh).std()


@pytest.mark.parametrize("order", list(permutations(range(3)))[1:])
def test_how_it_lies_in_memory_and_powers_of_two_change_no_bit(order):
    study = phantom(2, 0.2)
    plain = [image.data.copy() for image in study.images.values()]
    turned = [
        2 * np.ascontiguousarray(image.transpose(order)).transpose(np.argsort(order))
        for image in plain
    ]
    for images in (plain, turned):
        take_off_bias(images, [image != 0 for image in images], (SPACING,) * 3, WIDTH)
    for one, other in zip(plain, turned, strict=True):
        np.testing.assert_array_equal(2 * one, other)


def test_the_order_of_sequences_does_not_matter():
    study = phantom(0, 0.3)
    plain = Preparation(bias_mm=WIDTH).apply(study)
    swapped = Preparation(tuple(reversed(MRSequence)), bias_mm=WIDTH).apply(study)
    difference = plain.image.astype(int) - swapped.image[::-1]
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 1e-3


def test_the_preparation_takes_it_off_before_it_normalises():
    clean, spoilt = phantom(0, 0.0), phantom(0, 0.3)
    (a, b), (c, d) = (
        [p.apply(study) for study in (clean, spoilt)]
        for p in (Preparation(), Preparation(bias_mm=WIDTH))
    )
    np.testing.assert_array_equal(b.image == 0, d.image == 0)
    assert np.abs(c.values() - d.values()).mean() < 0.6 * np.abs(a.values() - b.values()).mean()


def reference(
    mean: NDArray[np.float64], known: NDArray[np.bool_], reach: list[float], rounds: int
) -> NDArray[np.float64]:
    """The method block by block, in plain loops, smoothed by SciPy."""
    channels, somewhere = len(mean), known.any(axis=0)
    places = [tuple(place) for place in np.argwhere(somewhere)]
    value = {}
    for c in range(channels):
        average = np.mean([mean[(c, *p)] for p in places if known[(c, *p)]])
        raw = {
            p: np.log(max(mean[(c, *p)] / average, bias.DARKEST)) for p in places if known[(c, *p)]
        }
        middle = np.median(list(raw.values()))
        value |= {(c, *p): number - middle for p, number in raw.items()}
    full = np.array([[value.get((c, *p), 0.0) for p in places] for c in range(channels)])
    spread = [max(np.ptp(row), bias.DEVIATION) for row in full]
    scaled = []
    for row, c in zip(full, range(channels), strict=True):
        row = np.clip(
            row / max(np.percentile(row, 85) - np.percentile(row, 15), bias.DEVIATION), -2, 2
        )
        row = np.where([known[(c, *p)] for p in places], row, 0)
        scaled.append(row - row.mean())
    axis = np.linalg.svd(np.array(scaled), full_matrices=False)[0][:, 0]
    parts = np.array_split(np.argsort(axis @ np.array(scaled), kind="stable"), bias.TISSUES)
    tissues = [
        (
            np.median(full[:, part], axis=1),
            full[:, part].var(axis=1) + bias.DEVIATION**2,
            1 / bias.TISSUES,
        )
        for part in parts
    ]
    field = np.zeros(mean.shape)
    for _ in range(rounds):
        belongs = {}
        for p in places:
            seen = [c for c in range(channels) if known[(c, *p)]]
            chances = []
            for centre, variance, share in tissues:
                chance = share
                for c in seen:
                    apart = value[(c, *p)] - field[(c, *p)] - centre[c]
                    chance *= np.exp(-(apart**2) / (2 * variance[c])) / np.sqrt(
                        2 * np.pi * variance[c]
                    )
                chances.append(chance)
            other = bias.OUTLIERS / np.prod([spread[c] for c in seen])
            belongs[p] = np.array(chances) / (sum(chances) + other)
        everything = sum(belongs.values()).sum()
        new = []
        for k in range(bias.TISSUES):
            centre, variance = np.zeros(channels), np.zeros(channels)
            for c in range(channels):
                at = [p for p in places if known[(c, *p)]]
                weight = np.array([belongs[p][k] for p in at])
                left = np.array([value[(c, *p)] - field[(c, *p)] for p in at])
                centre[c] = (weight * left).sum() / weight.sum()
                variance[c] = (
                    weight * (left - centre[c]) ** 2
                ).sum() / weight.sum() + bias.DEVIATION**2
            new.append((centre, variance, sum(b[k] for b in belongs.values()) / everything))
        tissues = new
        for c in range(channels):
            top, bottom = np.zeros(somewhere.shape), np.zeros(somewhere.shape)
            for p in places:
                if known[(c, *p)]:
                    for k, (centre, variance, _) in enumerate(tissues):
                        top[p] += belongs[p][k] / variance[c] * (value[(c, *p)] - centre[c])
                        bottom[p] += belongs[p][k] / variance[c]
            smooth = [
                ndimage.gaussian_filter(sums, reach, mode="constant", truncate=20)
                for sums in (top, bottom)
            ]
            field[c] = smooth[0] / smooth[1]
            field[c] -= field[c][known[c]].mean()
    return field


def test_fields_are_those_of_the_method_spelled_out(monkeypatch):
    random = np.random.default_rng(0)
    shape, reach = (7, 6, 5), [3.0, 2.5, 2.0]
    tissue = random.integers(0, 3, shape)
    slope = np.indices(shape).sum(axis=0) / 20
    mean = np.stack(
        [
            np.array(greys)[tissue] * np.exp(sign * slope)
            for greys, sign in (((50, 100, 160), 1), ((90, 60, 30), -1))
        ]
    )
    mean *= random.lognormal(0, 0.05, mean.shape)
    known = random.random(mean.shape) < 0.9
    monkeypatch.setattr(bias, "ROUNDS", 3)
    found, expected = log_fields(mean, known, reach), reference(mean, known, reach, 3)
    np.testing.assert_allclose(found, expected, atol=1e-4)  # of the truncated Gaussian
    assert np.ptp(expected) > 0.05
