"""The memory of this process: measure it and limit it."""

import os
import resource
from functools import cache

PAGE = os.sysconf("SC_PAGE_SIZE")
# Enough for its seven numbers.
STATM_BYTES = 256


def resident_bytes() -> int:
    """Return how much memory of this process is in RAM."""
    return _pages()[1] * PAGE


def limit_memory(further_bytes: int) -> None:
    """Limit this process to its present memory and `further_bytes`. Beyond that, allocations raise MemoryError."""
    data = _pages()[5] * PAGE
    resource.setrlimit(resource.RLIMIT_DATA, (data + further_bytes, data + further_bytes))


def _pages() -> list[int]:
    """Return the fields of `/proc/self/statm`."""
    return [int(field) for field in os.pread(_statm(), STATM_BYTES, 0).split()]


@cache
def _statm() -> int:
    """Return the descriptor of the file, which stays open: it is read for every image."""
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
