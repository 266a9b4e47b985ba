"""Sampling of patches: cut around tumours, augmented, batched; a pure function of seed and step, so
a run can stop anywhere.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from gliodistill.errors import StudyError
from gliodistill.methods.base import Batch
from gliodistill.preparation.cache import Cache, CachedStudy
from gliodistill.preparation.prepared import UNKNOWN, regions_of
from gliodistill.preparation.quantise import dequantise
from gliodistill.progress import track
from gliodistill.recipes.schema import AugmentationPart, PseudoPart, SamplingPart
from gliodistill.studies.labels import REGIONS
from gliodistill.studies.records import StudyRecord
from gliodistill.training.data.transforms import (
    Intensities,
    ModalityDropout,
    Spatial,
    Transplant,
    read_patch,
)
from gliodistill.training.data.transforms.intensities import Draws
from gliodistill.training.data.transforms.spatial import SpatialDraw

_PSEUDO = 2  # their random stream; 1 is that of the order of labelled studies
_ALIKE = 4  # random stream of modality dropout per batch; 3 is the order of pseudo-labelled studies
_GROUPS = 8  # random stream of the groups; 9, 10, … are those of each group
_OTHERS = 16  # random stream of the transforms of other packages
_ROUND = 100  # labelled patches in which every group has its share
_KEPT = 4096  # foreground voxels remembered per study and region: enough to centre patches anywhere in a tumour


@dataclass(frozen=True)
class PatchDraw:
    """All random choices of one patch."""

    study: int
    centre: tuple[int, int, int]
    spatial: SpatialDraw
    intensities: Draws
    donor: "Donor | None"
    """The tumour that is transplanted into it."""
    kept: tuple[bool, ...]
    """Which of the student's sequences it keeps."""


@dataclass(frozen=True)
class Donor:
    """A tumour that is transplanted.

    Attributes:
        study: the donor.
        centre: of the patch read in the donor.
        spatial: its spatial augmentation.
        rim: voxels around the whole tumour that are transplanted with it.
    """

    study: int
    centre: tuple[int, int, int]
    spatial: SpatialDraw
    rim: int


class PatchSampler:
    """Batches of augmented patches from a cache.

    Batch number ``step`` depends only on ``seed`` and ``step``: there is no state to save, and runs
    with the same seed (a student and its baseline) see the same patches in the same order.

    Args:
        cache: labelled studies.
        sampling: of the recipe.
        augmentation: of the recipe.
        seed: of the run.
        channels: of the cache's sequences, those that the student takes; None = all.
        pseudo: pseudo-labelled studies of the same preparation, and their share of a batch. They
            are last in a batch; the labelled patches are the first of those that a run without
            pseudo-labels gets at that step.

    Raises:
        StudyError: the cache has no labelled study, one of them has none of the student's
        sequences, or a group of the recipe has no study.
    """

    def __init__(
        self,
        cache: Cache,
        sampling: SamplingPart,
        augmentation: AugmentationPart,
        seed: int,
        channels: Sequence[int] | None = None,
        pseudo: tuple[Cache, PseudoPart] | None = None,
    ) -> None:
        self.studies = [study for study in cache if study.labelled]
        if not self.studies:
            raise StudyError(
                "no labelled study to train on",
                file=cache.folder,
                expected="at least one study with a reference",
            )
        self._labelled, self._pseudo, soft = len(self.studies), 0, False
        if pseudo is not None:
            pool, part = pseudo
            self.studies += list(pool)
            self._pseudo, soft = part.count(sampling.batch), part.labels == "soft"
        sequences = cache.preparation.sequences
        self.channels = tuple(range(len(sequences)) if channels is None else channels)
        for study in self.studies:
            if not any(study.present[channel] for channel in self.channels):
                wanted = ", ".join(sequences[channel] for channel in self.channels)
                raise StudyError(
                    "study has no sequence that the student takes", file=study.id, expected=wanted
                )
        self.sampling, self.augmentation, self.seed = sampling, augmentation, seed
        self._intensities = Intensities(augmentation)
        self._spatial = Spatial(
            augmentation.flip,
            augmentation.spatial,
            augmentation.rotate_degrees,
            augmentation.scale,
            augmentation.elastic_voxels,
        )
        self._transplanting = Transplant(**dict(augmentation.transplant))
        dropout = augmentation.modality_dropout
        self._dropout = ModalityDropout(dropout.p, dropout.keep_all)
        self._images = [study.image() for study in self.studies]
        self._truths = [study.truth() for study in self.studies]
        self._foreground = [
            _foreground(study, truth)
            for study, truth in track(
                list(zip(self.studies, self._truths, strict=True)), "finding tumours"
            )
        ]
        self._inside = [
            _sampled(study, truth & UNKNOWN == 0) if study.partial else None
            for study, truth in zip(self.studies, self._truths, strict=True)
        ]
        self._tells = torch.tensor(
            [[region in study.known_regions for region in REGIONS] for study in self.studies]
        )
        if soft:
            self._truths[self._labelled :] = [
                study.soft() for study in self.studies[self._labelled :]
            ]
        self._groups = group_shares(self.studies[: self._labelled], sampling.groups)

    def draw(self, step: int) -> list[PatchDraw]:
        """The draws of batch ``step`` (0 is the first), one per patch; pseudo-labelled ones are
        last.
        """
        drawn = self._draw(step, range(self._labelled), self.sampling.batch, 0)
        if self._pseudo:
            pool = range(self._labelled, len(self.studies))
            drawn = drawn[: self.sampling.batch - self._pseudo] + self._draw(
                step, pool, self._pseudo, _PSEUDO
            )
        return self._alike(step, drawn) if self.augmentation.modality_dropout.per_batch else drawn

    def _alike(self, step: int, drawn: list[PatchDraw]) -> list[PatchDraw]:
        """The draws with one modality dropout for all, from the sequences common to their studies;
        unchanged if they have none in common.
        """
        there = tuple(
            all(has) for has in zip(*(self._present(draw.study) for draw in drawn), strict=True)
        )
        if not any(there):
            return drawn
        kept = self._dropout.draw(there, self._random(step, _ALIKE))
        return [replace(draw, kept=kept) for draw in drawn]

    def _draw(self, step: int, pool: range, count: int, stream: int) -> list[PatchDraw]:
        """Draws of studies in ``pool`` from a random stream of its own."""
        random = self._random(step, *([stream] if stream else []))
        drawn = []
        for item in range(count):
            study = self._study(step * count + item, pool, stream)
            centre = self._centre(study, random)
            spatial = self._spatial.draw(random)
            intensities = self._intensities.draw(
                len(self.studies[study].present),
                random,
                partial(self._random, step, _OTHERS, stream, item),
            )
            donor = None
            if (
                self._transplanting.p
                and random.random() < self._transplanting.p
                and (found := self._donors(study))
            ):
                donor = self._donor(found[int(random.integers(len(found)))], random)
                # The same place in the brain as in the donor's.
                centre = self._same_place(donor, study)
            drawn.append((study, centre, spatial, intensities, donor))
        # Last, so that runs with and without modality dropout see the same patches.
        return [
            PatchDraw(*draw, self._dropout.draw(self._present(draw[0]), random)) for draw in drawn
        ]

    def _random(self, *stream: int) -> np.random.Generator:
        """Random numbers that depend on the run's seed and the stream alone."""
        sequence = np.random.SeedSequence([self.seed, *stream])
        return np.random.Generator(np.random.PCG64(sequence))

    def batch(self, step: int) -> Batch:
        """Batch ``step`` (0 is the first), on the CPU.

        Raises:
            CacheError: a study's file is damaged.
        """
        images, completes, truths, keeps = [], [], [], []
        studies: list[int] = []
        voxels: list[Tensor | None] = []
        for draw in self.draw(step):
            centre = np.asarray(draw.centre)
            levels, mask = read_patch(
                self._images[draw.study],
                self._truths[draw.study],
                centre,
                self.sampling.patch,
                draw.spatial,
                UNKNOWN if self.studies[draw.study].partial else 0,
            )
            assert mask is not None  # a truth was given
            if draw.donor is not None:
                self._transplant(levels, mask, draw.donor)
            inside = torch.from_numpy(levels > 0)
            complete = self._intensities.apply(
                torch.from_numpy(dequantise(levels)), inside, draw.intensities
            )
            keep = torch.tensor(draw.kept)
            completes.append(complete)
            images.append(
                torch.where(keep[:, None, None, None], complete[list(self.channels)], 0.0)
            )
            truths.append(
                torch.from_numpy(regions_of(mask)).float()
                if mask.ndim == 3
                else torch.from_numpy(mask) / 255
            )
            keeps.append(keep)
            voxels.append(
                torch.from_numpy(mask & UNKNOWN == 0) if self.studies[draw.study].partial else None
            )
            studies.append(draw.study)
        complete = torch.stack(completes)
        whole = (
            self.augmentation.modality_dropout.p == 0
            and not self.augmentation.modality_dropout.per_batch
            and self.channels == tuple(range(complete.shape[1]))
        )
        image = complete if whole else torch.stack(images)
        pseudo = torch.arange(self.sampling.batch) >= self.sampling.batch - self._pseudo
        known = _known(self._tells[studies], voxels, self.sampling.patch)
        return Batch(image, complete, torch.stack(truths), torch.stack(keeps), pseudo, known)

    def batches(self, first: int, last: int, prefetch: int) -> Iterator[Batch]:
        """Batches ``first`` … ``last`` − 1, cut by ``prefetch`` threads ahead of the loop (NumPy
        and torch release the GIL).
        """
        if prefetch == 0:
            yield from (self.batch(step) for step in range(first, last))
            return
        with ThreadPoolExecutor(prefetch) as pool:
            waiting = [
                pool.submit(self.batch, step)
                for step in range(first, min(first + prefetch + 1, last))
            ]
            for step in range(first, last):
                done = waiting.pop(0)
                if step + prefetch + 1 < last:
                    waiting.append(pool.submit(self.batch, step + prefetch + 1))
                yield done.result()

    def _donors(self, host: int) -> list[int]:
        """Labelled studies with a tumour, all sequences and all known regions of the host; none for
        a pseudo-labelled host. Crops are excluded, because their place in the brain is unknown.
        """
        if host >= self._labelled or self.studies[host].partial:
            return []
        has = np.array(self.studies[host].present)
        others = (
            study
            for study in range(self._labelled)
            if study != host
            and len(self._foreground[study][0])
            and not self.studies[study].partial
            and bool((self._tells[study] | ~self._tells[host]).all())
        )
        return [
            study for study in others if not (has & ~np.array(self.studies[study].present)).any()
        ]

    def _donor(self, study: int, random: np.random.Generator) -> Donor:
        voxels = self._foreground[study][0]
        x, y, z = (int(v) for v in voxels[int(random.integers(len(voxels)))])
        return Donor(study, (x, y, z), self._spatial.draw(random), self._transplanting.draw(random))

    def _same_place(self, donor: Donor, host: int) -> tuple[int, int, int]:
        """The donor's centre in the host: all studies are cropped to the brain, so shares of the
        sides correspond.
        """
        shapes = self._images[donor.study].shape[1:], self._images[host].shape[1:]
        x, y, z = (int(c * to / of) for c, of, to in zip(donor.centre, *shapes, strict=True))
        return x, y, z

    def _transplant(self, levels: NDArray[np.uint8], mask: NDArray[np.uint8], donor: Donor) -> None:
        """Put the donor's tumour into a patch (C X Y Z, X Y Z), in place."""
        images, truth = self._images[donor.study], self._truths[donor.study]
        theirs, tumour = read_patch(
            images, truth, np.asarray(donor.centre), self.sampling.patch, donor.spatial
        )
        assert tumour is not None
        self._transplanting.apply(levels, mask, theirs, tumour, donor.rim)

    def _present(self, study: int) -> tuple[bool, ...]:
        return tuple(self.studies[study].present[channel] for channel in self.channels)

    def _study(self, position: int, pool: range, stream: int) -> int:
        """The study of ``pool`` for patch number ``position``: each once per round, or by the
        shares of the groups.
        """
        if stream or not self._groups:
            return pool[self._turn(position, len(pool), stream + 1)]
        round_, place = divmod(position, _ROUND)
        counts = [count for _, count in self._groups]
        order = np.random.Generator(
            np.random.PCG64(np.random.SeedSequence([self.seed, _GROUPS << 32, round_]))
        ).permutation(np.repeat(np.arange(len(counts)), counts))
        group = int(order[place])
        before = round_ * counts[group] + int((order[:place] == group).sum())
        members = self._groups[group][0]
        return members[self._turn(before, len(members), _GROUPS + 1 + group)]

    def _turn(self, position: int, studies: int, stream: int) -> int:
        """Each of ``studies`` once per round, in an order shuffled anew each round."""
        round_, place = divmod(position, studies)
        order = np.random.Generator(
            np.random.PCG64(np.random.SeedSequence([self.seed, stream << 32, round_]))
        ).permutation(studies)
        return int(order[place])

    def _centre(self, study: int, random: np.random.Generator) -> tuple[int, int, int]:
        shape = self._images[study].shape[1:]
        regions = [voxels for voxels in self._foreground[study] if len(voxels)]
        if regions and random.random() < self.sampling.foreground:
            voxels = regions[int(random.integers(len(regions)))]
            centre = voxels[int(random.integers(len(voxels)))].astype(np.int64)
            # A tumour voxel in the patch, shifted from its centre by up to a quarter of the side.
            centre += np.array(
                [random.integers(-(p // 4), p // 4 + 1) for p in self.sampling.patch]
            )
        elif (inside := self._inside[study]) is not None and len(inside):
            centre = inside[int(random.integers(len(inside)))].astype(np.int64)
        else:
            centre = np.array([random.integers(s) for s in shape])
        # Keep the patch over the brain as far as it fits.
        half = np.asarray(self.sampling.patch) // 2
        low = np.minimum(half, np.asarray(shape) // 2)
        high = np.maximum(
            np.asarray(shape) - np.asarray(self.sampling.patch) + half, np.asarray(shape) // 2
        )
        x, y, z = np.clip(centre, low, high)
        return int(x), int(y), int(z)


def group_shares(
    studies: Sequence[CachedStudy | StudyRecord], shares: dict[str, float]
) -> list[tuple[list[int], int]]:
    """Groups as indices of studies, and the number of ``_ROUND`` patches of each; the studies of
    other groups are last. Empty without shares.

    Raises:
        StudyError: a group has no study, or the remaining share and the other studies do not match.
    """
    if not shares:
        return []
    members = {name: [i for i, s in enumerate(studies) if s.group == name] for name in shares}
    found = sorted({study.group for study in studies if study.group})
    for name, indices in members.items():
        if not indices:
            raise StudyError(
                "no labelled study of this group",
                field=f"sampling.groups.{name}",
                got="0 studies",
                expected=f"one of {', '.join(found)}" if found else "a column group in a manifest",
            )
    counts = [round(share * _ROUND) for share in shares.values()]
    rest = [i for i, study in enumerate(studies) if study.group not in shares]
    left = _ROUND - sum(counts)
    if bool(rest) != (left > 0):
        raise StudyError(
            "shares of groups do not add up",
            field="sampling.groups",
            got=f"{sum(counts)} % of the patches, and {len(rest)} studies of other groups",
            expected="less than 100 %" if rest else "100 %",
        )
    groups = list(zip(members.values(), counts, strict=True))
    return [*groups, (rest, left)] if rest else groups


def _known(
    tells: Bool[Tensor, "B 3"], voxels: list[Tensor | None], patch: tuple[int, int, int]
) -> Bool[Tensor, "B 3 _ _ _"] | None:
    """:attr:`Batch.known` of patches: the known regions of each, and its known voxels if not all
    are.
    """
    regions = tells[:, :, None, None, None]
    if any(known is not None for known in voxels):
        every = torch.ones(patch, dtype=torch.bool)
        return regions & torch.stack([every if k is None else k for k in voxels])[:, None]
    return None if bool(tells.all()) else regions


def _foreground(study: CachedStudy, truth: NDArray[np.uint8]) -> list[NDArray[np.int16]]:
    """Per region up to ``_KEPT`` voxel indices (N × 3), drawn with a seed made of the study's id."""
    random = np.random.Generator(np.random.PCG64(list(study.id.encode())))
    return [_some(truth >> bit & 1, random) for bit in range(3)]


def _sampled(study: CachedStudy, mask: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Up to ``_KEPT`` voxels of a mask, drawn with a seed made of the study's id."""
    return _some(mask, np.random.Generator(np.random.PCG64(list(study.id.encode()))))


def _some(mask: NDArray[Any], random: np.random.Generator) -> NDArray[np.int16]:
    flat = np.flatnonzero(mask)
    if len(flat) > _KEPT:
        flat = np.sort(random.choice(flat, _KEPT, replace=False))
    return np.stack(np.unravel_index(flat, mask.shape), axis=1).astype(np.int16)
