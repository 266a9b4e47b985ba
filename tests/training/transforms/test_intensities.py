"""Transforms of intensities: each is its formula, and together they are drawn, recorded, applied."""

import inspect

import numpy as np
import pytest
import torch
from scipy import ndimage

from gliodistill.errors import RecipeError
from gliodistill.preparation import dequantise
from gliodistill.recipes.schema import AugmentationPart
from gliodistill.training.transforms import (
    TRANSFORMS,
    Blur,
    Brightness,
    Contrast,
    Gamma,
    Intensities,
    LowResolution,
    ModalityDropout,
    Noise,
    Spatial,
    Transform,
    Transplant,
)
from gliodistill.training.transforms.intensities import BASIC, FIRST, OURS, SCANNED, SCANNER, SECOND

SHAPE = (20, 22, 24)


def image(channels=2):
    return np.random.default_rng(0).integers(1, 256, (channels, *SHAPE), dtype=np.uint8)


def patch(channels=2):
    levels = image(channels)
    return torch.from_numpy(dequantise(levels)), torch.from_numpy(levels > 0)


def others(number):
    return np.random.default_rng(number)


def drawn(part, channels=2, seed=5):
    return Intensities(part).draw(channels, np.random.default_rng(seed), others)


EVERY = AugmentationPart.model_validate(dict.fromkeys(OURS, 1))
NONE = AugmentationPart.model_validate(dict.fromkeys(BASIC, 0))


def test_a_draw_is_a_recording():
    assert set(drawn(EVERY)) == set(OURS)
    assert str(drawn(EVERY)) == str(drawn(EVERY))
    results = [Intensities(EVERY).apply(*patch(), drawn(EVERY)) for _ in range(2)]
    assert torch.equal(*results)


def test_no_draw_changes_nothing_and_scanners_draw_only_where_asked():
    assert drawn(NONE) == {}
    assert torch.equal(Intensities(NONE).apply(*patch(), {}), patch()[0])
    random, again = np.random.default_rng(1), np.random.default_rng(1)
    Intensities(NONE).draw(2, random, others)
    again.random(len(BASIC))  # so that recipes that differ in them see the same patches
    assert random.bit_generator.state == again.bit_generator.state


@pytest.mark.parametrize("name", [*BASIC, *SCANNER, "windowing"])
def test_each_changes_the_brain_alone(name):
    values, _ = patch()
    inside = torch.from_numpy(np.random.default_rng(2).random(tuple(values.shape)) < 0.7)
    before = torch.where(inside, values, 0.0)
    kept = before.clone()
    part = AugmentationPart.model_validate({**dict.fromkeys(BASIC, 0), name: 1})
    after = Intensities(part).apply(before, inside, drawn(part))
    assert not torch.equal(after, before)
    assert torch.isfinite(after).all()
    assert not after[~inside].any()
    assert torch.equal(before, kept)


def test_brain_of_mean_intensity_is_brain():
    """Level 128 reads as z = 0.0 and is brain all the same."""
    levels = image()
    levels[:, :5], levels[:, 5:10] = 0, 128
    values, inside = torch.from_numpy(dequantise(levels)), torch.from_numpy(levels > 0)
    brighter = Intensities(NONE).apply(values, inside, {"brightness": 0.25 * np.ones(2)})
    torch.testing.assert_close(brighter[inside], values[inside] + 0.25)
    assert not brighter[~inside].any()


def test_each_change_is_its_formula():
    values, inside = patch()
    z, two = values.numpy().astype(np.float64), np.array([0.8, 1.3])
    np.testing.assert_allclose(
        Contrast().apply(values, inside, two), z * two[:, None, None, None], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        Brightness().apply(values, inside, two), z + two[:, None, None, None], rtol=1e-5, atol=1e-6
    )
    low, high = z.min(), z.max()
    expected = ((z[1] - low) / (high - low)) ** 1.3 * (high - low) + low
    np.testing.assert_allclose(Gamma().apply(values, inside, two)[1], expected, atol=1e-4)
    noise = Noise().apply(values, inside, (0.2, 9)).numpy() - z
    assert noise.std() == pytest.approx(0.2, rel=0.05)
    assert abs(noise.mean()) < 0.01
    blurred = ndimage.gaussian_filter(z[0], 0.8, mode="constant", truncate=2 / 0.8)
    np.testing.assert_allclose(Blur().apply(values, inside, two)[0], blurred, atol=1e-4)
    coarse = LowResolution().apply(values, inside, np.array([0.5, 1.0])).numpy()
    assert coarse[0].std() < z[0].std()
    np.testing.assert_allclose(coarse[1], z[1], atol=1e-5)


@pytest.mark.parametrize(
    ("transform", "low", "high"),
    [
        (Contrast(factor=(0.5, 0.6)), 0.5, 0.6),
        (Brightness(shift=(1.0, 2.0)), 1, 2),
        (Gamma(exponent=(2.0, 3.0)), 2, 3),
        (Blur(sigma=(0.1, 0.2)), 0.1, 0.2),
        (LowResolution(zoom=(0.2, 0.3)), 0.2, 0.3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_ranges_are_kept(transform, low, high):
    numbers = transform.draw(500, np.random.default_rng(3))
    assert low <= numbers.min() < low + 0.02 * (high - low)
    assert high >= numbers.max() > high - 0.02 * (high - low)


def test_the_defaults_of_classes_are_those_of_the_recipe():
    part = AugmentationPart()
    for name in OURS:
        defaults = {k: p.default for k, p in inspect.signature(TRANSFORMS[name]).parameters.items()}
        assert defaults == dict(getattr(part, name)), name
    assert vars(Transplant()) == dict(part.transplant)
    dropout = part.modality_dropout
    assert ModalityDropout() == ModalityDropout(dropout.p, dropout.keep_all)
    fields = ("flip", "spatial", "rotate_degrees", "scale", "elastic_voxels")
    assert Spatial() == Spatial(*(getattr(part, name) for name in fields))


def test_every_one_of_ours_is_drawn_and_applied():
    assert sorted(OURS) == sorted((*SCANNED, *FIRST, *SECOND, "cut_field"))
    ours = [name for name in TRANSFORMS if TRANSFORMS.package(name) is None]
    assert sorted(ours) == sorted(OURS)


class Inverted(Transform[float]):
    """z-scores times −1, or less."""

    def __init__(self, *, p: float = 0.5, factor: float = 1.0) -> None:
        super().__init__(p=p)
        self.factor = factor

    def draw(self, channels, random):
        return -self.factor

    def apply(self, values, inside, drawn):
        return values * drawn


if "inverted_example" not in TRANSFORMS:
    TRANSFORMS.register("inverted_example")(Inverted)


def test_others_take_part_and_change_nothing_in_what_ours_draw():
    both = EVERY.model_copy(update={"others": {"inverted_example": {"p": 1, "factor": 0.5}}})
    plain, more = drawn(EVERY), drawn(both)
    assert more.pop("inverted_example") == -0.5
    assert str(plain) == str(more)
    alone = NONE.model_copy(update={"others": {"inverted_example": {"p": 1}}})
    result = Intensities(alone).apply(*patch(), drawn(alone))
    torch.testing.assert_close(result, -patch()[0])


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"inverted_exampel": {}}, "did you mean inverted_example"),
        ({"inverted_example": {"facto": 1}}, "did you mean factor"),
        ({"inverted_example": {"p": 2}}, "p from 0 to 1"),
        ({"gamma": {"p": 0.5}}, "expected augmentation.gamma"),
    ],
)
def test_others_that_do_not_fit_are_refused(named, words):
    with pytest.raises(RecipeError, match=words):
        Intensities(AugmentationPart(others=named))


@pytest.mark.parametrize(
    "kind", [type("NoClass", (), {}), type("Asks", (Inverted,), {"__init__": lambda self, p: None})]
)
def test_what_is_no_transform_is_not_registered(kind):
    with pytest.raises(ValueError, match="transform 'worse_example'"):
        TRANSFORMS.register("worse_example")(kind)
