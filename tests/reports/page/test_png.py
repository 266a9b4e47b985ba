"""The PNG encoder, read back by another library."""

import base64
import io

import numpy as np
import pytest
from matplotlib.image import imread

from gliodistill.reports.page.png import encode_png, grey, png_data_uri


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (37, 53)])
def test_another_library_reads_the_same_pixels(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    decoded = imread(io.BytesIO(encode_png(pixels)), format="png")
    np.testing.assert_array_equal(np.rint(decoded * 255).astype(np.uint8), pixels)


def test_a_view_with_negative_strides_is_encoded_as_seen() -> None:
    pixels = np.arange(30, dtype=np.uint8).reshape(5, 6)
    assert encode_png(pixels.T[::-1, ::-1]) == encode_png(
        np.ascontiguousarray(pixels.T[::-1, ::-1])
    )


def test_data_uri_holds_the_file() -> None:
    pixels = np.zeros((3, 4), np.uint8)
    kind, content = png_data_uri(pixels).split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(content, validate=True) == encode_png(pixels)


@pytest.mark.parametrize(
    "pixels", [np.zeros((2, 2)), np.zeros((2, 2, 3), np.uint8), np.zeros((0, 2), np.uint8)]
)
def test_what_is_no_grey_picture_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8 on rows × columns"):
        encode_png(pixels)


def test_grey_maps_the_window_and_clips() -> None:
    image = np.array([[-5.0, 0.0, 5.0, 10.0, 99.0, np.nan, np.inf, -np.inf]])
    assert grey(image, 0.0, 10.0).tolist() == [[0, 0, 128, 255, 255, 0, 255, 0]]


def test_a_flat_window_does_not_divide_by_zero() -> None:
    assert grey(np.full((2, 2), 3.0), 3.0, 3.0).tolist() == [[0, 0], [0, 0]]
