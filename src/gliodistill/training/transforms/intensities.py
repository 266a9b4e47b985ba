"""All transforms of a recipe's registry, in the order in which they are drawn and applied."""

import inspect
import zlib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gliodistill.errors import RecipeError
from gliodistill.recipes.options import fitting
from gliodistill.recipes.schema import AugmentationPart
from gliodistill.training.transforms.base import AnyTransform, Patch, PatchTransform, Transform
from gliodistill.training.transforms.registry import TRANSFORMS

BASIC = ("contrast", "brightness", "gamma", "noise", "blur", "low_resolution")
"""Transforms in the order of their draws; each uses a random number even if its p is 0."""
SCANNER = ("bias", "curve", "thick_slices", "misregistration", "cut_field")
"""Artefacts of scanners and pipelines, in the order of their draws; nothing is drawn if p is 0.
"""
OWN = ("windowing", "contrast_agent", "brain_mask")
"""Transforms that draw from random numbers of their own, as those of other packages do: with and
without them, patches are otherwise the same."""
SCANNED = ("contrast_agent", "brain_mask")
"""Changes of image and reference together, in the order of their application: before all others."""
FIRST = ("low_resolution", "blur", "noise", "gamma", "contrast", "brightness")
SECOND = ("curve", "thick_slices", "misregistration", "bias", "windowing")
"""The order in which they are applied; then come those of other packages, and ``cut_field``."""

OURS = (*BASIC, *SCANNER, *OWN)

Draws = Mapping[str, Any]
"""Transform that happens to a patch → what it drew."""


class Intensities:
    """The transforms of a recipe's augmentation that change intensities, and what is scanned.

    Args:
        part: of the recipe.
        place: its key, for errors.

    Raises:
        RecipeError: ``others`` names a transform that does not exist, has no such option, or is
            ours.
    """

    def __init__(self, part: AugmentationPart, place: str = "augmentation") -> None:
        self.ours: dict[str, AnyTransform] = {
            name: TRANSFORMS[name](**dict(getattr(part, name))) for name in OURS
        }
        self.others = {
            name: _other(name, options, f"{place}.others") for name, options in part.others.items()
        }

    def draw(
        self,
        channels: int,
        random: np.random.Generator,
        others: Callable[[int], np.random.Generator],
    ) -> Draws:
        """Draw what happens to a patch.

        Args:
            channels: of the patch.
            random: for most of our transforms.
            others: number of a transform → random numbers of its own, so that it changes nothing
                in what the rest draws.
        """
        happens = {name: self._draw(name, channels, random) for name in (*BASIC, *SCANNER)}
        for name in (*OWN, *self.others):
            transform = self._every[name]
            if transform.p:
                own = others(zlib.crc32(name.encode()))
                if own.random() < transform.p:
                    happens[name] = transform.draw(channels, own)
        return {name: drawn for name, drawn in happens.items() if drawn is not None}

    def _draw(self, name: str, channels: int, random: np.random.Generator) -> Any:
        transform = self.ours[name]
        if name in SCANNER and transform.p == 0:
            return None
        return transform.draw(channels, random) if random.random() < transform.p else None

    def change(self, patch: Patch, draws: Draws) -> None:
        """Change a patch and its reference in place, before :meth:`apply`.

        Args:
            patch: its arrays are changed.
            draws: of :meth:`draw`.
        """
        for name in (*SCANNED, *self.others):
            transform = self._every[name]
            if name in draws and isinstance(transform, PatchTransform):
                transform.apply(patch, draws[name])

    def apply(
        self, values: Float[Tensor, "C X Y Z"], inside: Bool[Tensor, "C X Y Z"], draws: Draws
    ) -> Float[Tensor, "C X Y Z"]:
        """Change z-scores as drawn; sequences are not dropped here.

        Args:
            values: z-scores.
            inside: where there is brain (a z-score of 0.0 alone does not tell); elsewhere, and
                where a field of view is cut, the result is 0.0.
            draws: of :meth:`draw`.
        """
        for names in (FIRST, (*SECOND, *self.others)):
            changed = values
            for name in names:
                transform = self._every[name]
                if name in draws and isinstance(transform, Transform):
                    changed = transform.apply(changed, inside, draws[name])
            if names is FIRST or changed is not values:
                values = torch.where(inside, changed, 0.0)
        cut = self.ours["cut_field"]
        if "cut_field" in draws and isinstance(cut, Transform):
            values = cut.apply(values, inside, draws["cut_field"])
        return values

    @cached_property
    def _every(self) -> dict[str, AnyTransform]:
        return {**self.ours, **self.others}


def _other(name: str, options: Mapping[str, Any], place: str) -> AnyTransform:
    """A transform of another package."""
    kind = TRANSFORMS.find(name, place)
    if name in OURS:
        raise RecipeError(
            "transform has a key of its own",
            field=f"{place}.{name}",
            expected=f"{place.rpartition('.')[0]}.{name}",
        )
    kinds = {key: each.annotation for key, each in inspect.signature(kind).parameters.items()}
    try:
        return kind(**fitting(options, kinds, f"{place}.{name}"))
    except (TypeError, ValueError) as error:
        raise RecipeError(
            "options do not fit", field=f"{place}.{name}", got=dict(options), expected=str(error)
        ) from error
