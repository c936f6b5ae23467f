"""Configure glibc's malloc: training keeps the memory that a step frees, `prepare` returns it to the kernel.

By default glibc returns every block of 128 KiB or more to the kernel when it is freed, so that each new tensor causes
page faults: on two virtual CPU cores, the quickstart's first ten steps took 20 seconds instead of 2. When a larger
block is freed, however, glibc raises that limit to its size. Smaller blocks then come from the heap, where buffers of a
megabyte that are soon freed leave gaps between blocks that stay: preparing 200 MB of text took 10 MB more memory.
"""

from __future__ import annotations

import ctypes
import sys

# Parameters of mallopt(3), by their numbers in malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_INT = 2**31 - 1
LARGE_BLOCK = 128 * 1024
LARGEST_THRESHOLD = 32 * 1024**2
"""The largest M_MMAP_THRESHOLD that glibc before 2.35 accepts."""


def keep_freed_memory() -> None:
    """Make malloc serve all allocations from the heap and never shrink it. Does nothing without glibc."""
    if not _set(M_MMAP_THRESHOLD, LARGEST_INT):
        _set(M_MMAP_THRESHOLD, LARGEST_THRESHOLD)
    _set(M_TRIM_THRESHOLD, LARGEST_INT)


def return_freed_memory() -> None:
    """Make malloc return every large block to the kernel when it is freed. Does nothing without glibc."""
    _set(M_MMAP_THRESHOLD, LARGE_BLOCK)


def _set(parameter: int, value: int) -> bool:
    """Set a parameter of malloc; returns whether the C library accepts it."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and mallopt(parameter, value) == 1
