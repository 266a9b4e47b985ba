import dataclasses

import numpy as np
import pytest

from gliodistill.phantom import draw_parameters, render
from gliodistill.phantom.artefacts import degrade, thick_slices
from gliodistill.phantom.fields import Grid, resample, smooth_noise
from gliodistill.studies.sequence import MRSequence

FOUR_ZEROS = (0.0, 0.0, 0.0, 0.0)
T1, T1CE, T2, FLAIR = range(4)


def test_physical_order_of_contrasts_in_every_draw():
    for index in range(150):
        means = draw_parameters(2, index).contrast.means
        white, grey, fluid, oedema, solid, necrosis, rim = (
            means[t] for t in ("WM", "GM", "CSF", "ED", "NET", "NCR", "ET")
        )
        assert white[T1] > grey[T1] > fluid[T1]
        assert white[T1CE] > grey[T1CE] > fluid[T1CE]
        assert fluid[T2] > oedema[T2] > grey[T2] > white[T2]
        assert fluid[T2] >= necrosis[T2] > solid[T2] - 1e-6 > grey[T2]
        assert oedema[FLAIR] > grey[FLAIR] >= white[FLAIR] > fluid[FLAIR]
        assert solid[T1] < white[T1]
        assert necrosis[T1] < solid[T1]
        assert necrosis[T1] > fluid[T1]
        assert rim[T1CE] > rim[T1] + 0.1
        assert rim[T1CE] > white[T1CE]
        for tissue in ("GM", "CSF", "ED", "NET", "NCR"):
            assert abs(means[tissue][T1CE] - means[tissue][T1]) < 0.13


@pytest.fixture(scope="module")
def clean():
    """A phantom without artefacts or distractors."""
    index = next(
        i for i in range(40) if (t := draw_parameters(2, i).tumour).kind == "ring" and t.et_ml > 15
    )
    drawn = draw_parameters(2, index)
    contrast = dataclasses.replace(
        drawn.contrast,
        texture=FOUR_ZEROS,
        vessels=0.0,
        meninges=0.0,
        choroid=0.0,
        hyperintensities=0.0,
        residue=0.0,
        shade=0.0,
        bleed=0.0,
    )
    still = tuple((0.0, 0.0, 0.0) for _ in range(4))
    artefacts = dataclasses.replace(
        drawn.artefacts,
        bias=FOUR_ZEROS,
        blur_mm=(0.01,) * 4,
        slice_mm=FOUR_ZEROS,
        shift_mm=still,
        rotation_deg=still,
        noise=FOUR_ZEROS,
        cut=FOUR_ZEROS,
    )
    parameters = dataclasses.replace(
        drawn, contrast=dataclasses.replace(contrast, scale=(1000.0,) * 4), artefacts=artefacts
    )
    study = render(parameters, 3.0)
    return parameters, {s: study.images[s].data / 1000 for s in MRSequence}, study.truth.data


def test_rendered_tissues_keep_their_order(clean):
    parameters, images, labels = clean
    healthy = (labels == 0) & (images[MRSequence.T1] > 0)
    means = parameters.contrast.means
    # White matter is the reference: 1 in each sequence, the brightest of T1.
    assert np.percentile(images[MRSequence.T1][healthy], 99) == pytest.approx(1, abs=0.03)
    assert np.percentile(images[MRSequence.T2][healthy], 99.9) == pytest.approx(
        means["CSF"][T2], rel=0.15
    )
    oedema = labels == 2
    assert np.median(images[MRSequence.FLAIR][oedema]) > np.percentile(
        images[MRSequence.FLAIR][healthy], 90
    )
    assert np.median(images[MRSequence.T2][oedema]) > np.median(images[MRSequence.T2][healthy])
    assert np.median(images[MRSequence.T1][oedema]) < np.median(
        images[MRSequence.T1][healthy & (images[MRSequence.T1] > 0.9)]
    )


def test_contrast_agent_shows_where_it_enhances_and_hardly_elsewhere(clean):
    _, images, labels = clean
    gain = images[MRSequence.T1CE] - images[MRSequence.T1]
    brain = images[MRSequence.T1] > 0
    assert np.median(gain[labels == 4]) > 0.15
    assert np.abs(gain[brain & (labels != 4)]).max() < 0.13


def test_every_sequence_can_be_blurred_to_slices_without_moving():
    ramp = np.broadcast_to(np.arange(30, dtype=np.float32)[:, None, None], (30, 4, 4)).copy()
    thick = thick_slices(ramp, 0, 5.0)
    np.testing.assert_allclose(thick[3:-3], ramp[3:-3], atol=1e-4)
    flat = np.full((12, 9, 7), 3.0, np.float32)
    for axis in range(3):
        np.testing.assert_allclose(thick_slices(flat, axis, 2.7), 3.0, rtol=1e-5)


def test_cut_field_of_view_is_zero_and_the_rest_positive():
    drawn = draw_parameters(2, 0)
    grid = Grid.field(5.0)
    brain = np.zeros(grid.shape, bool)
    brain[10:38, 8:40, 4:28] = True
    image = brain.astype(np.float32)
    for cut in (0.25, -0.25):
        artefacts = dataclasses.replace(drawn.artefacts, cut=(cut,) * 4, cut_axis=(1,) * 4)
        seen = degrade(artefacts, image, brain, grid, 0)
        assert not seen[~brain].any()
        assert 0.6 < (seen > 0).sum() / brain.sum() < 0.9
        assert (seen[:, 8 if cut > 0 else 39] == 0).all()
        assert (seen[brain][seen[brain] > 0] >= 0.004).all()


def test_rician_noise_lifts_the_dark_as_its_formula_says():
    drawn = draw_parameters(2, 0)
    still = tuple((0.0, 0.0, 0.0) for _ in range(4))
    artefacts = dataclasses.replace(
        drawn.artefacts,
        bias=FOUR_ZEROS,
        blur_mm=(0.01,) * 4,
        slice_mm=FOUR_ZEROS,
        shift_mm=still,
        rotation_deg=still,
        noise=(0.1,) * 4,
        cut=FOUR_ZEROS,
    )
    grid = Grid.field(4.0)
    brain = np.ones(grid.shape, bool)
    seen = degrade(artefacts, np.zeros(grid.shape, np.float32), brain, grid, 2)
    # Without signal the magnitude is Rayleigh: mean σ √(π/2).
    assert seen.mean() == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.02)


def test_noise_has_unit_variance_and_does_not_depend_on_the_grid():
    whole = Grid.field(2.0)
    noise = smooth_noise(7, 8.0, whole)
    assert abs(noise.mean()) < 0.06
    assert noise.std() == pytest.approx(1, abs=0.05)
    part = (slice(20, 60), slice(30, 50), slice(5, 40))
    np.testing.assert_array_equal(smooth_noise(7, 8.0, whole.crop(part)), noise[part])
    fine = resample(smooth_noise(7, 8.0, Grid.field(1.0)), Grid.field(1.0), whole)
    assert np.corrcoef(fine.ravel(), noise.ravel())[0, 1] > 0.99


def test_resample_is_exact_on_linear_ramps():
    source, target = Grid.field(5.0), Grid.field(3.0)
    x, y, z = np.ix_(*source.axes)
    ramp = (2 * x - y + 0.5 * z).astype(np.float32)
    inside = target.crop((slice(2, -2), slice(2, -2), slice(2, -2)))
    x, y, z = np.ix_(*inside.axes)
    np.testing.assert_allclose(resample(ramp, source, inside), 2 * x - y + 0.5 * z, atol=1e-3)
