"""The memory of this process: measure it and limit it."""

import os
import resource

PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Return how much memory of this process is in RAM."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - read for every image
        return int(file.read().split()[1]) * PAGE


def limit_memory(further_bytes: int) -> None:
    """Limit this process to its present memory and `further_bytes`. Beyond that, allocations raise MemoryError."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        data = int(file.read().split()[5]) * PAGE
    resource.setrlimit(resource.RLIMIT_DATA, (data + further_bytes, data + further_bytes))
