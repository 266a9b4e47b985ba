"""A minimal writer of grey PNG images."""

import base64
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """An 8-bit grey PNG (ISO/IEC 15948) of ``pixels``, uint8 on rows × columns, first row at the
    top.

    Raises:
        ValueError: not a non-empty uint8 picture.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.size == 0:
        raise ValueError(f"expected uint8 on rows × columns, got {pixels.dtype} {pixels.shape}")
    rows, columns = pixels.shape
    # Filter 2 ("up", per row): differences of neighbouring rows compress better.
    above = np.vstack([np.zeros((1, columns), np.uint8), pixels[:-1]])
    lines = np.hstack([np.full((rows, 1), 2, np.uint8), pixels - above])
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    body = b"".join(
        _chunk(*part)
        for part in (
            (b"IHDR", header),
            (b"IDAT", zlib.compress(lines.tobytes(), 9)),
            (b"IEND", b""),
        )
    )
    return b"\x89PNG\r\n\x1a\n" + body


def png_data_uri(pixels: NDArray[np.uint8]) -> str:
    """``pixels`` as a ``data:`` URI that a page can hold."""
    return "data:image/png;base64," + base64.b64encode(encode_png(pixels)).decode("ascii")


def grey(image: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """``image`` with ``low`` as black and ``high`` as white, uint8; NaN is black."""
    scaled = (
        np.nan_to_num(image.astype(np.float32), nan=low, posinf=high, neginf=low) - low
    ) / max(high - low, 1e-6)
    pixels: NDArray[np.uint8] = (np.clip(scaled, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return pixels


def _chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )
