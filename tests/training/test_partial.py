"""Labels that tell a part: what is not known teaches nothing, what is known teaches as ever."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny_cohort
from gliodistill.distillation import Distiller
from gliodistill.errors import StudyError
from gliodistill.images import Volume, write_nifti
from gliodistill.methods.segmentation import deeply_supervised, segmentation_loss
from gliodistill.networks import build
from gliodistill.preparation import Preparation, build_cache, dequantise
from gliodistill.recipes.schema import AugmentationPart, SamplingPart
from gliodistill.studies.cohort import open_cohort
from gliodistill.training.batch_norm import studies_to_recalibrate_on
from gliodistill.training.data.sampler import PatchSampler
from gliodistill.training.validation import mean_dice, validate, whole_volume_logits
from tiny_cohort import AFFINE, PLAIN, SHAPE

BOX = (slice(6, 20), slice(5, 19), slice(4, 12))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Cache of a mixed cohort: ``full``, ``other``, ``whole`` (WT only), ``box`` (known in a box),
    ``crop`` (z-scores, of nothing but a box).
    """
    root = tmp_path_factory.mktemp("mixed")
    rows = []
    for seed, (id, extra) in enumerate(
        {
            "full": {},
            "other": {},
            "whole": {"known_regions": "WT", "group": "masks"},
            "box": {"known": "box/known.nii.gz"},
            "crop": {"known": "crop/known.nii.gz", "group": "crops", "normalised": "yes"},
        }.items()
    ):
        tiny_cohort.write_study(root, id, seed)
        names = {kind: f"{id}/{id}_{kind}.nii.gz" for kind in ("t1", "t1ce", "t2", "flair")}
        rows.append({"id": id, **names, "truth": f"{id}/{id}_seg.nii.gz", **extra})
    inside = np.zeros(SHAPE, dtype=np.uint8)
    inside[BOX] = 1
    write_nifti(Volume(inside, AFFINE), root / "box" / "known.nii.gz")
    images, codes = tiny_cohort.arrays(4)
    for sequence, image in images.items():
        brain = image[image != 0]
        scores = np.where(image != 0, (image - brain.mean()) / brain.std(), 0)
        file = root / "crop" / f"crop_{tiny_cohort.NAMES[sequence]}.nii.gz"
        write_nifti(Volume(scores[BOX].astype(np.float32), AFFINE), file)
    write_nifti(Volume(codes[BOX], AFFINE), root / "crop" / "crop_seg.nii.gz")
    write_nifti(Volume(np.ones_like(codes[BOX]), AFFINE), root / "crop" / "known.nii.gz")
    columns = ["id", "t1", "t1ce", "t2", "flair", "truth", "known_regions", "known", "group"]
    columns.append("normalised")
    lines = [",".join(columns)]
    lines += [",".join(row.get(column, "") for column in columns) for row in rows]
    (root / "cohort.csv").write_text("\n".join(lines) + "\n")
    cohort = open_cohort(root / "cohort.csv", labels="brats2021")
    return build_cache(cohort, Preparation(), root / "cache", 1)


def sampler(cache, *ids, seed=0, augmentation=PLAIN, **sampling):
    part = SamplingPart(**{"patch": (16, 16, 16), "batch": 2, **sampling})
    chosen = cache.select(set(ids)) if ids else cache
    return PatchSampler(chosen, part, AugmentationPart(**augmentation), seed)


def example(seed=0, sides=(6, 4, 8)):
    random = np.random.default_rng(seed)
    regions = np.cumprod(random.random((2, 3, *sides)) < 0.6, axis=1).astype(np.float64)
    known = random.random((2, 3, *sides)) < 0.7
    return random.normal(0, 2, (2, 3, *sides)), regions, known


def loss_by_numpy(logits, regions, known):
    """Region by region over its known voxels, listed one by one."""
    total = 0.0
    for channel in range(3):
        chosen = known[:, channel]
        p = 1 / (1 + np.exp(-logits[:, channel][chosen]))
        t = regions[:, channel][chosen]
        if not len(t):
            continue
        entropy = -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p))
        total += entropy + 1 - (2 * (p * t).sum() + 1e-5) / (p.sum() + t.sum() + 1e-5)
    return total / 3


def test_loss_is_that_of_the_known_voxels_by_numpy():
    logits, regions, known = example()
    known[:, 2] = False  # nothing is known of ET
    got = segmentation_loss(
        torch.tensor(logits), torch.tensor(regions), "regions", known=torch.tensor(known).double()
    )
    assert got.item() == pytest.approx(loss_by_numpy(logits, regions, known), rel=1e-9)


def test_all_known_is_the_loss_without_a_mask():
    logits, regions, _ = (torch.tensor(each) for each in example())
    plain = segmentation_loss(logits, regions, "regions")
    masked = segmentation_loss(logits, regions, "regions", known=torch.ones_like(regions))
    assert masked.item() == pytest.approx(plain.item(), rel=1e-12)


@pytest.mark.parametrize("outputs", ["regions", "classes"])
def test_gradient_is_zero_where_unknown_at_every_head(outputs):
    _, regions, _ = example(sides=(8, 8, 8))
    known = np.ones((2, 1, 8, 8, 8), dtype=bool)
    known[0, :, 4:] = False
    channels = 3 if outputs == "regions" else 4
    heads = [torch.randn(2, channels, s, s, s, requires_grad=True) for s in (8, 4, 2)]
    known = torch.tensor(known).expand(2, 3, 8, 8, 8)
    deeply_supervised(heads, torch.tensor(regions).float(), outputs, known=known).backward()
    for head in heads:
        half = head.shape[2] // 2
        assert (head.grad[0, :, half:] == 0).all()
        assert (head.grad[0, :, :half] != 0).all() and (head.grad[1] != 0).all()


def test_labels_do_not_matter_where_unknown():
    logits, regions, known = (torch.tensor(each) for each in example())
    heads = [logits, torch.nn.functional.avg_pool3d(logits, 2)]
    one = deeply_supervised(heads, regions, "regions", known=known)
    other = deeply_supervised(
        heads, torch.where(known, regions, 1 - regions), "regions", known=known
    )
    assert one.item() == pytest.approx(other.item(), rel=1e-12)


def test_a_study_of_the_whole_tumour_teaches_the_whole_tumour_only(mixed):
    batch = sampler(mixed, "whole").batch(0)
    assert batch.known.tolist() == [[[[[True]]], [[[False]]], [[[False]]]]] * 2
    assert batch.regions[:, 0].any() and not batch.regions[:, 1:].any()
    logits = torch.zeros(2, 3, 16, 16, 16, requires_grad=True)
    deeply_supervised([logits], batch.regions, "regions", known=batch.known).backward()
    assert (logits.grad[:, 0] != 0).all() and (logits.grad[:, 1:] == 0).all()


def test_everything_known_needs_no_mask(mixed):
    assert sampler(mixed, "full", "other").batch(0).known is None


@pytest.mark.parametrize("spatial", [0, 1])
def test_the_mask_travels_with_the_patch(mixed, spatial):
    """Painted into the image, the box is found where the mask says, whatever was done to both."""
    study = mixed.select({"box"}).studies[0]
    made = sampler(mixed, "box", augmentation={**PLAIN, "flip": 0.5, "spatial": spatial})
    inside = (np.asarray(study.truth()) & 8) == 0
    made._images = [np.where(inside, 200, 50).astype(np.uint8)[None].repeat(4, 0)]
    agree = []
    for step in range(6):
        batch = made.batch(step)
        brain = batch.complete[:, 0] != 0
        bright = batch.complete[:, 0] > 0
        agree.append((bright == batch.known[:, 0])[brain].float().mean().item())
        # Beyond the study nothing is known.
        assert spatial or not batch.known[:, 0][~brain].any()
    assert min(agree) == 1 if not spatial else np.mean(agree) > 0.97


def test_patches_are_centred_on_known_tumour_and_inside_the_known_box(mixed):
    study = mixed.select({"box"}).studies[0]
    known = np.asarray(study.truth()) & 8 == 0
    made = sampler(mixed, "box", patch=(1, 1, 1), foreground=0.5)
    centres = [draw.centre for step in range(60) for draw in made.draw(step)]
    assert all(known[centre] for centre in centres)
    tumour = sum(bool(np.asarray(study.truth())[centre] & 1) for centre in centres)
    assert 0.4 < tumour / len(centres) < 1


def test_what_is_known_in_part_gives_no_tumour_away_that_it_does_not_know(mixed):
    made = sampler(mixed, augmentation={**PLAIN, "transplant": 1})
    donors = {
        made.studies[host].id: {made.studies[donor].id for donor in made._donors(host)}
        for host in range(len(made.studies))
    }
    assert donors == {
        "full": {"other"},
        "other": {"full"},
        "whole": {"full", "other"},
        "box": set(),
        "crop": set(),
    }


def test_crops_keep_their_z_scores_and_know_nothing_beyond(mixed):
    whole, crop = (mixed.select({id}).studies[0] for id in ("full", "crop"))
    images, _ = tiny_cohort.arrays(4)
    brain = images["FLAIR"][images["FLAIR"] != 0]
    expected = ((images["FLAIR"][BOX] - brain.mean()) / brain.std())[images["FLAIR"][BOX] != 0]
    levels = np.asarray(crop.image()[3])
    assert dequantise(levels[levels > 0]).mean() == pytest.approx(expected.mean(), abs=0.05)
    assert not whole.partial and crop.partial
    batch = sampler(mixed, "crop", patch=(24, 24, 24)).batch(0)
    assert batch.known[:, 0].sum() == 2 * 14 * 14 * 8
    assert not batch.known[:, :, :4].any()


def test_groups_have_their_shares_of_the_patches(mixed):
    made = sampler(mixed, batch=5, groups={"masks": 0.3, "crops": 0.1})
    drawn = Counter(made.studies[d.study].id for step in range(40) for d in made.draw(step))
    assert (drawn["whole"], drawn["crop"]) == (60, 20)
    assert {drawn[id] for id in ("full", "other", "box")} == {40}


def test_groups_that_are_not_there_or_do_not_add_up(mixed):
    with pytest.raises(StudyError, match=r"expected one of crops, masks"):
        sampler(mixed, groups={"cubes": 0.3})
    with pytest.raises(StudyError, match=r"do not add up"):
        sampler(mixed, "whole", "crop", groups={"masks": 0.3, "crops": 0.1})
    with pytest.raises(StudyError, match=r"do not add up"):
        sampler(mixed, groups={"masks": 0.5, "crops": 0.5})


def test_validation_scores_known_regions_on_known_voxels(mixed):
    torch.manual_seed(0)
    network = build("unet", in_channels=4, out_channels=3, widths=[4, 8]).eval()
    scores = validate(network, mixed.studies, "regions")
    assert list(scores["whole"]) == ["WT"] and list(scores["box"]) == ["WT", "TC", "ET"]
    study = mixed.select({"box"}).studies[0]
    truth, image = np.asarray(study.truth()), torch.from_numpy(dequantise(study.image()))
    drawn = whole_volume_logits(network, image, "regions")[0].numpy() > 0
    known, tumour = truth & 8 == 0, truth & 1 == 1
    assert (drawn & ~known).any() and (drawn & known).any()
    expected = 2 * (drawn & tumour).sum() / ((drawn & known).sum() + tumour.sum())
    assert scores["box"]["WT"] == pytest.approx(expected)
    means = mean_dice({"a": {"WT": 0.5}, "b": {"WT": 0.7, "TC": 0.4}})
    assert means == {"WT": pytest.approx(0.6), "TC": 0.4, "mean": pytest.approx(0.5)}


def test_region_affinity_counts_known_voxels_only(mixed):
    nets = [build("unet", in_channels=4, out_channels=3, widths=[4, 8]) for _ in range(2)]
    distiller = Distiller(*nets, "regions", {"region_affinity": {"weight": 1.0}})
    batch = sampler(mixed, "full").batch(0)
    half = torch.ones(2, 3, 16, 16, 16, dtype=torch.bool)
    half[:, :, 8:] = False
    scrambled = torch.where(half, batch.regions, batch.regions.flip(2))

    def affinity(regions, known):
        with distiller.hooked():
            told = [net.eval()(batch.image)[0] for net in nets]
            return distiller.terms(*told, regions, known)["region_affinity"].item()

    assert affinity(batch.regions, half) == affinity(scrambled, half)
    assert affinity(batch.regions, half) != affinity(batch.regions, None)


def test_records_without_labels_are_not_partial(mixed):
    record = open_cohort(mixed.folder.parent / "cohort.csv", labels="brats2021").studies[-1]
    assert record.id == "whole" and record.partial and record.teaches == "WT"
    assert not replace(record, truth=None).partial


@pytest.fixture(scope="module")
def lacking(tmp_path_factory):
    """Cache of two studies: ``every`` has four sequences, ``fewer`` has no T2."""
    root = tmp_path_factory.mktemp("lacking")
    for seed, id in enumerate(("every", "fewer")):
        tiny_cohort.write_study(root / "cohort", id, seed)
    (root / "cohort" / "fewer" / "fewer_t2.nii.gz").unlink()
    cohort = open_cohort(root / "cohort", labels="brats2021")
    return build_cache(cohort, Preparation(), root / "cache", 1)


def test_a_batch_that_drops_alike_lacks_what_one_of_its_studies_lacks(lacking):
    mixed = sampler(lacking, augmentation={**PLAIN, "modality_dropout": {"per_batch": True}}).batch(
        0
    )
    assert mixed.present.tolist() == [[True, True, False, True]] * 2
    assert not mixed.image[:, 2].any() and mixed.image[:, [0, 1, 3]].any()
    assert mixed.complete[:, 2].any()
    alone = sampler(
        lacking, "every", augmentation={**PLAIN, "modality_dropout": {"per_batch": True}}
    ).batch(0)
    assert alone.present.all() and torch.equal(alone.image, alone.complete)


def test_norms_are_recalibrated_on_studies_that_are_no_crops(lacking, mixed):
    """Plain norms on those with every channel, norms of subsets on all."""
    plain, subsets = (build("unet", widths=[4, 8], norm=norm) for norm in ("batch", "subset"))
    for cache, network, channels, expected in (
        (lacking, plain, [0, 1, 2, 3], {"every"}),
        (lacking, plain, [0, 1], {"every", "fewer"}),
        (lacking.select({"fewer"}), plain, [0, 2], {"fewer"}),
        (lacking, subsets, [0, 1, 2, 3], {"every", "fewer"}),
        (mixed, plain, [0], {"full", "other", "whole"}),
        (mixed, subsets, [0], {"full", "other", "whole"}),
    ):
        chosen = studies_to_recalibrate_on(cache, network, channels)
        assert {study.id for study in chosen} == expected
