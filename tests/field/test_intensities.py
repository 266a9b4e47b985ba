"""What images hold: backgrounds that are not 0, sequences that show nothing, values that are not
numbers, and models that do not give numbers.
"""

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

import tiny_cohort
from field.edits import edit_header, edit_voxels, prepare, segment, train
from field.table import Table
from gliodistill.images.background import find_background

table = Table()
row = table.row

KINDS = tuple(tiny_cohort.NAMES.values())
Change = Callable[[np.ndarray], np.ndarray]


def change(b, how: Change, case: str = "case_0", kinds: tuple[str, ...] = KINDS) -> None:
    """Change the voxels of some images of a study; they become float32 if they are not integers."""
    for kind in kinds:
        edit_voxels(
            b.file(kind, case),
            lambda data: how(data.astype(np.float64)).astype(
                np.float32 if how(data.astype(np.float64)).dtype.kind == "f" else np.int16
            ),
        )


def labels(b, case: str = "case_0") -> np.ndarray:
    """What ``segment`` wrote."""
    return np.asarray(nib.load(b.out / f"{case}.nii.gz").dataobj)


def summary(b, case: str = "case_0") -> dict:
    return json.loads((b.out / f"{case}.json").read_text())


def flags(b, case: str = "case_0") -> dict[str, str]:
    """Code → text of what ``segment`` wrote."""
    return {flag["code"]: flag["text"] for flag in summary(b, case)["quality"]["flags"]}


def notes(b, case: str = "case_0") -> list[str]:
    """What a cache tells of a study."""
    return json.loads((b.out / case / "study.json").read_text()).get("notes", [])


def brain(data: np.ndarray) -> np.ndarray:
    return data != 0


def z_of_all(data: np.ndarray) -> np.ndarray:
    """Z-scores over the whole image, as a naive script makes them."""
    return (data - data.mean()) / data.std()


def z_of_brain(data: np.ndarray, outside: float = 0.0) -> np.ndarray:
    inside = data[brain(data)]
    return np.where(brain(data), (data - inside.mean()) / inside.std(), outside)


def padded(data: np.ndarray) -> np.ndarray:
    """Another constant in the outermost planes."""
    result = data.copy()
    for axis in range(3):
        np.moveaxis(result, axis, 0)[[0, -1]] = 0
    return result


# A constant that is not 0: made 0, and told


def corrected(story: str, said: str, how: Change) -> None:
    @row(f"background {story}: as if it were 0", "background of T1 is not 0", said, code=0)
    def _(b, program):
        assert program(*segment(b)).code == 0
        expected = labels(b)
        shutil.rmtree(b.out)
        shutil.rmtree(b.root / "model")
        change(b, how)
        yield segment(b)
        np.testing.assert_array_equal(labels(b), expected)
        assert said in flags(b)["background_corrected"]


corrected("of z-scores over the whole image", "was subtracted", z_of_all)
corrected("of −1024 in everything", "-1024, and -1024 was subtracted", lambda d: d - 1024)
corrected("of 100 in everything", "100, and 100 was subtracted", lambda d: d + 100)
corrected(
    "of −1024 around scanner units", "-1024, set to 0", lambda d: np.where(brain(d), d, -1024)
)
corrected("of 4095, white", "4095, set to 0", lambda d: np.where(brain(d), d, 4095))
corrected("of −9 around z-scores", "-9, set to 0", lambda d: z_of_brain(d, -9))
corrected("of −1 where images run from −1 to 1", "-1, set to 0", lambda d: 2 * d / d.max() - 1)
corrected("of −1024 that was padded with 0", "-1024 was subtracted", lambda d: padded(d - 1024))
corrected("of z-scores that were padded with 0", "was subtracted", lambda d: padded(z_of_all(d)))
corrected("of 50 that was padded with −1", "-1 and 50", lambda d: padded(d + 51) - 1)


@row("a background that is only nearly constant, as float arithmetic leaves it", code=0)
def _(b):
    noise = np.random.default_rng(0).uniform(-1e-7, 1e-7, tiny_cohort.SHAPE)
    change(b, lambda d: z_of_all(d) * (1 + noise))
    yield segment(b)
    assert "background_corrected" in flags(b)
    assert summary(b)["volumes_ml"]["WT"] < 2


@row("one sequence of four with another background", "background of T2 is not 0", code=0)
def _(b):
    change(b, z_of_all, kinds=("t2",))
    yield segment(b)
    assert set(flags(b)) >= {"background_corrected"}
    assert "T2" in flags(b)["background_corrected"]


@row("z-scores of the brain on 0, with negative voxels, are nothing special", code=0)
def _(b, program):
    assert program(*segment(b)).code == 0
    expected = labels(b)
    shutil.rmtree(b.out)
    shutil.rmtree(b.root / "model")
    change(b, z_of_brain)
    yield segment(b)
    np.testing.assert_array_equal(labels(b), expected)
    assert "background_corrected" not in flags(b)


@row("prepare tells which backgrounds it corrected", "case_1: background of T1 is not 0", code=0)
def _(b):
    change(b, z_of_all, "case_1")
    yield prepare(b)
    assert len(notes(b, "case_1")) == 4 and not notes(b)
    levels = np.load(b.out / "case_1" / "image.npy")
    assert 0.2 < (levels == 0).mean() < 0.8


@row("inspect --deep tells it too", "note: case_1: background of T1CE is not 0", code=0)
def _(b):
    change(b, z_of_all, "case_1")
    said = yield ("inspect", b.data, "--deep")
    assert said.out.count("is not 0") == 4


# No constant at all: refused


RANDOM = np.random.default_rng(3)
NOISE = RANDOM.normal(0, 3, (2, *tiny_cohort.SHAPE))


def rician(data: np.ndarray) -> np.ndarray:
    return np.hypot(data + NOISE[0], NOISE[1])


def ringing(data: np.ndarray) -> np.ndarray:
    return ndimage.affine_transform(
        np.pad(data, 8), np.eye(3), offset=[8.3, 8.4, 8.2], order=3, output_shape=data.shape
    )


REFUSED: dict[str, Change] = {
    "noise of the scanner": rician,
    "rounded noise": lambda d: np.rint(rician(d)).astype(np.int16),
    "faint noise of one or two": lambda d: np.where(brain(d), d, np.abs(NOISE[0]) > 3).astype(
        np.int16
    ),
    "ringing of splines": ringing,
    "a brain that fills the whole image": lambda d: np.where(brain(d), d, 400 + NOISE[0]),
    "a ramp": lambda d: np.where(brain(d), d, np.indices(d.shape).sum(axis=0)),
}


def refused(story: str, how: Change) -> None:
    @row(
        f"background of {story}: nothing is segmented",
        "case_0",
        "cannot be separated from its background",
        "field T1, T1CE, T2, FLAIR",
        "expected a skull-stripped brain",
        "HD-BET",
    )
    def _(b):
        change(b, how)
        return segment(b)


for _story, _how in REFUSED.items():
    refused(_story, _how)


def refused_by(command: str, words: Callable) -> None:
    @row(
        f"{command} refuses noise around a brain",
        "case_0",
        "cannot be separated from its background",
    )
    def _(b):
        b.only()
        change(b, rician, kinds=("flair",))
        return words(b)


refused_by("prepare", prepare)


def test_train_refuses_noise_around_a_brain(bench, program):
    change(bench, rician, "case_1", ("flair",))
    said = program(*train(bench))
    assert said.code == 1
    assert "case_1: the brain cannot be separated from its background (field FLAIR" in said.err


def test_inspect_deep_says_what_train_refuses(bench, program):
    change(bench, rician, "case_1", ("flair",))
    change(bench, np.zeros_like, "case_2")
    said = program("inspect", bench.data, "--deep", "--json")
    assert said.code == 1
    problems = {p["study"]: p["problem"] for p in json.loads(said.out)["problems"] if p["blocking"]}
    assert set(problems) == {"case_1", "case_2"}
    assert "cannot be separated from its background (field FLAIR" in problems["case_1"]
    assert "images are empty" in problems["case_2"]
    assert program("inspect", bench.data).code == 0


@row("pseudo-labels leave noise out, however well the members agree", "left out: case_1", code=0)
def _(b):
    change(b, rician, "case_1")
    change(b, z_of_all, "case_2")
    words = ("pseudo-label", b.data, "-m", b.copy("model"), "--tta", "x", "-o", b.out)
    yield (*words, "--agreement", "0.5", "--threads", "1")
    index = json.loads((b.out / "pseudo.json").read_text())
    assert {id for id, study in index["studies"].items() if study["selected"]} == {
        "case_0",
        "case_2",
    }
    assert "cannot be separated from its background" in index["left_out"]["case_1"]
    ml = {id: study["volumes_ml"]["WT"] for id, study in index["studies"].items()}
    assert 0.5 < ml["case_2"] < 2


# Sequences that show nothing


def ignored(story: str, said: str, how: Change) -> None:
    @row(f"a sequence of {story} counts as missing", "T1CE counts as missing", said, code=0)
    def _(b):
        change(b, how, kinds=("t1ce",))
        yield prepare(b)
        study = json.loads((b.out / "case_0" / "study.json").read_text())
        assert study["present"] == [True, False, True, True]
        assert not np.load(b.out / "case_0" / "image.npy")[1].any()

    @row(
        f"a sequence of {story} that the model needs",
        "needs T1CE, which the study lacks",
        "got T1, T2, FLAIR; T1CE counts as missing",
        said,
    )
    def _(b):
        change(b, how, kinds=("t1ce",))
        return segment(b)


ignored("zeros", "every voxel is 0", np.zeros_like)
ignored("one value", "every voxel is 7", lambda d: np.full_like(d, 7))
ignored("a brain mask", "every voxel is 1 or background", lambda d: brain(d).astype(np.int16))


@row("the shipped model does without a sequence of zeros, and says so", code=0)
def _(b, program):
    flair_only = b.root / "less"
    shutil.copytree(b.data / "case_0", flair_only)
    (flair_only / "case_0_t1ce.nii.gz").unlink()
    flair_only = flair_only.rename(b.root / "case_0")
    words = ("-o", b.root / "expected", "--threads", "1")
    assert program("segment", flair_only, *words).code == 0
    change(b, np.zeros_like, kinds=("t1ce",))
    yield ("segment", b.data / "case_0", "-o", b.out, "--threads", "1")
    expected = json.loads((b.root / "expected" / "case_0.json").read_text())
    made = summary(b)
    assert made["quality"]["predicted_dice"] == expected["quality"]["predicted_dice"]
    assert made["volumes_ml"] == expected["volumes_ml"]
    assert made["sequences"]["absent"] == ["T1CE"]
    assert "every voxel is 0" in made["sequences"]["unused"]["case_0_t1ce.nii.gz"]
    assert "sequence_ignored" in flags(b)


@row("a study of zeros and constants", "images are empty", "T1: every voxel is 0")
def _(b):
    change(b, np.zeros_like)
    change(b, lambda d: np.full_like(d, 3), kinds=("flair",))
    return segment(b)


# What is no number


def nan_outside(data: np.ndarray) -> np.ndarray:
    return np.where(brain(data), data, np.nan)


@row(
    "a background of NaN: what other readers do, and the way on",
    "field voxels",
    "NaN or Inf",
    "nibabel keeps them, ITK reads them as 0",
    "nan_to_num",
)
def _(b):
    change(b, nan_outside, kinds=("flair",))
    return segment(b)


def scaled_by(slope: float, inter: float) -> None:
    @row(
        f"slope {slope:g} and intercept {inter:g}",
        "field scl_slope/scl_inter",
        "nibabel and ITK read a slope of NaN as no scaling",
        "get_unscaled()",
    )
    def _(b):
        edit_header(b.file(), 112, struct.pack("<2f", slope, inter))
        return segment(b)


for _slope, _inter in ((np.nan, 0.0), (np.nan, np.nan), (1.0, np.nan), (np.inf, 0.0)):
    scaled_by(_slope, _inter)


def spoilt(b, value: float) -> Path:
    """A model whose weights hold a value that is no number, with checksums that fit."""
    folder = b.copy("model")
    weights = bytearray((folder / "model.bin").read_bytes())
    weights[30:32] = np.float16(value).tobytes()  # the bias of WT
    (folder / "model.bin").write_bytes(bytes(weights))
    values = json.loads((folder / "model.json").read_text())
    own = values["files"]["model.json"]
    values["files"]["model.bin"] = hashlib.sha256(bytes(weights)).hexdigest()
    text = json.dumps(values).replace(own, "0" * 64)
    (folder / "model.json").write_text(
        text.replace("0" * 64, hashlib.sha256(text.encode()).hexdigest())
    )
    return folder


def no_numbers(value: float) -> None:
    @row(
        f"a graph that gives {value}: an error, not an empty map",
        "model tiny gives NaN or Inf",
        "field logits",
        "NaN or Inf",
    )
    def _(b):
        return ("segment", b.data / "case_0", "-m", spoilt(b, value), "-o", b.out)


no_numbers(float("nan"))
no_numbers(float("inf"))


test_intensities = table.test()


# The rule itself, on images of the size of a head


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    """A brain of 1.3 litres on 0, at 2 mm (float32)."""
    shape = (91, 109, 91)
    inside = tiny_cohort.ball(shape, np.array([45.0, 54, 45]), np.array([32.0, 40, 30]))
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 400, shape), 2)
    return (np.round(500 + smooth) * inside).astype(np.float32)


def doubt_of(image: np.ndarray, voxel_ml: float = 0.008) -> str | None:
    return find_background(np.asfortranarray(image, dtype=np.float32), voxel_ml).doubt


def test_a_brain_cut_to_its_box_and_one_with_shoulders_are_sound(head):
    filled = [slice(line.min(), line.max() + 1) for line in np.nonzero(head)]
    assert doubt_of(head) is None
    assert doubt_of(head[tuple(filled)]) is None
    shoulders = head.copy()
    shoulders[:, :30, :20] = 300 + head[:, 40:70, 40:60]
    assert doubt_of(shoulders) is None


def test_interpolation_that_is_linear_is_sound_and_splines_are_not(head):
    def moved(order: int) -> np.ndarray:
        return ndimage.shift(head, (0.3, 0.4, 0.2), order=order)

    assert doubt_of(moved(1)) is None
    assert "fades into the background" in str(doubt_of(moved(3)))
    assert "rings into the background" in str(doubt_of(np.rint(moved(3))))
    assert "rings into" in str(doubt_of(np.rint(moved(3) / 4)))  # fewer levels of grey
    assert "fades" in str(doubt_of(ndimage.gaussian_filter(head, 1.5)))


def test_two_backgrounds_with_voxels_between(head):
    turned = ndimage.rotate(z_of_all(head), 10, order=1)
    assert "there are two backgrounds, 0 and -" in str(doubt_of(turned))


def test_noise_that_was_padded(head):
    noise = np.random.default_rng(1).normal(0, 5, (2, *head.shape))
    assert "not constant" in str(doubt_of(np.pad(np.hypot(head + noise[0], noise[1]), 12)))
