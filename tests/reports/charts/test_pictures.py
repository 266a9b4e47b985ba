"""Pictures: the right slice, the right way round, the layers asked for."""

import base64
import io
import re
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from gliodistill.errors import EvaluationError
from gliodistill.images.planes import PLANES, largest_section
from gliodistill.images.volume import Volume
from gliodistill.reports.charts.pictures import study_figure
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study

SHAPE = (20, 24, 16)


def regions(x: int = 5, y: int = 18, z: int = 10) -> np.ndarray:
    """Nested boxes around one voxel, on 3 X Y Z."""
    masks = np.zeros((3, *SHAPE), dtype=bool)
    for channel, reach in enumerate((3, 2, 1)):
        masks[
            channel, x - reach : x + reach + 1, y - reach : y + reach + 1, z - reach : z + reach + 1
        ] = True
    return masks


def study(
    data: np.ndarray | None = None,
    affine: Any = None,
    sequences: tuple[MRSequence, ...] = tuple(MRSequence),
) -> Study:
    if data is None:
        data = np.zeros(SHAPE, np.float32)
        data[2:-2, 2:-2, 2:-2] = np.random.default_rng(0).uniform(
            1, 100, tuple(n - 4 for n in SHAPE)
        )
    return Study(
        "made-up",
        "made-up",
        {s: Volume(data, np.eye(4) if affine is None else affine) for s in sequences},
    )


def pictures_of(figure: str) -> list[np.ndarray]:
    return [
        imread(io.BytesIO(base64.b64decode(code)), format="png")
        for code in re.findall(r"data:image/png;base64,([^\"]+)", figure)
    ]


def test_one_picture_for_each_sequence_and_plane() -> None:
    figure = study_figure(study(), regions(), regions(), "One study")
    assert len(pictures_of(figure)) == 4 * 3
    for name in ("Axial", "Coronal", "Sagittal", "T1", "T1CE", "T2", "FLAIR"):
        assert name in figure


def test_slices_go_through_the_largest_section() -> None:
    figure = study_figure(study(), None, regions(5, 18, 10), "t")
    assert re.findall(r"</b> slice (\d+)", figure) == ["10", "18", "5"]


def test_largest_section() -> None:
    mask = np.zeros((4, 5, 6), dtype=bool)
    assert largest_section(mask, 2) == 3
    mask[:2, :2, 1] = mask[:3, :3, 4] = True
    assert largest_section(mask, 2) == 4


def test_without_truth_the_prediction_chooses_and_without_both_the_head() -> None:
    assert re.findall(r"</b> slice (\d+)", study_figure(study(), regions(12, 6, 4), None, "t")) == [
        "4",
        "6",
        "12",
    ]
    empty = np.zeros((3, *SHAPE), dtype=bool)
    assert len(pictures_of(study_figure(study(), empty, empty, "t"))) == 12


@pytest.mark.parametrize(
    "affine",
    [
        np.eye(4),
        np.diag([-1.0, -1, 1, 1]),
        np.array([[0, 0, 1.0, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]]),
    ],
)
def test_patient_right_is_left_and_anterior_is_up_whatever_the_storage(affine: np.ndarray) -> None:
    # A bright mark in the patient's right, anterior, superior corner of a grey head, made in RAS+ …
    head = np.full(SHAPE, 50.0, np.float32)
    head[0] = head[-1] = head[:, 0] = head[:, -1] = head[:, :, 0] = head[:, :, -1] = 0
    head[14:18, 18:22, 11:14] = 100
    mark = np.zeros((3, *SHAPE), dtype=bool)
    mark[:, 14:18, 18:22, 11:14] = True
    canonical = Volume(head, np.eye(4))
    # … and stored along other axes: for each stored axis, the world axis it follows and its sign.
    worlds = [int(np.abs(affine[:3, axis]).argmax()) for axis in range(3)]
    flips = tuple(slice(None, None, int(affine[world, axis])) for axis, world in enumerate(worlds))
    stored = canonical.data.transpose(worlds)[flips]
    masks = np.stack([m.transpose(worlds)[flips] for m in mark])
    one = Study("x", "x", {MRSequence.T1: Volume(stored, affine)})
    figure = study_figure(one, None, masks, "t")
    for picture in pictures_of(figure):
        rows, columns = np.nonzero(picture > 0.9)
        assert rows.mean() < picture.shape[0] / 2
        assert columns.mean() < picture.shape[1] / 2
    assert figure == study_figure(Study("x", "x", {MRSequence.T1: canonical}), None, mark, "t")


def test_the_outline_lies_on_what_it_outlines() -> None:
    data = np.full(SHAPE, 10.0, np.float32)
    truth = regions(6, 8, 9)
    data[truth[0]] = 100
    data[0, 0, 0] = 0
    figure = study_figure(study(data, sequences=(MRSequence.FLAIR,)), None, truth, "t")
    paths = re.findall(r'<path d="M(\d+) (\d+)h(\d+)v(\d+)h-\d+z" class="WT">', figure)
    for picture, path in zip(pictures_of(figure), paths, strict=True):
        x, y, width, height = map(int, path)
        bright = picture > 0.9
        assert bright[y : y + height, x : x + width].all()
        assert bright.sum() == width * height


def test_thick_slices_are_drawn_in_millimetres() -> None:
    figure = study_figure(study(affine=np.diag([1.0, 1.0, 3.0, 1.0])), None, regions(), "t")
    sizes = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', figure)
    widths = [(float(w), float(h)) for w, h in sizes][::4]
    rows = [p.shape for p in pictures_of(figure)][::4]
    assert widths[0] == (rows[0][1], rows[0][0])
    assert widths[1] == (rows[1][1], rows[1][0] * 3)
    assert "scale(1 3)" in figure


def test_layers_are_switched_and_only_truth_and_the_last_are_on() -> None:
    figure = study_figure(
        study(), {"Teacher": regions(), "Student <b>": regions(6)}, regions(), "t"
    )
    boxes = re.findall(r'<input type="checkbox" class="(on\d)"( checked)?>', figure)
    assert boxes == [("on0", " checked"), ("on1", ""), ("on2", " checked")]
    assert 'class="layer l0 truth"' in figure
    assert 'class="layer l2"' in figure
    assert "Student <b>" not in figure


def test_volumes_and_dice_below_the_picture() -> None:
    figure = study_figure(
        study(affine=np.diag([2.0, 2.0, 2.0, 1.0])), regions(6, 18, 10), regions(5, 18, 10), "t"
    )
    assert f"{7**3 * 0.008:.1f} ml" in figure  # 343 voxels of 8 mm³
    assert f"Dice {6 / 7:.3f}" in figure  # shifted by one voxel of seven
    assert figure.count("Dice") == 3


def test_missing_sequences_are_named() -> None:
    figure = study_figure(study(sequences=(MRSequence.FLAIR,)), regions(), None, "t")
    assert "Not acquired: T1, T1CE, T2." in figure
    assert len(pictures_of(figure)) == 3


def test_equal_input_gives_equal_text() -> None:
    assert study_figure(study(), regions(), regions(), "t") == study_figure(
        study(), regions(), regions(), "t"
    )


def test_regions_of_another_grid_are_refused() -> None:
    with pytest.raises(
        EvaluationError, match=r"t, Reference.*got \(3, 20, 24, 15\), expected \(3, 20, 24, 16\)"
    ):
        study_figure(study(), None, regions()[..., :-1], "t")
    with pytest.raises(EvaluationError, match="too many layers"):
        study_figure(study(), {str(i): regions() for i in range(7)}, None, "t")


def test_planes_keep_a_slice_as_it_is_seen() -> None:
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    for plane in PLANES:
        axes = [axis for axis in range(3) if axis != plane.axis]
        seen = plane.cut(array, 1)
        index: list[Any] = [0, 0, 0]
        index[plane.axis], index[axes[0]], index[axes[1]] = (
            1,
            array.shape[axes[0]] - 1,
            array.shape[axes[1]] - 1,
        )
        assert seen[0, 0] == array[tuple(index)]
        assert seen.shape == (array.shape[axes[1]], array.shape[axes[0]])
