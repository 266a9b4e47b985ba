"""Patches are a pure function of seed and step."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from gliodistill.errors import CacheError, StudyError
from gliodistill.preparation import Preparation, build_cache, dequantise
from gliodistill.recipes.schema import AugmentationPart, SamplingPart
from gliodistill.studies.cohort import open_cohort
from gliodistill.training.data.sampler import PatchSampler
from tiny_cohort import PLAIN, write_cohort, write_study

QUIET = AugmentationPart(**PLAIN)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    root = tmp_path_factory.mktemp("sampling")
    return build_cache(
        open_cohort(write_cohort(root / "cohort", 3), labels="brats2021"),
        Preparation(),
        root / "cache",
        1,
    )


def sampler(cache, augmentation=QUIET, seed=0, **sampling):
    return PatchSampler(
        cache, SamplingPart(**{"patch": (8, 8, 8), "batch": 2, **sampling}), augmentation, seed
    )


def same(a, b):
    return all(
        torch.equal(getattr(a, name), getattr(b, name))
        for name in ("image", "complete", "regions", "present")
    )


def test_same_seed_same_batch(cache):
    wild = AugmentationPart(
        spatial=1,
        gamma=1,
        noise=1,
        blur=1,
        brightness=1,
        contrast=1,
        low_resolution=1,
        modality_dropout={"p": 0.3},
    )
    one, two = sampler(cache, wild, 3), sampler(cache, wild, 3)
    for step in (0, 7, 3):  # in any order
        assert same(one.batch(step), two.batch(step))
    assert not same(one.batch(0), one.batch(1))
    assert not same(one.batch(0), sampler(cache, wild, 4).batch(0))


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_threads_do_not_change_what_comes(cache, prefetch):
    wild = AugmentationPart(spatial=1)
    got = list(sampler(cache, wild).batches(2, 8, prefetch))
    assert len(got) == 6
    assert all(
        same(batch, sampler(cache, wild).batch(step)) for step, batch in enumerate(got, start=2)
    )
    assert list(sampler(cache).batches(5, 5, prefetch)) == []


def test_each_study_once_per_round(cache):
    drawn = [draw.study for step in range(30) for draw in sampler(cache).draw(step)]
    rounds = [drawn[i : i + 3] for i in range(0, 60, 3)]
    assert all(sorted(one) == [0, 1, 2] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 3  # shuffled anew


def test_a_batch_is_what_the_cache_holds(cache):
    made = sampler(cache)
    for step in range(4):
        batch = made.batch(step)
        assert batch.image.shape == (2, 4, 8, 8, 8)
        assert batch.regions.shape == (2, 3, 8, 8, 8)
        assert batch.complete is batch.image
        assert batch.present.all()
        for item, draw in enumerate(made.draw(step)):
            start = np.array(draw.centre) - 4
            inner = tuple(slice(a, a + 8) for a in start)
            study = cache.studies[draw.study]
            np.testing.assert_array_equal(
                batch.image[item], dequantise(study.image()[(slice(None), *inner)])
            )
            truth = study.truth()[inner]
            for bit in range(3):
                np.testing.assert_array_equal(batch.regions[item, bit], truth >> bit & 1)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_share_of_foreground(cache, share):
    """A patch drawn for its tumour holds some; of those drawn anywhere, few do (patches of one
    voxel show it).
    """
    made = sampler(cache, foreground=share, patch=(1, 1, 1), batch=1)
    hits = np.mean([made.batch(step).regions[0, 0].any().item() for step in range(300)])
    anywhere = np.mean([(study.truth() > 0).mean() for study in cache])
    assert hits == pytest.approx(share + (1 - share) * anywhere, abs=0.07)


def test_regions_are_drawn_evenly(cache):
    """A third of tumour patches each for WT, TC and ET, though ET is a fraction of WT."""
    made = sampler(cache, foreground=1.0, patch=(1, 1, 1), batch=1)
    tissue = Counter(tuple(made.batch(step).regions[0].flatten().tolist()) for step in range(300))
    parts = np.mean(
        [[((study.truth() >> bit & 1) > 0).sum() for bit in range(3)] for study in cache], axis=0
    )
    whole, core, enhancing = parts
    expected = (1 + enhancing / core + enhancing / whole) / 3  # chance that the voxel is ET
    assert tissue[(1.0, 1.0, 1.0)] / 300 == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("patch", [(8, 8, 8), (7, 9, 5), (12, 12, 12)])
def test_patches_stay_over_the_brain_where_they_fit(cache, patch):
    made = sampler(cache, patch=patch)
    for step in range(40):
        for draw in made.draw(step):
            shape = cache.studies[draw.study].shape
            start = np.array(draw.centre) - np.array(patch) // 2
            assert (start >= 0).all()
            assert (start + patch <= shape).all()


def test_a_patch_larger_than_the_study_is_padded(cache):
    made = sampler(cache, patch=(40, 40, 40), batch=1)
    batch, (draw,) = made.batch(0), made.draw(0)
    study = cache.studies[draw.study]
    assert batch.image.shape == (1, 4, 40, 40, 40)
    assert batch.image.abs().sum().item() == pytest.approx(
        np.abs(dequantise(study.image())).sum(), rel=1e-4
    )
    assert batch.regions[0, 0].sum().item() == (study.truth() & 1).sum()


def test_dropped_sequences_are_0_for_the_student_and_there_for_the_teacher(cache):
    made = sampler(cache, AugmentationPart(**PLAIN, modality_dropout={"p": 0.5}))
    batches = [made.batch(step) for step in range(6)]
    assert any(not batch.present.all() for batch in batches)
    for batch in batches:
        for item in range(2):
            for channel in range(4):
                if batch.present[item, channel]:
                    assert torch.equal(batch.image[item, channel], batch.complete[item, channel])
                else:
                    assert not batch.image[item, channel].any()
                    assert batch.complete[item, channel].any()


def test_patches_of_a_batch_may_lose_the_same(cache):
    part = AugmentationPart(**PLAIN, modality_dropout={"p": 0.5, "keep_all": 0.2})
    alike, each = (
        sampler(
            cache,
            part.model_copy(
                update={
                    "modality_dropout": part.modality_dropout.model_copy(
                        update={"per_batch": value}
                    )
                }
            ),
            batch=3,
        )
        for value in (True, False)
    )
    kept = [[draw.kept for draw in alike.draw(step)] for step in range(400)]
    assert all(len(set(batch)) == 1 for batch in kept)
    counts = Counter(batch[0] for batch in kept)
    assert len(counts) == 15
    assert counts[(True,) * 4] == pytest.approx(400 * (0.2 + 0.8 / 15), abs=30)
    for step in range(5):  # otherwise the same patches
        assert torch.equal(alike.batch(step).complete, each.batch(step).complete)


def test_patches_lose_the_same_of_what_all_their_studies_have(cache):
    made = sampler(
        cache, AugmentationPart(**PLAIN, modality_dropout={"p": 0.5, "per_batch": True}), batch=3
    )
    has = [(True, True, False, True), (False, True, True, True), (True,) * 4]
    made.studies = [
        replace(study, present=there) for study, there in zip(made.studies, has, strict=True)
    ]
    kept = {draw.kept for step in range(40) for draw in made.draw(step)}
    assert kept == {
        (False, True, False, True),
        (False, True, False, False),
        (False, False, False, True),
    }
    # With nothing in common each loses its own.
    has = [(True, False, False, False), (False, True, False, False), (False, False, True, True)]
    made.studies = [
        replace(study, present=there) for study, there in zip(made.studies, has, strict=True)
    ]
    for step in range(10):
        assert all(
            any(draw.kept) and not np.greater(draw.kept, has[draw.study]).any()
            for draw in made.draw(step)
        )


def test_moving_a_batch_keeps_it(cache):
    batch = sampler(cache).batch(0)
    moved = batch.to(torch.device("cpu"))
    assert same(batch, moved)
    assert moved.image.is_contiguous(memory_format=torch.channels_last_3d)
    assert moved.complete is moved.image


def test_studies_without_tumour_or_truth(tmp_path):
    write_study(tmp_path / "cohort", "case_0", 0, labelled=False)
    cache = build_cache(open_cohort(tmp_path / "cohort"), Preparation(), tmp_path / "cache", 1)
    with pytest.raises(StudyError, match="no labelled study"):
        sampler(cache)


def test_a_healthy_study_gives_patches_too(cache, tmp_path):
    healthy = cache.studies[0]
    np.save(healthy.folder / "truth.npy", np.zeros(healthy.shape, np.uint8))
    assert sampler(cache.select({healthy.id}), foreground=1.0).batch(0).regions.sum() == 0


def test_a_transplanted_tumour_comes_with_its_own_voxels(cache):
    """Every voxel of a patch is the host's or the donor's, image and truth together."""
    made = sampler(cache, AugmentationPart(**PLAIN, transplant=1), patch=(12, 12, 12), batch=3)
    plain = sampler(cache, patch=(12, 12, 12), batch=3)
    changed = 0
    for step in range(6):
        draws, batch = made.draw(step), made.batch(step)
        assert [d.study for d in draws] == [
            d.study for d in plain.draw(step)
        ]  # hosts in the same order
        for item, draw in enumerate(draws):
            assert draw.donor is not None
            assert draw.donor.study != draw.study
            theirs = {}
            for who, where in ((draw.study, draw.centre), (draw.donor.study, draw.donor.centre)):
                study = made.studies[who]
                levels, truth = (
                    np.pad(a, [(0, 0)] * (a.ndim - 3) + [(12, 12)] * 3)
                    for a in (study.image(), study.truth())
                )
                box = tuple(slice(c + 6, c + 18) for c in where)
                theirs[who] = dequantise(levels[(slice(None), *box)]), truth[box]
            image, regions = batch.complete[item].numpy(), batch.regions[item].numpy()
            (host, own), (donor, tumour) = theirs[draw.study], theirs[draw.donor.study]
            from_donor = (image == donor).all(axis=0) & (regions[0] == (tumour & 1))
            from_host = (image == host).all(axis=0) & (regions[0] == (own & 1))
            assert (from_donor | from_host).all()
            both = (host != 0).any(axis=0) & (donor != 0).any(axis=0)
            assert from_donor[(tumour > 0) & both].all()
            changed += int((~from_host).sum())
    assert changed > 0


def test_same_seed_same_transplants_and_scanners(cache):
    wild = AugmentationPart(
        spatial=1,
        transplant=0.5,
        bias=0.5,
        curve=0.5,
        thick_slices=0.5,
        misregistration=0.5,
        cut_field=0.5,
        windowing=0.5,
        contrast_agent=0.5,
        brain_mask=0.5,
    )
    for step in (0, 5):
        assert same(sampler(cache, wild, 3).batch(step), sampler(cache, wild, 3).batch(step))


def test_without_contrast_agent_et_is_not_taught_where_t1ce_is_given(cache):
    """A patch whose student is not given T1CE keeps its ET, and its image."""
    absent = {"contrast_agent": {"p": 1, "missing": [1, 1], "everywhere": 1}}
    dropping = {**PLAIN, "modality_dropout": {"p": 0.5}}
    plain = sampler(cache, AugmentationPart(**dropping), batch=3)
    made = sampler(cache, AugmentationPart(**dropping, **absent), batch=3)
    t1, t1ce = (cache.preparation.sequences.index(name) for name in ("T1", "T1CE"))
    kept = removed = 0
    for step in range(6):
        before, after = plain.batch(step), made.batch(step)
        assert torch.equal(before.present, after.present)
        for item in range(3):
            if not after.present[item, t1ce]:
                assert torch.equal(after.complete[item], before.complete[item])
                assert torch.equal(after.regions[item], before.regions[item])
                kept += int(after.regions[item, 2].sum() > 0)
                continue
            both = (after.complete[item, [t1, t1ce]] != 0).all(0)
            assert torch.equal(after.complete[item, t1][both], after.complete[item, t1ce][both])
            assert not after.regions[item, 2][both].any()
            assert torch.equal(after.regions[item, :2], before.regions[item, :2])
            removed += int(before.regions[item, 2].sum() > 0)
    assert kept and removed


def test_a_damaged_cache_is_noticed_at_the_start(cache):
    (cache.studies[2].folder / "image.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(CacheError, match="damaged"):
        sampler(cache)
