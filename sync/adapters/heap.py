"""How this process keeps memory that it has freed."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGE, _KEPT = 4 << 20, 8 << 20


def keep_pages() -> None:
    """Keep freed blocks of up to 4 MB, such as result pages, for the next ones; 8 MB of them in each thread's heap.

    A page of a megabyte that comes straight from the system costs 256 page faults each time that it is copied: for vectors
    that was half of a worker's CPU time. glibc's own thresholds rise with the largest block that it has seen: a worker that
    copies for a minute grows by a third (mallopt(3), "M_MMAP_THRESHOLD"). Other C libraries lack this call, or name it
    differently.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
