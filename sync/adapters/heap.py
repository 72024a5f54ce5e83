"""How this process gives memory back."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE = 1 << 19


def release_large_blocks() -> None:
    """Return blocks of half a megabyte and more, such as result pages, to the system when they are freed.

    glibc raises that threshold to the largest block it has seen, and keeps everything below: a worker that copies for a
    minute grows by a third (mallopt(3), "M_MMAP_THRESHOLD"). Other C libraries lack this call, or name it differently.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)
