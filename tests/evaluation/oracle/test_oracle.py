"""Every rule set gives the numbers of the package it follows: frozen by ``make_fixtures.py``, or
MONAI and SciPy asked here.

Where the packages' numbers are not followed, :func:`expected` and :func:`as_the_package_reads` say
why, and so does docs/metrics.md.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.oracle.cases import (
    REGIONS,
    TOLERANCES_MM,
    Case,
    as_mask,
    known_to,
    maps,
    masks,
    real,
    region,
)
from gliodistill.evaluation.rules import Region, get_rules
from gliodistill.evaluation.scores import score_study
from gliodistill.evaluation.tasks import challenges, region_masks
from gliodistill.images.nifti import read_labels
from gliodistill.studies.labels import BRATS2024, BRATS_PED

HERE = Path(__file__).parent
CASES = {case.name: case for case in (*masks(), *maps())}
MASKS = [case.name for case in masks()]
MAPS = [case.name for case in maps()]

NAMES: dict[str, dict[str, str]] = {
    "brats2023": {
        "dice": "Lesion_Wise_Score_Dice",
        "hd95_mm": "Lesion_Wise_Score_HD95",
        "whole_dice": "Legacy_Dice",
        "whole_hd95_mm": "Legacy_HD95",
        "sensitivity": "Sensitivity",
        "specificity": "Specificity",
        "truth_ml": "GT_Complete_Volume",
        "lesion_tp": "Num_TP",
        "lesion_fp": "Num_FP",
        "lesion_fn": "Num_FN",
    },
    "brats2025": {
        "dice": "LesionWise_Score_Dice",
        "hd95_mm": "LesionWise_Score_HD95",
        "lesion_nsd_05": "LesionWise_Score_NSD @ 0.5",
        "lesion_nsd_10": "LesionWise_Score_NSD @ 1.0",
        "lesion_tp": "Num_TP",
        "lesion_fp": "Num_FP",
        "lesion_fn": "Num_FN",
    },
    "brats2026": {
        "dice": "global_dsc",
        "hd95_mm": "global_hd95",
        "nsd": "global_nsd",
        "lesion_dice": "lesionwise_dsc_mean",
        "lesion_hd95_mm": "lesionwise_hd95_mean",
        "lesion_nsd": "lesionwise_nsd_mean",
        "lesion_tp": "all_instance_tp",
        "lesion_fp": "all_instance_fp",
        "lesion_fn": "all_instance_fn",
        "lesion_f1": "all_instance_f1",
    },
}
"""Rule set → metric → its name in the package."""
SIZED = {
    f"{size}_{count}": f"{size}_instance_{count}"
    for size in ("large", "small")
    for count in ("tp", "fn", "f1")
}
"""The same of metastases under ``brats2026``."""


@cache
def answers(oracle: str) -> dict[str, Any]:
    """Everything on file of one package."""
    content: dict[str, Any] = json.loads((HERE / f"{oracle}.json").read_text())
    return content


def ours(
    case: Case, rules: str, task: str, tolerance_mm: float | None = None
) -> dict[str, dict[str, float | None]]:
    """Region → metric → value, by the program."""
    rule_set = get_rules(rules, task, tolerance_mm)
    codes = REGIONS.get("gli" if rules == "brats2023" else task, REGIONS["gli"])
    pair = (known_to(task, labels) for labels in (case.prediction, case.truth))
    prediction, truth = (
        np.stack([region(labels, codes[name]) for name in rule_set.regions]) for labels in pair
    )
    return score_study(prediction, truth, case.spacing, rule_set)


@cache
def scored(
    name: str, rules: str, task: str, tolerance_mm: float | None = None
) -> dict[str, dict[str, float | None]]:
    """The same of a case by its name."""
    return ours(CASES[name], rules, task, tolerance_mm)


def as_the_package_reads(case: Case, task: str) -> dict[str, dict[str, float | None]]:
    """What ``brats2026`` gives once the two slips of brats-evaluation 0.0.10 with voxels that are
    no cubes of 1 mm are made here.

    It hands no voxel size to the metrics of whole regions: their distances are in voxels. And it
    reads arrays as Z Y X but
    the voxel size as X Y Z: between lesions the sides are mistaken for each other.
    """
    whole = ours(replace(case, spacing=(1.0, 1.0, 1.0)), "brats2026", task)
    pairs = ours(replace(case, spacing=case.spacing[::-1]), "brats2026", task)
    return {
        name: pairs[name] | {metric: whole[name][metric] for metric in ("dice", "hd95_mm", "nsd")}
        for name in pairs
    }


def expected(rules: str, numbers: Mapping[str, Any]) -> dict[str, float | None]:
    """The package's numbers under our names, and in our units."""
    names = NAMES[rules] | (SIZED if "large_instance_tp" in numbers else {})
    found = {ours: numbers[theirs] for ours, theirs in names.items()}
    if rules == "brats2023":
        found["truth_ml"] /= 1000.0
    if (
        found.get("lesion_hd95_mm") == "inf"
    ):  # There is no pair: infinite in the package's table, the penalty here.
        found["lesion_hd95_mm"] = 373.0
    return found


def differences(got: Mapping[str, float | None], want: Mapping[str, float | None]) -> list[str]:
    """Every metric that is not the same: 1e-6, for distances 1e-4 mm."""
    told = []
    for metric, value in want.items():
        if metric == "specificity" and got[metric] is None:
            continue  # The truth fills the image: undefined here, 0 in the script.
        mine, tolerance = got[metric], 1e-4 if metric.endswith("_mm") else 1e-6
        if (value is None) != (mine is None) or (
            value is not None and mine is not None and abs(value - mine) > tolerance
        ):
            told.append(f"{metric}: {mine}, expected {value}")
    return told


@pytest.mark.parametrize("oracle", ["brats2023", "brats2025", "brats2026", "surface_distance"])
def test_the_numbers_on_file_are_of_these_cases(oracle: str) -> None:
    on_file = {name: entry["digest"] for name, entry in answers(oracle)["cases"].items()}
    assert on_file == {
        name: CASES[name].digest
        for name in (MASKS if oracle == "surface_distance" else [*MASKS, *MAPS])
    }


def told(name: str, rules: str, task: str) -> dict[str, list[str]]:
    """Region → what is not the same, of one case."""
    case, official = CASES[name], answers(rules)["cases"][name][task]
    cubes = rules == "brats2023" or case.spacing == (1.0, 1.0, 1.0)
    got = scored(name, rules, task) if cubes else as_the_package_reads(case, task)
    return {
        name: lines
        for name, numbers in official.items()
        if (lines := differences(got[name], expected(rules, numbers)))
    }


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize(
    ("rules", "tasks"), [("brats2023", ("gli", "men", "met")), ("brats2026", ("gli", "met"))]
)
def test_masks(rules: str, tasks: tuple[str, ...], name: str) -> None:
    assert {task: lines for task in tasks if (lines := told(name, rules, task))} == {}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize(
    ("rules", "tasks"),
    [("brats2023", ("gli",)), ("brats2026", ("gli", "gli-post", "ped", "men", "met", "men-rt"))],
)
def test_regions_of_every_task(rules: str, tasks: tuple[str, ...], name: str) -> None:
    assert {task: lines for task in tasks if (lines := told(name, rules, task))} == {}


SCRIPTS_2024 = ("gli-post", "ped", "met", "ssa", "men-rt")
SCRIPTS_2025 = ("gli-post", "ped", "ssa", "men-rt", "men")


def of_mask(case: Case, rules: str, task: str) -> dict[str, dict[str, float | None]]:
    """The one region of a mask: nothing can be joined to it."""
    mask, name = as_mask(case, task)
    pair = (labels > 0 for labels in (mask.prediction, mask.truth))
    one = Region(*pair, case.spacing, math.prod(case.spacing) / 1000)
    return get_rules(rules, task).score_regions({name: one})


def told_by_scripts(
    got: dict[str, dict[str, float | None]], official: Mapping[str, Any]
) -> list[str]:
    """What is not the same as the scripts of 2024 and 2025 print, of one case.

    One table holds both years: 2025 added the NSD of lesions, where a script has it.
    """
    lines = []
    for name, numbers in official.items():
        want = {
            metric: numbers[theirs]
            for metric, theirs in NAMES["brats2025"].items()
            if theirs in numbers and metric in got[name]
        }
        assert len(want) >= 5, numbers
        lines += [f"{name} {line}" for line in differences(got[name], want)]
    return lines


@pytest.mark.parametrize("name", [*MASKS, *MAPS])
def test_scripts_of_2024_and_2025(name: str) -> None:
    """Masks: every task once, in 2025 where it was scored by lesions then; maps: both years."""
    case, official = CASES[name], answers("brats2025")["cases"][name]
    asked = [("brats2025", task) for task in SCRIPTS_2025]
    asked += [("brats2024", task) for task in (SCRIPTS_2024 if name in MAPS else ("met",))]
    shown = {
        (rules, task): told_by_scripts(
            (of_mask if name in MASKS else ours)(case, rules, task), official[task]
        )
        for rules, task in asked
    }
    assert not any(shown.values()), shown


@pytest.mark.parametrize("task", sorted(set(challenges()) - {"men-rt"}))
def test_a_task_has_the_regions_of_the_official_code(task: str) -> None:
    """The codes of each region, as the packages' own tables have them."""
    convention = BRATS_PED if task == "ped" else BRATS2024
    rules, codes = get_rules("brats2026", task), np.arange(5, dtype=np.uint8)[:, None, None]
    drawn = region_masks(codes, convention, list(rules.tissues.values()))
    assert {
        name: tuple(np.flatnonzero(mask)) for name, mask in zip(rules.regions, drawn, strict=True)
    } == REGIONS.get(task, REGIONS["gli"])


@pytest.mark.parametrize("name", MASKS)
def test_surface_dice_is_that_of_surface_distance(name: str) -> None:
    """Where both masks are empty the package divides nothing by nothing; the rules say 1."""
    numbers = answers("surface_distance")["cases"][name]["gli"]["ET"]
    for tolerance, chosen in zip(TOLERANCES_MM, (None, TOLERANCES_MM[1]), strict=True):
        official = numbers[f"surface_dice_{tolerance:g}"]
        nsd = scored(name, "brats2023", "gli", chosen)["ET"]["nsd"]
        assert nsd == pytest.approx(1 if official is None else official, abs=1e-6), tolerance


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI calling itself
@pytest.mark.parametrize(
    "name", [name for name in MASKS if CASES[name].truth.any() and CASES[name].prediction.any()]
)
def test_plain_is_monai(name: str) -> None:
    torch = pytest.importorskip("torch")
    from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice

    case = CASES[name]
    prediction, truth = (
        torch.from_numpy(labels > 0)[None, None].float() for labels in (case.prediction, case.truth)
    )
    got = scored(name, "plain", "gli")["ET"]
    assert got["dice"] == pytest.approx(float(compute_dice(prediction, truth)), abs=1e-6)
    hd95 = compute_hausdorff_distance(
        prediction, truth, include_background=True, percentile=95, spacing=case.spacing
    )
    assert got["hd95_mm"] == pytest.approx(float(hd95), abs=1e-4)
    nsd = compute_surface_dice(
        prediction, truth, [1.0], include_background=True, spacing=case.spacing
    )
    assert got["nsd"] == pytest.approx(float(nsd), abs=1e-6)


@pytest.mark.parametrize("name", MASKS)
def test_plain_is_scipy(name: str) -> None:
    """Surfaces by erosion and distances by a transform of the whole image, in float64."""
    from scipy.ndimage import binary_erosion, distance_transform_edt

    case = CASES[name]
    prediction, truth = case.prediction > 0, case.truth > 0
    if prediction.any() and truth.any():
        ends = [mask & ~binary_erosion(mask) for mask in (prediction, truth)]
        maps_mm = [distance_transform_edt(~end, sampling=case.spacing) for end in ends]
        hd95 = max(np.percentile(maps_mm[1][ends[0]], 95), np.percentile(maps_mm[0][ends[1]], 95))
    else:
        hd95 = (
            0.0 if not prediction.any() and not truth.any() else math.sqrt(240**2 + 240**2 + 155**2)
        )
    assert scored(name, "plain", "gli")["ET"]["hd95_mm"] == pytest.approx(hd95, abs=1e-9)


@pytest.mark.real
@pytest.mark.parametrize("rules", ["brats2023", "brats2026"])
def test_real_truths(rules: str, real_data: Path) -> None:
    """Real truths, each with a prediction derived from it; as many as are on file and at hand."""
    official, unlike, seen = answers(rules)["real"], {}, 0
    for index, case in enumerate(
        real(real_data, lambda path: read_labels(path).data, len(official))
    ):
        if case.digest in official:
            seen += 1
            got = ours(case, rules, "gli")
            for name, numbers in official[case.digest]["gli"].items():
                if lines := differences(got[name], expected(rules, numbers)):
                    unlike[index, name] = lines
    assert unlike == {}
    assert seen >= 10
