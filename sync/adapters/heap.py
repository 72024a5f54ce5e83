"""How this process gives memory back."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE = 1 << 19


def release_large_blocks() -> None:
    """Have blocks of half a megabyte and more, which pages are, returned to the system when they are free.

    glibc raises that size to that of the largest block it has seen, and keeps everything below: a worker that copies for
    a minute grows by a third (mallopt(3), "M_MMAP_THRESHOLD"). Other C libraries have no such call, or none of this name.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)
