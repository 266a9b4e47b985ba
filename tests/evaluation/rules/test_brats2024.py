"""``brats2024`` and ``brats2025`` against a plain reading of the organisers' scripts: every lesion
one after the other, with SciPy.
"""

import math

import cc3d
import numpy as np
import pytest
from scipy import ndimage

from gliodistill.errors import EvaluationError
from gliodistill.evaluation.rules import get_rules
from gliodistill.evaluation.scores import score_study
from gliodistill.evaluation.surfaces import Surface, SurfaceDistances

STRUCTURE = ndimage.generate_binary_structure(3, 2)
TASKS = {  # dilations, small, penalty, false lesions count
    "gli-post": (3, 20, 337, True),
    "ped": (5, 10, 374, True),
    "met": (1, 2, 374, True),
    "ssa": (3, 50, 374, True),
    "men-rt": (1, 50, math.hypot(26, 24, 22), False),
}
JOINED = {
    "gli-post": {
        "NETC": ("ET", "RC"), "ET": ("NETC", "RC"), "RC": ("ET", "NETC"),
        "SNFH": ("ET", "RC", "NETC"),
    },
    "met": {"ET": ("NETC",)},
    "ssa": {"ET": ("NETC",)},
}  # fmt: skip


def settings(task, region):
    times, small, penalty, counted = TASKS[task]
    if task == "gli-post":
        times = 5 if region in ("NETC", "RC") else 3
        small = 10 if region == "ET" else 20
    return times, small, penalty, counted


def merged(mask, times, small=None, voxel=1.0):
    around = cc3d.connected_components(
        ndimage.binary_dilation(mask, STRUCTURE, iterations=times), connectivity=26
    )
    labels = around.astype(int) * mask
    if small is not None:
        numbers, counts = np.unique(labels, return_counts=True)
        labels[np.isin(labels, numbers[counts * voxel <= small])] = 0
    return labels


def joined(labels, others):
    pairs = set()
    for own in np.unique(labels)[1:]:
        near = ndimage.binary_dilation(labels == own, STRUCTURE)
        pairs |= {(own, other) for other in np.unique(others[near]) if other}
    if len(pairs) < 2:
        return labels
    new, result = {}, labels.copy()
    for own, other in sorted(pairs):
        if own not in new:
            new[own] = labels.max() + 1 + other
            result[labels == own] = new[own]
    return result


def plain_reading(task, regions, spacing):
    answers = {}
    with_core = dict(regions)
    if {"TC", "ET"} <= set(regions) and "NETC" not in regions:
        with_core["NETC"] = tuple(regions["TC"][i] & ~regions["ET"][i] for i in (0, 1))
    labels = {}
    for name, (predicted, true) in with_core.items():
        times, small, *_ = settings(task, name)
        voxel = np.prod(spacing) if task == "men-rt" else 1.0
        labels[name] = merged(predicted, times, small, voxel), merged(true, times)
    for name in regions:
        times, small, penalty, counted = settings(task, name)
        predicted, true = labels[name]
        for other in JOINED.get(task, {}).get(name, ()):
            if other in labels:
                predicted, true = (
                    joined(predicted, labels[other][0]), joined(true, labels[other][1])
                )  # fmt: skip
        rows, claimed = [], set()
        for lesion in np.unique(true)[1:] if true.any() else ():
            mask = true == lesion
            near = set(predicted[ndimage.binary_dilation(mask, STRUCTURE, iterations=times)]) - {0}
            claimed |= near
            drawn = np.isin(predicted, list(near))
            if mask.sum() * np.prod(spacing) <= small:
                continue
            if not near:
                rows.append((0.0, penalty, 0.0, 0.0))
                continue
            dice = 2 * (mask & drawn).sum() / (mask.sum() + drawn.sum())
            hd95 = SurfaceDistances.of(
                Surface.patches(mask, spacing), Surface.patches(drawn, spacing), spacing
            ).hd95_by_area()
            rows.append((dice, hd95, *(medpy(drawn, mask, spacing, at) for at in (0.5, 1.0))))
        false = len(set(np.unique(predicted)) - {0} - claimed)
        rows += [(0.0, penalty, 0.0, 0.0)] * (false if counted else 0)
        answers[name] = np.mean(rows, axis=0) if rows else np.array([1.0, 0.0, 1.0, 1.0])
    return answers


def medpy(a, b, spacing, tolerance):
    """The mean of both surfaces' shares, by a distance transform."""
    shares = []
    for one, other in ((a, b), (b, a)):
        borders = [mask & ~ndimage.binary_erosion(mask) for mask in (one, other)]
        away = ndimage.distance_transform_edt(~borders[1], sampling=spacing)
        shares.append((away[borders[0]] <= tolerance).mean())
    return np.mean(shares)


def maps(task, seed):
    """Two label maps with lesions of all sizes, near and far, as region masks."""
    random, rules = np.random.default_rng(seed), get_rules("brats2024", task)
    noise = [
        ndimage.gaussian_filter(random.normal(size=(26, 24, 22)), 1.6 + 0.5 * (seed % 2))
        for _ in range(4)
    ]
    tissues = sorted({t for tissues in rules.tissues.values() for t in tissues})
    drawn = []
    for shift in (0, 1):
        best = np.stack(
            [n + 0.35 * shift * m for n, m in zip(noise, [*noise[1:], noise[0]], strict=True)]
        )
        chosen = best.argmax(0)
        present = best.max(0) > np.quantile(best.max(0), 0.82)
        drawn.append(
            {
                name: present & np.isin(chosen, [i for i, t in enumerate(tissues[:4]) if t in own])
                for name, own in rules.tissues.items()
            }
        )
    return {name: (drawn[0][name], drawn[1][name]) for name in rules.regions}


@pytest.mark.parametrize("task", TASKS)
def test_lesions_as_the_scripts_read(task):
    for seed, spacing in ((1, (1.0, 1.0, 1.0)), (2, (1.0, 0.8, 2.0))):
        regions = maps(task, seed)
        year = "brats2024" if task == "met" else "brats2025"
        stacked = [np.stack([pair[side] for pair in regions.values()]) for side in (0, 1)]
        scores = score_study(*stacked, spacing, get_rules(year, task))
        for name, expected in plain_reading(task, regions, spacing).items():
            got = scores[name]
            assert got["dice"] == pytest.approx(expected[0], abs=1e-9), (task, name)
            assert got["hd95_mm"] == pytest.approx(expected[1], abs=1e-6), (task, name)
            if year == "brats2025":
                nsd = got["lesion_nsd_05"], got["lesion_nsd_10"]
                assert nsd == pytest.approx(tuple(expected[2:]), abs=1e-9), (task, name)
        assert sum(values["lesion_tp"] + values["lesion_fp"] for values in scores.values())


def test_both_empty_one_empty_and_no_such_challenge():
    rules = get_rules("brats2025", "ped")
    none, ball = np.zeros((6, 8, 8, 8), bool), np.zeros((6, 8, 8, 8), bool)
    ball[:, 2:6, 2:6, 2:6] = True
    empty = score_study(none, none, (1, 1, 1), rules)["ET"]
    assert (empty["dice"], empty["hd95_mm"], empty["lesion_nsd_05"]) == (1, 0, 1)
    for pair in ((none, ball), (ball, none)):
        missed = score_study(*pair, (1, 1, 1), rules)["ET"]
        assert (missed["dice"], missed["hd95_mm"], missed["lesion_nsd_10"]) == (0, 374, 0)
    target = get_rules("brats2024", "men-rt")
    false = score_study(ball[:1], none[:1], (1, 1, 1), target)["GTV"]
    assert (false["dice"], false["lesion_fp"]) == (1, 1)  # false lesions do not count
    with pytest.raises(EvaluationError, match=r"no challenge of BraTS 2024 .*got gli, .*brats2023"):
        get_rules("brats2024", "gli")
    for task, instead in (("met", r"panoptica.*brats2026"), ("goat", "its own cohort")):
        with pytest.raises(EvaluationError, match=instead):
            get_rules("brats2025", task)
    assert get_rules("brats2025", "men").metrics[-1] == "lesion_nsd_10"
