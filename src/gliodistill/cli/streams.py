"""Standard output and error that may be closed, full or gone: work goes on, and it is told at the
end.
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO


class Stream:
    """A text stream that notes the first refusal of the system instead of raising it.

    Attributes:
        refused: what the system said; None while all is well.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.refused: OSError | None = None

    def write(self, text: str) -> int:
        """Write, or note why not."""
        if self.refused is None:
            try:
                return self._stream.write(text)
            except OSError as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush, or note why not."""
        if self.refused is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Nothing more goes there, not even what Python still holds when it ends."""
        self.refused = error
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def tolerant() -> Iterator[Stream]:
    """Standard output and error as :class:`Stream`; yields the output.

    One that was closed before the program began becomes the null device: else the next file to be
    opened would take its number and get what is meant for a terminal.
    """
    with suppress(OSError):
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(descriptor, True)
        os.close(descriptor)
    before = sys.stdout, sys.stderr
    streams = [
        Stream(stream or Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (until the end)
        for stream in before
    ]
    for stream in streams:
        if hasattr(stream, "reconfigure"):
            # A file name or a terminal outside UTF-8 must not end a run.
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = streams
    try:
        yield streams[0]
    finally:
        for stream in streams:
            stream.flush()
        sys.stdout, sys.stderr = before


def is_closed_pipe(error: OSError) -> bool:
    """Whether the reader has closed the pipe, which is not reported."""
    return error.errno == errno.EPIPE
