"""The memory of this process: how much it has, and how much more it may take."""

import os
import resource

PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - read for every image
        return int(file.read().split()[1]) * PAGE


def limit_memory(further_bytes: int) -> None:
    """Lets this process take `further_bytes` more than it has; beyond that it sees MemoryError."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        data = int(file.read().split()[5]) * PAGE
    resource.setrlimit(resource.RLIMIT_DATA, (data + further_bytes, data + further_bytes))
