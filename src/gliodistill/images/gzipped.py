"""Sequential, fully checked reading of plain and gzip files."""

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from gliodistill.errors import ImageError

try:  # the same interface and checks, about twice as fast
    from isal import isal_zlib

    codec: Any = isal_zlib
except ImportError:
    import zlib

    codec = zlib

BLOCK = 1 << 18
"""Compressed bytes read at once; small compared with an image.
"""

MAX_RATIO = 1032
"""No deflate stream expands more than this (zlib's technical notes), so a small file cannot hold a
huge image.
"""


MEMBERS, MEMBER_BYTES = 1000, 1000
"""Most members of a gzip file, plus one for each this many bytes: bgzip makes one per 64 000. Each
costs time, and a small file can hold a million empty ones.
"""


class PlainSource:
    """An uncompressed file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._handle = file.open("rb")
        self.size = os.fstat(self._handle.fileno()).st_size
        if self.size == 0:
            self._handle.close()
            raise ImageError(
                "empty file", file=file, field="size", got="0 bytes", expected="a NIfTI image"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handle.close()

    def take(self, count: int) -> bytes:
        """The next bytes: ``count``, or fewer at the end."""
        content = self._handle.read(count)
        if content[:2] == b"\x1f\x8b":
            raise ImageError(
                "gzip content under a .nii name",
                file=self.file,
                field="name",
                got=self.file.suffix,
                expected=".nii.gz",
            )
        return content

    def check_room(self, total: int) -> None:
        """Refuse a header that needs another number of bytes than the file has."""
        if self.size != total:
            raise wrong_size(self.file, f"{self.size} bytes", total)

    def rest(self, count: int) -> bytes | memoryview:
        """Exactly ``count`` bytes, which must be the rest of the file."""
        content = self._handle.read(count + 1)
        if len(content) != count:
            raise wrong_size(self.file, f"{len(content)} bytes of voxels", count)
        return content


class GzipSource(PlainSource):
    """A gzip file of one or more members, each checked against its CRC-32 and length."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self._packed = b""
        self._member: Any = None
        self._members = self._length = 0

    def take(self, count: int) -> bytes:
        """The next bytes: ``count``, or fewer at the end of the file."""
        content = b""
        while len(content) < count:
            # A header needs only the first block; the rest of it is kept for rest().
            if not self._packed and not self._read_block():
                break
            content += self._unpack(count - len(content))
        return content

    def _read_block(self) -> bytes:
        first = self._handle.tell() == 0
        self._packed = self._handle.read(BLOCK)
        if first and self._packed[:2] != b"\x1f\x8b":
            raise ImageError(
                "not gzip",
                file=self.file,
                field="magic",
                got=self._packed[:2].hex(),
                expected="1f8b",
                hint="rename it to .nii",
            )
        return self._packed

    def check_room(self, total: int) -> None:
        """Refuse a header that needs more than the file can hold, before allocating."""
        if total > self.size * MAX_RATIO:
            raise wrong_size(self.file, f"{self.size} compressed bytes", total)

    def rest(self, count: int) -> bytes | memoryview:
        """Exactly ``count`` bytes, which must be all that is left, with every checksum right.

        Memory beside them: a block of the file and what it unpacks to.
        """
        content, length = np.empty(count, np.uint8).data, 0  # not filled with zeros first
        while length <= count:
            more = bool(self._packed or self._read_block())
            if not more and self._member is None:
                break
            piece = self._unpack(count + 1 - length)
            if not (more or piece):  # the codec may still hold output after the end of the file
                break
            if length + len(piece) > count:
                raise wrong_size(self.file, "more voxels", count)
            content[length : length + len(piece)] = piece
            length += len(piece)
        if self._member is not None:
            raise ImageError(
                "truncated gzip",
                file=self.file,
                field="gzip",
                got=f"{length} bytes",
                expected=f"{count}",
                hint="copy it again",
            )
        if length < count:
            raise wrong_size(self.file, f"{length} bytes of voxels", count)
        return content

    def _unpack(self, count: int) -> bytes:
        """Up to ``count`` decompressed bytes from the current or next member."""
        if self._member is None:
            if len(self._packed) < 2:  # the block ended inside a member's first bytes
                self._packed += self._handle.read(BLOCK)
            if not self._packed.rstrip(b"\0"):  # tapes and some tools pad with zeros
                self._packed = b""
                return b""
            if self._packed[:2] != b"\x1f\x8b":
                raise ImageError(
                    "garbage after the gzip data",
                    file=self.file,
                    field="gzip",
                    got=f"{len(self._packed)} bytes",
                    expected="nothing",
                )
            self._members += 1
            if self._members > MEMBERS + self._length // MEMBER_BYTES:
                raise ImageError(
                    "gzip of tiny members",
                    file=self.file,
                    field="gzip",
                    got=f"{self._members} members that hold {self._length} bytes",
                    expected=f"at most {MEMBERS}, and one for each {MEMBER_BYTES} bytes",
                    hint="decompress and compress it again",
                )
            self._member = codec.decompressobj(wbits=31)
        try:
            content: bytes = self._member.decompress(self._packed, count)
        except codec.error as error:
            raise ImageError(
                "corrupt gzip",
                file=self.file,
                field="gzip",
                got=error,
                expected="matching CRC and length",
                hint="copy it again",
            ) from error
        self._length += len(content)
        if self._member.eof:
            self._packed, self._member = self._member.unused_data, None
        else:
            self._packed = self._member.unconsumed_tail
        return content


def wrong_size(file: Path, got: str, expected: int) -> ImageError:
    """The error for a header whose dimensions contradict the file's size."""
    return ImageError(
        "dimensions and file size disagree",
        file=file,
        field="dim",
        got=got,
        expected=f"{expected} bytes",
        hint="the file is truncated or damaged",
    )
