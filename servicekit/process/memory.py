"""How the memory allocator of this process treats large blocks."""

import ctypes
from contextlib import suppress

# glibc's <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# Blocks of this size and more go back to the system as soon as they are freed.
LARGE_BYTES = 256 * 1024
# So does free memory at the end of the heap, if it is more than this.
FREE_BYTES = 8 * 1024 * 1024


def give_large_blocks_back() -> None:
    """Let freed memory go back to the system. Without glibc this does nothing.

    By default glibc keeps blocks of up to 32 MiB once one of that size was freed. A burst of large bodies or downloads
    would then stay in the process for good.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(M_TRIM_THRESHOLD, FREE_BYTES)
