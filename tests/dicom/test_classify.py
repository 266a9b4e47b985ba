"""Which series is which: by rules on names and attributes, by appearance, by the user's word; and
what is told where evidence does not suffice.
"""

from dataclasses import replace

import numpy as np
import pytest

from gliodistill.dicom.candidate import Candidate, of_file, of_series
from gliodistill.dicom.classify import Choice, classify
from gliodistill.dicom.grids import Grid
from gliodistill.dicom.rules import apply_rules
from gliodistill.dicom.scan import Scan
from gliodistill.dicom.synthetic import write_study
from gliodistill.errors import StudyError
from gliodistill.images.nifti import write_nifti
from gliodistill.images.volume import Volume
from gliodistill.models.package import ModelPackage
from gliodistill.models.shipped import find_model
from gliodistill.phantom.raw import make_raw, stripped
from gliodistill.studies.sequence import MRSequence

T1, T1CE, T2, FLAIR = MRSequence
VOLUME = Volume(np.random.default_rng(0).random((30, 30, 30), np.float32), np.diag([5, 5, 5, 1.0]))


@pytest.fixture(scope="module")
def reference():
    return ModelPackage.open(find_model()).spec.reference


@pytest.fixture(scope="module")
def head():
    return make_raw(0, 0, 3.0)


def candidate(name: str = "", key: str = "1", **attributes) -> Candidate:
    spacing = attributes.pop("spacing", (1.0, 1.0, 5.0))
    shape = attributes.pop("shape", (200, 200, 30))
    names = (name,) if name else ()
    grid = Grid(shape, np.diag([*spacing, 1.0]))
    return Candidate(key, names, attributes, grid, None, "frame", lambda: VOLUME)


SPIN = {"ScanningSequence": ("SE",)}
GRADIENT = {"ScanningSequence": ("GR",)}
T1_TIMES = {"RepetitionTime": 500.0, "EchoTime": 10.0, **SPIN}
T2_TIMES = {"RepetitionTime": 4500.0, "EchoTime": 100.0, **SPIN}
FLAIR_TIMES = {"RepetitionTime": 9000.0, "EchoTime": 110.0, "InversionTime": 2500.0, **SPIN}
NO_TIMES: dict[str, float] = {}


@pytest.mark.parametrize(
    "name, attributes, expected",
    [
        ("sT2W/FLAIR SENSE", FLAIR_TIMES, FLAIR),
        ("t2_tirm_tra_dark-fluid", FLAIR_TIMES, FLAIR),
        ("t2_tse_tra_512", T2_TIMES, T2),
        ("t1_se_tra_KM", T1_TIMES, T1CE),
        ("Ax T1 FSPGR +C", NO_TIMES, T1CE),
        ("AX T1 POST", T1_TIMES, T1CE),
        ("T1 native", T1_TIMES, T1),
        ("T1 without contrast", T1_TIMES, T1),
        ("Ax T1", T1_TIMES | {"ContrastBolusAgent": "Gadovist 7 ml"}, T1CE),
        # Words that only resemble those of other series.
        ("Epilepsy protocol FLAIR, spinecho", FLAIR_TIMES, FLAIR),
        ("T2W_DRIVE_CLEAR", T2_TIMES, T2),
        ("Ax T2 ASSET", T2_TIMES, T2),
        ("whole brain T2", {"AcquisitionContrast": "T2"}, T2),
        ("", {"AcquisitionContrast": "FLUID_ATTENUATED"}, FLAIR),
        # Nothing but times: how images are weighted.
        ("", FLAIR_TIMES, FLAIR),
        ("", T2_TIMES, T2),
        ("WIP 7", T1_TIMES | {"ContrastBolusAgent": "Dotarem"}, T1CE),
        ("BRAVO", {"RepetitionTime": 8.0, "EchoTime": 3.0, "InversionTime": 450.0, **GRADIENT}
         | {"ContrastBolusVolume": 10.0}, T1CE),
        ("CUBE", {"RepetitionTime": 6000.0, "EchoTime": 120.0, "InversionTime": 1750.0}, FLAIR),
        # A T1 with inversion is called T1 FLAIR by one vendor; its times tell.
        ("SAG T1 FLAIR", {"RepetitionTime": 2200.0, "EchoTime": 24.0, "InversionTime": 800.0}
         | {"ContrastBolusAgent": "Gd"}, T1CE),
    ],
)  # fmt: skip
def test_one_of_the_four(name, attributes, expected):
    found = apply_rules(candidate(name, **attributes))
    assert found.sequence is expected, found
    assert found.evidence and not found.doubts


@pytest.mark.parametrize("agent", ["", "NO", "none", "0", "Without"])
def test_words_for_no_agent_are_no_agent(agent):
    found = apply_rules(candidate("Ax T1", ContrastBolusAgent=agent, **T1_TIMES))
    assert found.open == {T1, T1CE}


@pytest.mark.parametrize(
    "name, attributes, expected",
    [
        ("localizer", {}, "a localiser"),
        ("Survey_32ch", {}, "a localiser"),
        ("3-Plane Loc", {}, "a localiser"),
        ("ep2d_diff_3scan_trace_ADC", {}, "diffusion"),
        ("DWI b1000", {}, "diffusion"),
        ("Ax DTI 32 dir", {}, "diffusion"),
        ("3D Ax SWAN", {}, "susceptibility or T2*"),
        ("Ax T2* GRE", {}, "susceptibility or T2*"),
        ("DSC perfusion", {}, "perfusion"),
        ("dynamic T1 DCE", {}, "perfusion"),
        ("3D TOF MRA", {}, "angiography"),
        ("FLAIR_ROI", {}, "a drawn region"),
        ("T1 MIP", {}, "a projection"),
        ("T1 subtraction", {}, "a map"),
        ("Sag STIR", {}, "another weighting"),
        ("T2 cervical spine", {}, "another region"),
        ("Screen Save", {}, "no image"),
        ("x", {"ImageType": ("DERIVED", "PRIMARY", "DIFFUSION", "ADC")}, "diffusion"),
        ("x", {"ImageType": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, "a localiser"),
        ("T1", {"ImageType": ("DERIVED", "SECONDARY", "SUBTRACTION")}, "a map"),
        ("b1000", {}, "diffusion"),
        ("x", {"BValue": 1000.0}, "diffusion"),
        ("x", {"AcquisitionContrast": "PERFUSION"}, "perfusion"),
        ("x", {"ScanningSequence": ("EP", "SE")}, "diffusion, perfusion or function"),
        ("", {"RepetitionTime": 30.0, "EchoTime": 20.0, **GRADIENT}, "susceptibility or T2*"),
        ("", {"RepetitionTime": 3000.0, "EchoTime": 20.0, **SPIN},
         "another weighting (proton density)"),
        ("T1", {"shape": (256, 256, 3)}, "a localiser or a part of the head"),
        ("T2", {"shape": (256, 256, 20), "spacing": (1.0, 1.0, 3.0)},
         "a localiser or a part of the head"),
    ],
)  # fmt: skip
def test_none_of_the_four(name, attributes, expected):
    found = apply_rules(candidate(name, **attributes))
    assert found.other == expected and found.sequence is None
    assert found.evidence


def test_a_name_that_its_times_contradict_is_doubted():
    found = apply_rules(candidate("Ax T2", **T1_TIMES))
    assert found.sequence is T2
    assert "although the name says otherwise" in found.doubts[0]


def test_contrast_in_the_tag_and_none_in_the_name_is_doubted():
    found = apply_rules(candidate("T1 native", ContrastBolusAgent="Gd", **T1_TIMES))
    assert found.sequence is None and found.doubts


# Choice among several


def chosen(*candidates: Candidate, **overrides: str) -> Choice:
    return classify(candidates, None, {MRSequence(s): key for s, key in overrides.items()})


def test_thin_slices_are_chosen_and_it_is_said():
    thick = candidate("T1 post", "3", **T1_TIMES)
    thin = candidate("T1 post 3D", "9", spacing=(1.0, 1.0, 1.0), shape=(200, 200, 160))
    choice = chosen(thick, thin)
    assert choice.chosen == {T1CE: "9"}
    assert choice.rules[T1CE] == "9 rather than 3: its slices are thinner"
    assert choice.rules[T2] == "absent"


def test_what_was_acquired_is_chosen_over_what_was_reformatted():
    made = candidate(
        "T2 MPR", "2", ImageType=("DERIVED", "SECONDARY", "MPR"), spacing=(1.0, 1.0, 1.0)
    )
    made = replace(made, grid=Grid((200, 200, 160), np.eye(4)))
    choice = chosen(made, candidate("T2", "1"))
    assert choice.chosen == {T2: "1"}
    assert "reformatted" in choice.rules[T2]


def test_two_alike_are_doubted():
    choice = chosen(candidate("FLAIR", "1"), candidate("FLAIR", "2"))
    assert choice.chosen == {FLAIR: "1"}
    assert "2 is just as good" in choice.opinions[0].doubts


@pytest.mark.parametrize("said", ["7", "Ax T2 odd name", "odd"])
def test_the_user_decides(said):
    first, other = candidate("T2", "1"), candidate("Ax T2 odd name", "7")
    choice = chosen(first, other, T2=said)
    assert choice.chosen == {T2: "7"}
    assert choice.rules[T2] == "taken by --series"
    assert "taken by --series" in choice.opinions[1].evidence


def test_the_user_may_take_what_rules_excluded():
    choice = chosen(candidate("localizer", "1"), T1="1")
    assert choice.chosen == {T1: "1"}


def test_a_series_that_is_taken_is_not_used_twice():
    choice = chosen(candidate("FLAIR", "1"), T2="1")
    assert choice.chosen == {T2: "1"}


@pytest.mark.parametrize("said, why", [("99", "no series"), ("T2", "several series")])
def test_what_the_user_says_must_fit_one(said, why):
    with pytest.raises(StudyError, match=why):
        chosen(candidate("T2 a", "1"), candidate("T2 b", "2"), T2=said)


def test_nothing_known_is_left_out_and_asked_for():
    choice = chosen(candidate("", "1"))
    assert choice.chosen == {}
    assert all("may be 1: decide with --series" in rule for rule in choice.rules.values())


# Appearance


def of_image(key: str, name: str, image: Volume) -> Candidate:
    names = (name,) if name else ()
    return Candidate(key, names, {}, Grid(image.shape, image.affine), None, 0, lambda: image)


def blind(study) -> list[Candidate]:
    return [of_image(str(n), "", image) for n, image in enumerate(study.images.values())]


def test_stripped_images_without_names_are_known_by_appearance(reference):
    study = stripped(0, 0, 2.0)
    choice = classify(blind(study), reference)
    assert {s: int(key) for s, key in choice.chosen.items()} == {T1: 0, T1CE: 1, T2: 2, FLAIR: 3}
    assert all("by its appearance alone" in opinion.doubts[0] for opinion in choice.opinions)


def test_heads_without_names_are_right_or_left_open(reference, head):
    choice = classify(blind(head), reference)
    for sequence, opinion in zip(MRSequence, choice.opinions, strict=True):
        assert opinion.sequence in (None, sequence)
        assert opinion.doubts


def test_two_t1_are_told_apart_by_appearance(reference, head):
    images = [head.images[T1CE], head.images[T1], head.images[FLAIR]]
    names = ("Ax T1", "Ax T1", "FLAIR")
    choice = classify(
        [
            of_image(str(n), name, image)
            for n, (name, image) in enumerate(zip(names, images, strict=True))
        ],
        reference,
    )
    assert choice.chosen == {T1: "1", T1CE: "0", FLAIR: "2"}
    assert any("resembles T1CE" in said for said in choice.opinions[0].evidence)


def test_an_exchanged_name_is_doubted(reference):
    study = stripped(0, 0, 3.0)
    named = dict(zip(study.images, ("T1", "T1CE", "FLAIR", "T2"), strict=True))
    choice = classify(
        [of_image(named[s], named[s], image) for s, image in study.images.items()],
        reference,
    )
    doubted = {opinion.key: opinion.doubts for opinion in choice.opinions if opinion.doubts}
    assert "resembles T2" in doubted["FLAIR"][0] and "resembles FLAIR" in doubted["T2"][0]


def test_a_mask_is_no_image(reference):
    mask = VOLUME.with_data((VOLUME.data > 0.9).astype(np.float32))
    one = replace(candidate("FLAIR"), load=lambda: mask)
    (opinion,) = classify([one], reference).opinions
    assert opinion.other == "a drawn region" and "2 different values" in opinion.evidence[-1]


@pytest.mark.parametrize("enhanced", [False, True])
def test_a_whole_synthetic_study(tmp_path, reference, head, enhanced):
    write_study(head, tmp_path, enhanced)
    with Scan(tmp_path) as scan:
        (study,) = scan.studies
        choice = classify([of_series(series) for series in study.series], reference)
        assert choice.chosen == {T2: "101", FLAIR: "201", T1: "301", T1CE: "401"}
        others = {opinion.key: opinion.other for opinion in choice.opinions}
        assert {key.partition(".")[0] for key, other in others.items() if other} == {
            "1", "7", "8", "5001",
        }  # fmt: skip
        assert "401 rather than 9" in choice.rules[T1CE]


def test_files_are_told_apart_as_series_are(tmp_path, reference, head):
    for n, (sequence, image) in enumerate(head.images.items()):
        name = ("Ax_T1", "Ax_T1_post", "T2_TSE", "dark-fluid")[n]
        write_nifti(image, tmp_path / f"{name}.nii.gz")
        assert sequence is list(MRSequence)[n]
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    choice = classify([of_file(file) for file in sorted(tmp_path.iterdir())], reference)
    assert choice.chosen == {
        T1: "Ax_T1.nii.gz",
        T1CE: "Ax_T1_post.nii.gz",
        T2: "T2_TSE.nii.gz",
        FLAIR: "dark-fluid.nii.gz",
    }
    broken = next(opinion for opinion in choice.opinions if opinion.key == "broken.nii.gz")
    assert broken.other == "no volume"


@pytest.mark.real
def test_brainix(real_data, reference):
    """The T1 is one after contrast, which nothing but its appearance says: a doubt is told."""
    with Scan(real_data / "dicom" / "BRAINIX") as scan:
        choice = classify([of_series(series) for series in scan.series], reference)
    assert choice.chosen == {T1CE: "601", T2: "301", FLAIR: "401"}
    doubted = {opinion.key: bool(opinion.doubts) for opinion in choice.opinions}
    assert doubted == {"301": False, "401": False, "601": True, "5339": False}
    assert choice.opinions[3].other == "a drawn region"
