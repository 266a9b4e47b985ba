"""How glibc keeps memory that was freed, for processes that work on one image after another.

By default it maps every array of more than a few megabytes anew, so that the kernel fills each with
zeros again, and gives every thread an arena of its own that keeps what the thread freed. With one
arena that keeps arrays of usual size, a segmented study has a fifth of the page faults and seven
tenths of the peak memory (``benchmarks/results/speed/speed_alternatives.md``).
"""

import ctypes
import sys

_TRIM, _MAP, _ARENAS = -1, -3, -8
"""M_TRIM_THRESHOLD, M_MMAP_THRESHOLD and M_ARENA_MAX of ``malloc.h``."""

LARGE = 1 << 28
"""Bytes from which an array is mapped, and given back to the system when it is freed."""

KEPT = 1 << 29
"""Free bytes at the end of the heap above which they are given back."""


def reuse_memory() -> bool:
    """Make this process reuse the memory of freed arrays; once, before it starts threads.

    Does nothing without glibc.

    Returns:
        whether the C library took the settings.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return False
    settings = ((_ARENAS, 1), (_MAP, LARGE), (_TRIM, KEPT))
    return all([mallopt(name, value) == 1 for name, value in settings])
