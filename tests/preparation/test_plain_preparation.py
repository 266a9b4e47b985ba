"""The fast order of the preparation gives the numbers of the plain one."""

from dataclasses import replace

import numpy as np
import pytest

from gliodistill.inference.predictor import Predictor
from gliodistill.phantom.cohort import render
from gliodistill.phantom.drawing import draw_parameters
from gliodistill.preparation import Preparation
from gliodistill.preparation.statistics import SAMPLE
from gliodistill.studies.cohort import open_cohort
from gliodistill.studies.image_checks import usable
from gliodistill.studies.study import load_study
from plain_preparation import prepare_plainly


def test_levels_differ_by_rounding_only(monkeypatch):
    parameters = draw_parameters(3, 1, 0.0, ())
    study = usable(
        render(replace(parameters, artefacts=replace(parameters.artefacts, bias=(0.2,) * 4)), 2.5)
    )
    voxels = next(iter(study.images.values())).data.size
    assert voxels < SAMPLE  # a lattice of a coarse phantom is fewer voxels than of a patient
    preparation = Preparation(spacing=(4.0, 4.0, 4.0), bias_mm=30.0)
    fast, plain = preparation.apply(study).image, prepare_plainly(preparation, study)
    difference = fast.astype(int) - plain
    brain = plain > 0
    assert np.array_equal(fast > 0, brain)
    assert np.abs(difference).max() <= 1
    assert (difference[brain] != 0).mean() < 0.05

    monkeypatch.setattr("gliodistill.preparation.statistics.SAMPLE", voxels // 40)
    part = preparation.apply(study).image
    assert not np.array_equal(part, fast)  # the lattice was used
    assert np.abs(part.astype(int) - plain).max() <= 2
    assert abs((part.astype(int) - plain)[brain].mean()) < 0.2


@pytest.mark.real
def test_labels_of_patients_are_the_same(real_data):
    """Of the shipped model: 99.99 % of the voxels, Dice 0.9995 and volumes within 0.1 %, all
    patients taken together, as ``parity`` counts.
    """
    predictor = Predictor(threads=1, precision="f32")  # bf16 rounds logits to 8 bits
    preparation = predictor.package.preparation
    counts = np.zeros((3, 3))
    different = voxels = 0
    for record in open_cohort(real_data / "labelled").studies[:6]:
        study = usable(load_study(replace(record, truth=None)))
        prepared = preparation.apply(study)
        plain = replace(prepared, image=prepare_plainly(preparation, study))
        ours, theirs = (predictor.segment_prepared(one) for one in (prepared, plain))
        different += int((ours.labels.data != theirs.labels.data).sum())
        voxels += ours.labels.data.size
        for count, a, b in zip(counts, ours.regions, theirs.regions, strict=True):
            count += a.sum(), b.sum(), (a & b).sum()
    fast, slow, both = counts.T
    assert different / voxels < 1e-4
    assert (2 * both / (fast + slow)).min() > 0.9995
    assert (np.abs(fast - slow) / slow).max() < 0.001
