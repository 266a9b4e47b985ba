"""The registry: names and options are checked before anything is built."""

import pytest

from gliodistill.errors import RecipeError
from gliodistill.networks import Network, UNet, build, describe, names, register


def test_the_published_shapes_are_registered():
    assert {"unet", "nnunet", "nnunet_third", "fast"} <= set(names())
    assert list(names()) == sorted(names())


def test_builds_with_options():
    network = build("unet", widths=[4, 8], out_channels=2, stem_stride=2)
    assert isinstance(network, Network)
    assert network.divisor == 4


def test_describes_options_and_defaults():
    description = describe("fast")
    assert description.name == "fast"
    assert "two-core" in description.summary
    assert description.options["in_channels"] == 4
    assert "self" not in describe("unet").options


@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        ("fasst", {}, ["got fasst", "fast, nnunet, nnunet_third", "unet", "did you mean fast?"]),
        ("unet", {"width": (4, 8)}, ["got width", "stem_stride", "did you mean widths?"]),
        ("unet", {"stem_stride": 3}, ["field stem_stride", "got 3", "1, 2 or 4"]),
        ("unet", {"widths": (4,)}, ["field widths", "two or more"]),
        ("unet", {"widths": (4, 0)}, ["field widths"]),
        (
            "unet",
            {"widths": (4, 8), "deep_supervision": 1},
            ["field deep_supervision", "expected 0 to 0"],
        ),
        (
            "unet",
            {"norm": "layer"},
            ["field norm", "got layer", "instance, group, batch or subset"],
        ),
        ("unet", {"in_channels": 0}, ["field in_channels", "at least 1"]),
        ("unet", {"widths": 32}, ["field widths", "got 32", "a list like [32, 64"]),
        ("unet", {"widths": [8, "16"]}, ["field widths", "wrong type"]),
        ("unet", {"stem_stride": "2"}, ["field stem_stride", "got '2'", "a value like 1"]),
        ("unet", {"in_channels": True}, ["field in_channels", "wrong type"]),
        ("unet", {"convs_per_stage": 0}, ["field convs_per_stage", "at least 1"]),
    ],
)
def test_a_bad_recipe_is_named(name, options, parts):
    with pytest.raises(RecipeError) as error:
        build(name, **options)
    for part in parts:
        assert part in str(error.value)


def test_unknown_name_in_describe():
    with pytest.raises(RecipeError, match="did you mean nnunet"):
        describe("nnunett")


def test_a_name_is_registered_once_and_options_need_defaults():
    with pytest.raises(ValueError, match="registered twice"):
        register("unet")(UNet)

    def needy(widths) -> Network:
        return UNet(widths=widths)

    with pytest.raises(ValueError, match="without a default: widths"):
        register("needy")(needy)
    assert "needy" not in names()
