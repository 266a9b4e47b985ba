"""The same pictures under another name are found; other patients are not."""

from dataclasses import replace

import numpy as np
import pytest

import tiny_cohort
from gliodistill.errors import StudyError
from gliodistill.images import Volume, read_nifti, write_nifti
from gliodistill.phantom.cohort import make_phantom, write_cohort
from gliodistill.preparation import Preparation, build_cache
from gliodistill.studies.cohort import open_cohort
from gliodistill.studies.duplicates import (
    ALIKE,
    most_similar,
    signature_of,
    similarity,
)
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study, load_study


def changed(study: Study, change) -> Study:
    return replace(
        study,
        truth=None,
        images={sequence: change(image) for sequence, image in study.images.items()},
    )


def turned(image: Volume) -> Volume:
    """Stored along other axes; every voxel stays where it is in mm."""
    affine = image.affine[:, [2, 0, 1, 3]].copy()
    affine[:3, 3] += affine[:3, 0] * (image.shape[2] - 1)
    affine[:3, 0] *= -1
    return Volume(np.ascontiguousarray(image.data.transpose(2, 0, 1)[::-1]), affine)


def cut(image: Volume) -> Volume:
    return Volume(np.pad(image.data, ((5, 0), (2, 9), (0, 3))), image.affine)


def shaved(image: Volume) -> Volume:
    """Another skull-strip: a voxel off all round."""
    from scipy.ndimage import binary_erosion

    return image.with_data(image.data * binary_erosion(image.data > 0))


def seven_bits(image: Volume) -> Volume:
    top = image.data.max()
    return image.with_data(
        np.where(
            image.data > 0, np.maximum(1, np.rint(image.data / top * 127)) * top / 127, 0
        ).astype(np.float32)
    )


@pytest.fixture(scope="module")
def phantoms() -> list[Study]:
    return [make_phantom(3, index, 4.0) for index in range(3)]


@pytest.mark.parametrize(
    "change",
    [
        turned,
        cut,
        shaved,
        seven_bits,
        lambda image: image.with_data(image.data * np.float32(0.37)),
        lambda image: turned(cut(seven_bits(image))),
    ],
    ids=["turned", "cropped otherwise", "stripped otherwise", "7 bits", "rescaled", "all"],
)
def test_the_same_study_saved_anew(phantoms, change):
    study = phantoms[0]
    assert similarity(signature_of(study), signature_of(changed(study, change))) > ALIKE


def test_int16_and_float32_files_are_the_same(phantoms, tmp_path):
    image = phantoms[0].images[MRSequence.T2]
    write_nifti(image.with_data(image.data.astype(np.int16)), tmp_path / "a.nii.gz")
    write_nifti(image.with_data(image.data.astype(np.float32)), tmp_path / "b.nii")
    a, b = (
        Study("x", "x", {MRSequence.T2: read_nifti(tmp_path / name)})
        for name in ("a.nii.gz", "b.nii")
    )
    assert similarity(signature_of(a), signature_of(b)) == pytest.approx(1, abs=1e-5)


def test_other_patients_of_one_anatomy_differ(phantoms):
    known = {study.id: signature_of(study) for study in phantoms}
    for one in phantoms:
        others = {id: signature for id, signature in known.items() if id != one.id}
        assert most_similar(known[one.id], others) is None
        assert max(similarity(known[one.id], other) for other in others.values()) < 0.6
        assert most_similar(known[one.id], known) == (one.id, pytest.approx(1, abs=1e-5))


def test_only_common_sequences_are_compared(phantoms):
    whole = phantoms[0]
    part = replace(whole, truth=None, images={s: whole.images[s] for s in (MRSequence.FLAIR,)})
    other = replace(whole, truth=None, images={s: whole.images[s] for s in (MRSequence.T1,)})
    assert similarity(signature_of(part), signature_of(whole)) == pytest.approx(1, abs=1e-5)
    assert similarity(signature_of(part), signature_of(other)) == 0
    assert most_similar(signature_of(part), {}) is None


def test_a_prepared_study_is_like_its_files(phantoms, tmp_path):
    write_cohort(tmp_path / "cohort", 3, 3, spacing=4.0, jobs=1)
    cache = build_cache(
        open_cohort(tmp_path / "cohort"),
        Preparation(spacing=(5.0, 5.0, 5.0)),
        tmp_path / "cache",
        1,
    )
    prepared = {study.id: study.signature(cache.preparation.sequences) for study in cache}
    for study in phantoms:
        found = most_similar(signature_of(study), prepared)
        assert found is not None and found[0] == study.id


def test_an_empty_study_has_no_signature():
    study = changed(tiny_cohort.study(), lambda image: image.with_data(np.zeros_like(image.data)))
    with pytest.raises(StudyError, match="images are empty"):
        signature_of(study)


@pytest.mark.real
def test_real_patients_are_told_apart(real_data):
    records = (
        open_cohort(real_data / "labelled").studies[:3]
        + open_cohort(real_data / "unlabelled").studies[:1]
    )
    studies = [load_study(replace(record, truth=None)) for record in records]
    known = {study.id: signature_of(study) for study in studies}
    pairs = [similarity(known[a.id], known[b.id]) for a in studies for b in studies if a.id < b.id]
    assert max(pairs) < 0.7
    assert (
        similarity(
            known[studies[0].id],
            signature_of(changed(studies[0], lambda image: turned(seven_bits(image)))),
        )
        > 0.99
    )
