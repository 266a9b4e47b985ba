"""Sampling of patches: cut around tumours, augmented, batched; a pure function of seed and step, so
a run can stop anywhere.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from gliodistill.errors import StudyError
from gliodistill.methods.base import Batch
from gliodistill.preparation.cache import Cache
from gliodistill.preparation.prepared import UNKNOWN, unpack_regions
from gliodistill.preparation.quantise import dequantise
from gliodistill.progress import track
from gliodistill.recipes.schema import AugmentationPart, PseudoPart, SamplingPart
from gliodistill.tasks.catalogue import glioma
from gliodistill.tasks.task import Task
from gliodistill.training.data.order import StudyOrder, group_shares
from gliodistill.training.data.places import draw_centre, foreground_voxels, sampled_voxels
from gliodistill.training.data.teacher_outputs import TeacherOutputs
from gliodistill.training.data.teacher_views import TeacherViews
from gliodistill.training.transforms import (
    Intensities,
    ModalityDropout,
    Patch,
    Spatial,
    Transplant,
    read_patch,
)
from gliodistill.training.transforms.intensities import Draws
from gliodistill.training.transforms.spatial import SpatialDraw
from gliodistill.training.transforms.transplant import Donor

WHOLE = (0, 1)
"""The only part of a batch."""
_PSEUDO = 2
"""Their random stream; 1 is that of the order of labelled studies."""
_ALIKE = 4
"""Random stream of modality dropout per batch; 3 is the order of pseudo-labelled studies, 8 and on
are the groups' (:mod:`~gliodistill.training.data.order`)."""
_OTHERS = 16
"""Random stream of the transforms of other packages."""


@dataclass(frozen=True)
class PatchDraw:
    """All random choices of one patch."""

    study: int
    centre: tuple[int, int, int]
    spatial: SpatialDraw
    intensities: Draws
    donor: Donor | None
    """The tumour that is transplanted into it."""
    kept: tuple[bool, ...]
    """Which of the student's sequences it keeps."""


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
        teachers: of another tool: their outputs, or the studies as they see them; what belongs to
            the patches is ``Batch.given``.
        task: whose regions the studies were prepared for; None = glioma.

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
        teachers: Sequence[TeacherOutputs | TeacherViews] = (),
        task: Task | None = None,
    ) -> None:
        self.task = task or glioma()
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
        self._sequences = sequences
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
        self._readers = [[teacher.reader(study) for teacher in teachers] for study in self.studies]
        self._foreground = [
            foreground_voxels(study, truth)
            for study, truth in track(
                list(zip(self.studies, self._truths, strict=True)), "finding tumours"
            )
        ]
        self._inside = [
            sampled_voxels(study, truth & UNKNOWN == 0) if study.partial else None
            for study, truth in zip(self.studies, self._truths, strict=True)
        ]
        self._tells = torch.tensor(
            [
                [region in study.known_regions for region in self.task.names]
                for study in self.studies
            ]
        )
        if soft:
            self._truths[self._labelled :] = [
                study.soft() for study in self.studies[self._labelled :]
            ]
        self._order = StudyOrder(
            seed, group_shares(self.studies[: self._labelled], sampling.groups)
        )

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
            study = self._order.study(step * count + item, pool, stream)
            shape = self._images[study].shape[1:]
            centre = draw_centre(
                self.sampling, shape, self._foreground[study], self._inside[study], random
            )
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
                centre = donor.place_in(self._images[donor.study].shape[1:], shape)
            drawn.append((study, centre, spatial, intensities, donor))
        # Last, so that runs with and without modality dropout see the same patches.
        return [
            PatchDraw(*draw, self._dropout.draw(self._present(draw[0]), random)) for draw in drawn
        ]

    def _random(self, *stream: int) -> np.random.Generator:
        """Random numbers that depend only on the run's seed and the stream."""
        sequence = np.random.SeedSequence([self.seed, *stream])
        return np.random.Generator(np.random.PCG64(sequence))

    def batch(self, step: int, part: tuple[int, int] = WHOLE) -> Batch:
        """Batch ``step`` (0 is the first), on the CPU.

        Args:
            step: its number.
            part: which of how many equal parts of its patches.

        Raises:
            CacheError: a study's file is damaged.
        """
        images, completes, truths, keeps, given = [], [], [], [], []
        studies: list[int] = []
        voxels: list[Tensor | None] = []
        drawn = self.draw(step)
        first, last = (len(drawn) * number // part[1] for number in (part[0], part[0] + 1))
        for draw in drawn[first:last]:
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
                theirs, tumour = read_patch(
                    self._images[draw.donor.study],
                    self._truths[draw.donor.study],
                    np.asarray(draw.donor.centre),
                    self.sampling.patch,
                    draw.donor.spatial,
                )
                assert tumour is not None
                self._transplanting.apply(levels, mask, theirs, tumour, draw.donor.rim)
            kept = dict(zip(self.channels, draw.kept, strict=True))
            self._intensities.change(
                Patch(
                    levels,
                    mask,
                    self._sequences,
                    tuple(kept.get(channel, False) for channel in range(len(levels))),
                    self.task,
                ),
                draw.intensities,
            )
            inside = torch.from_numpy(levels > 0)
            complete = self._intensities.apply(
                torch.from_numpy(dequantise(levels)), inside, draw.intensities
            )
            keep = torch.tensor(draw.kept)
            images.append(
                torch.where(keep[:, None, None, None], complete[list(self.channels)], 0.0)
            )
            completes.append(complete)
            readers = self._readers[draw.study]
            given.append([read(centre, self.sampling.patch, draw.spatial) for read in readers])
            truths.append(
                torch.from_numpy(unpack_regions(mask, len(self.task.regions))).float()
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
        pseudo = torch.arange(first, last) >= self.sampling.batch - self._pseudo
        every = [draw.study for draw in drawn]
        partial = any(self.studies[study].partial for study in every)
        known = (
            _known(self._tells[studies], voxels, self.sampling.patch)
            if partial or not bool(self._tells[every].all())
            else None
        )
        return Batch(
            image,
            complete,
            torch.stack(truths),
            torch.stack(keeps),
            pseudo,
            known,
            tuple(torch.stack(each) for each in zip(*given, strict=True)),
        )

    def batches(
        self, first: int, last: int, prefetch: int, part: tuple[int, int] = WHOLE
    ) -> Iterator[Batch]:
        """Batches ``first`` … ``last`` − 1, or a part of each, cut by ``prefetch`` threads ahead of
        the loop (NumPy and torch release the GIL).
        """
        if prefetch == 0:
            yield from (self.batch(step, part) for step in range(first, last))
            return
        with ThreadPoolExecutor(prefetch) as pool:
            waiting = [
                pool.submit(self.batch, step, part)
                for step in range(first, min(first + prefetch + 1, last))
            ]
            for step in range(first, last):
                done = waiting.pop(0)
                if step + prefetch + 1 < last:
                    waiting.append(pool.submit(self.batch, step + prefetch + 1, part))
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
            and len(self._tumour(study))
            and not self.studies[study].partial
            and bool((self._tells[study] | ~self._tells[host]).all())
        )
        return [
            study for study in others if not (has & ~np.array(self.studies[study].present)).any()
        ]

    def _donor(self, study: int, random: np.random.Generator) -> Donor:
        voxels = self._tumour(study)
        x, y, z = (int(v) for v in voxels[int(random.integers(len(voxels)))])
        return Donor(study, (x, y, z), self._spatial.draw(random), self._transplanting.draw(random))

    def _tumour(self, study: int) -> NDArray[np.int16]:
        """Voxels of the first of its outermost regions that it has."""
        roots = [self._foreground[study][root] for root in self.task.roots]
        return next((voxels for voxels in roots if len(voxels)), roots[0])

    def _present(self, study: int) -> tuple[bool, ...]:
        return tuple(self.studies[study].present[channel] for channel in self.channels)


def _known(
    tells: Bool[Tensor, "B R"], voxels: list[Tensor | None], patch: tuple[int, int, int]
) -> Bool[Tensor, "B R _ _ _"]:
    """:attr:`Batch.known` of patches: the known regions of each, and its known voxels if not all
    are.
    """
    regions = tells[:, :, None, None, None]
    if any(known is not None for known in voxels):
        every = torch.ones(patch, dtype=torch.bool)
        return regions & torch.stack([every if k is None else k for k in voxels])[:, None]
    return regions
