"""Make the C library keep the memory that a training step frees, or return what preparing frees.

At first glibc returns every block of a few hundred kilobytes to the kernel at once, and the next operation's tensor is
paged in anew: measured on two virtual CPU cores, the quickstart's first ten steps took 20 seconds instead of 2. But
once a larger block has been freed, glibc puts blocks of up to its size into the heap, where short-lived buffers of a
megabyte leave gaps between what stays: preparing 200 MB took 10 MB more.
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
"""What glibc before 2.35 takes at most."""


def keep_freed_memory() -> None:
    """Serve all allocations from the heap and never shrink it; elsewhere than on glibc, do nothing."""
    if not _set(M_MMAP_THRESHOLD, LARGEST_INT):
        _set(M_MMAP_THRESHOLD, LARGEST_THRESHOLD)
    _set(M_TRIM_THRESHOLD, LARGEST_INT)


def return_freed_memory() -> None:
    """Keep large blocks out of the heap, whatever was freed before; elsewhere than on glibc, do nothing."""
    _set(M_MMAP_THRESHOLD, LARGE_BLOCK)


def _set(parameter: int, value: int) -> bool:
    """Set a parameter; whether the C library has taken it."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and mallopt(parameter, value) == 1
