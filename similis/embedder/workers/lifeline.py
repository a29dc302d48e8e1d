"""Binds a process to the one that started it."""

import ctypes
import os
import resource
import signal

PR_SET_PDEATHSIG = 1
PAGE = os.sysconf("SC_PAGE_SIZE")


def die_with_parent(parent: int) -> None:
    """Asks the kernel to kill this process when `parent` dies; ends it at once if that has happened already."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(0)


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - read for every image
        return int(file.read().split()[1]) * PAGE


def limit_memory(further_bytes: int) -> None:
    """Lets this process take `further_bytes` more than it has; beyond that it sees MemoryError."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        data = int(file.read().split()[5]) * PAGE
    resource.setrlimit(resource.RLIMIT_DATA, (data + further_bytes, data + further_bytes))
