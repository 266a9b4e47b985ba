"""Corrections and scores of results of any task."""

import json
from pathlib import Path

import numpy as np
import pytest

from gliodistill.errors import LabelError
from gliodistill.images import write_nifti
from gliodistill.images.volume import Volume
from gliodistill.serve.correcting import Correction, score
from gliodistill.serve.jobs import Job
from gliodistill.serve.settings import WorkSettings
from gliodistill.tasks import find_task
from gliodistill.tasks.catalogue import glioma
from gliodistill.tasks.description import description_of, task_of

LOOK = {"words": "cavity", "colour": "#cc79a7", "code": ["SCT", "52988006", "Lesion"]}


def result(folder: Path, labels: np.ndarray, name: str) -> tuple[Job, Path]:
    """A finished job and its folder."""
    task = own() if name == "cavities" else find_task(name)
    folder.mkdir()
    write_nifti(Volume(labels, np.eye(4)), folder / "labels.nii.gz")
    told = {
        "study": "anna",
        "summary": {
            "labels": {"convention": task.conventions[0].name},
            "model": {"name": "post"},
            "preprocessing": {},
        },
        "series": {},
        "labels": "labels.nii.gz",
    } | ({} if task == glioma() else {"task": description_of(task)})
    stored = json.loads(json.dumps(told))
    return Job("j", "segment", None, {}, "done", 1, 0, 0, 0, [], stored, None, 1), folder


def own():
    """A task that a user described, with a convention of its own."""
    return task_of(
        {
            "name": "cavities",
            "title": "cavities",
            "scans": "any",
            "conventions": {"ours": {"source": "our clinic", "codes": {"RC": 1}}},
            "regions": {"RC": {"tissues": ["RC"], "paint": "RC", **LOOK}},
        }
    )


def test_the_cavity_is_corrected_measured_and_scored(tmp_path):
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[2:6, 2:6, 2:6], labels[7:9, 7:9, 7:9] = 3, 4
    before, folder = result(tmp_path / "before", labels, "glioma-post")
    better = labels.copy()
    better[7:9, 7:9, 6] = 4
    upload = tmp_path / "upload"
    (upload / "nifti").mkdir(parents=True)
    write_nifti(Volume(better, np.eye(4)), upload / "nifti" / "now.nii.gz")
    after = tmp_path / "after"
    after.mkdir()
    told = Correction.of(before, folder, upload, WorkSettings(str(tmp_path))).write(after, None)
    assert told["summary"]["volumes_ml"] == {"WT": 0.064, "TC": 0.064, "ET": 0.064, "RC": 0.012}
    assert told["summary"]["task"] == "glioma-post" and told["summary"]["voxels_changed"] == 4
    corrected = Job("k", "correct", None, {}, "done", 1, 0, 0, 0, [], told, None, 1)
    found = score((before, folder), (corrected, after))
    assert found["dice"] == {"WT": 1.0, "TC": 1.0, "ET": 1.0, "RC": 0.8}
    found = score((before, folder), upload)  # a reference: the task has one convention
    assert found["convention"] == "brats2024" and found["dice"]["RC"] == 0.8


def test_results_of_two_tasks_are_scored_on_what_both_have(tmp_path):
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[2:4, 2:4, 2:4] = 4
    treated = result(tmp_path / "treated", labels, "glioma-post")
    untreated = result(tmp_path / "untreated", labels, "glioma")
    assert score(treated, untreated)["dice"] == {"WT": 0.0, "TC": 0.0, "ET": 0.0}
    cavities = result(tmp_path / "cavities", labels // 4, "cavities")
    assert score(treated, cavities)["dice"] == {"RC": 1.0}
    with pytest.raises(LabelError, match="without a common region"):
        score(untreated, cavities)
