"""Asked once or live: both are measured, and the faster is proposed with its reason."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

import tiny_cohort
from gliodistill.networks import build
from gliodistill.planner.planning import plan_student
from gliodistill.planner.teaching import Teaching, measure_teaching, typical_study
from gliodistill.studies.cohort import open_cohort
from gliodistill.teachers import parse_teacher

MEASURED = Teaching(2.0, 3_000_000, 0.01, 0.5, 8_000_000, 10, 1000)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """Declared for a network of our own, at 1 mm."""
    file = tmp_path_factory.mktemp("weights") / "net.safetensors"
    torch.manual_seed(0)
    save_file(build("unet", in_channels=4, out_channels=3, widths=[8, 16]).state_dict(), file)
    return (
        f"{{network: {file}, options: {{widths: [8, 16]}}, sequences: [T1, T1CE, T2, FLAIR],"
        " channels: [WT, TC, ET], spacing: [1, 1, 1], window: [16, 16, 16]}"
    )


def test_the_faster_way_is_chosen_and_the_reason_has_both_sums():
    assert MEASURED.live  # 10 × 0.5 s + 1000 × 0.01 s, and not 10 × 2 s
    said = MEASURED.explain()
    assert "runs live" in said and "10 studies" in said and "80.0 MB" in said and "30.0 MB" in said
    assert not replace(MEASURED, steps=2000).live
    unknown = replace(MEASURED, studies=None)
    assert unknown.live is None and "for up to 6 studies" in unknown.explain()
    outputs = replace(MEASURED, step_seconds=None)
    assert outputs.live is False and "cannot run on patches" in outputs.explain()


def test_a_teacher_is_measured_on_a_study_and_a_batch(teacher):
    opened = parse_teacher(teacher, "teacher").open()
    made = tiny_cohort.recipe(data={"spacing": [1, 1, 1]})
    found = measure_teaching(opened, made, 100, typical_study(opened, (26, 24, 22)), 3)
    assert found.study_seconds > 0 and found.step_seconds and found.step_seconds > 0
    assert found.view_bytes == 2 * 4 * 26 * 24 * 22  # float16, the whole grid
    mirrored = parse_teacher(teacher.replace("}, seq", "}, tta: x, seq"), "teacher").open()
    assert measure_teaching(mirrored, made, 100, tiny_cohort.study(0), 3).step_seconds is None


def test_a_plan_says_when_its_teacher_is_asked(teacher, cohort):
    plan = plan_student(
        teacher, ["size<=0.05MB"], threads=1, shape=(24, 24, 24), seconds=0.01,
        training=open_cohort(cohort, labels="brats2021"),
    )  # fmt: skip
    facts = plan.as_dict()
    told = facts["runs"]["distilled"]["method"]["options"]["teacher"]
    assert told["live"] is facts["teaching"]["live"] and facts["teaching"]["studies"] == 3
