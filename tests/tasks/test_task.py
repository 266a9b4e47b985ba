"""Tasks: descriptions, their checks, and what follows from them for arrays."""

import copy

import numpy as np
import pytest
import yaml

from gliodistill.errors import LabelError
from gliodistill.studies.labels import CONVENTIONS, REGION_TISSUES, REGIONS
from gliodistill.tasks import find_task, glioma, shipped_tasks
from gliodistill.tasks.catalogue import fitting, is_shipped
from gliodistill.tasks.description import description_of, task_of


@pytest.mark.parametrize("name", shipped_tasks())
def test_shipped_tasks_are_whole_and_survive_json(name):
    task = find_task(name)
    assert task.name == name and is_shipped(task) and task.title and task.scans
    assert task_of(description_of(task)) == task
    assert set(task.names) <= set(task.evaluation.regions) and task.evaluation.challenges
    for convention in task.conventions:
        assert task.known_by(convention) == task.names
        labels = np.array([0, *convention.codes], dtype=np.uint8).reshape(1, 1, -1)
        regions = task.regions_of(labels, convention)
        again = task.regions_of(task.labels_of(regions, convention), convention)
        np.testing.assert_array_equal(again, regions)
    assert all(task.look(name).colour for name in task.evaluation.regions)


def test_glioma_is_what_the_constants_say():
    task = glioma()
    assert task.names == REGIONS and task.parts == {
        region: sorted(map(str, tissues)) for region, tissues in REGION_TISSUES.items()
    }
    masks = np.random.default_rng(0).random((3, 4, 4, 4)) > 0.4
    for convention in (CONVENTIONS[name] for name in ("brats2021", "msd", "brats-ped")):
        np.testing.assert_array_equal(
            task.labels_of(masks, convention), convention.from_regions(masks)
        )
    values = np.random.default_rng(1).normal(size=(3, 5, 5, 5)).astype(np.float32)
    np.testing.assert_array_equal(task.nest(values), np.minimum.accumulate(values, axis=0))


def test_a_cavity_lies_beside_the_tumour_and_is_painted_last():
    task = find_task("glioma-post")
    masks = np.zeros((4, 1, 1, 4), dtype=bool)
    masks[:, 0, 0] = [[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 0], [1, 0, 0, 1]]
    labels = task.labels_of(masks, CONVENTIONS["brats2024"])
    # A core outside the whole tumour is none; the cavity covers what lies under it.
    assert labels.ravel().tolist() == [4, 2, 0, 4]
    assert task.roots == (0, 3) and task.inside(1) == (1, 2)
    assert task.known_by(CONVENTIONS["brats2023"]) == ("WT", "TC", "ET")
    with pytest.raises(LabelError, match="none of these tissues"):
        task.codes(CONVENTIONS["brats2023"])


OWN = {
    "name": "stroke",
    "title": "ischaemic stroke",
    "scans": "adults within a day",
    "conventions": {"ours": {"source": "our clinic", "codes": {"CORE": 1, "PENUMBRA": [2, 7]}}},
    "tissues": {
        name: {"words": name.lower(), "colour": "#112233", "code": ["99GLIODISTILL", name, name]}
        for name in ("CORE", "PENUMBRA")
    },
    "regions": {
        "LESION": {"tissues": ["CORE", "PENUMBRA"], "paint": "PENUMBRA", "words": "lesion",
                   "colour": "#445566", "code": ["SCT", "52988006", "Lesion"]},
        "CORE": {"tissues": ["CORE"], "paint": "CORE", "within": "LESION", "words": "core",
                 "colour": "#445566", "code": ["SCT", "52988006", "Lesion"]},
    },
}  # fmt: skip


def test_a_file_of_ones_own(tmp_path):
    file = tmp_path / "stroke.yaml"
    file.write_text(yaml.safe_dump(OWN, sort_keys=False))
    task = find_task(file)
    labels = np.array([[[0, 1, 2, 7]]], dtype=np.uint8)
    found = task.regions_of(labels, task.conventions[0])
    assert found[:, 0, 0].tolist() == [[False, True, True, True], [False, True, False, False]]
    assert task_of(description_of(task)) == task and not is_shipped(task)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("regions.CORE.within", "TUMOUR", "a region before it: LESION"),
        ("regions.CORE.tissues", ["CORE", "CSF"], "tissues.CSF"),
        ("regions.CORE.paint", "PENUMBRA", "some of CORE"),
        ("regions.CORE.colour", "red", "#1a2b3c"),
        ("regions.LESION.wihtin", "CORE", "did you mean within"),
        ("conventions", ["brats2022"], "brats2021"),
        ("conventions.ours.codes", {"CORE": 300}, "codes from 1 to 255"),
        ("conventions.ours.codes", {"CORE": 1}, "that ours has a code for"),
        ("tissues.PENUMBRA.code", ["XYZ", "1", "x"], "a code of"),
        ("evaluation", {"order": ["CORE"]}, "each once: LESION, CORE"),
        ("name", "Stroke!", "lower case"),
        ("scans", None, "text"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, key, value, told):
    values = copy.deepcopy(OWN)
    *path, last = key.split(".")
    place = values
    for part in path:
        place = place[part]
    place[last] = value
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    with pytest.raises(LabelError) as raised:
        find_task(file)
    text = str(raised.value)
    assert told in text and "own.yaml" in text and "\n" not in text


def test_unknown_names_are_told_with_the_nearest():
    with pytest.raises(LabelError, match=r"glioma-post.*did you mean metastases"):
        find_task("metastasis")


def test_which_tasks_fit_labels():
    fits = {
        ("brats2021", "GLI"): ["glioma"],
        ("brats2024", "GLI"): ["glioma-post"],
        ("brats2023", "MET"): ["metastases"],
        ("brats-ped", "PED"): ["paediatric"],
        ("gtv", "MEN-RT"): ["meningioma-rt"],
    }
    for (name, kind), tasks in fits.items():
        assert fitting(CONVENTIONS[name], {kind}) == tasks
    several = fitting(CONVENTIONS["brats2023"], frozenset())
    assert several == ["glioma", "goat", "meningioma", "metastases"]


def test_known_regions_of_a_study():
    task, convention = find_task("glioma-post"), CONVENTIONS["brats2024"]
    assert task.known(None, convention, "a") == task.names
    assert task.known(None, CONVENTIONS["brats2021"], "a") == ("WT", "TC", "ET")
    assert task.known(["rc", "wt"], convention, "a") == ("WT", "RC")
    with pytest.raises(LabelError, match="known_regions of a, got TCC"):
        task.known(["TCC"], convention, "a")
    with pytest.raises(LabelError, match="no region of the task glioma-post"):
        task.known(None, CONVENTIONS["gtv"], "a")
