"""Look at other processes, which may end at any time."""

import os
from collections.abc import Iterable
from contextlib import suppress

import psutil


def gone(processes: Iterable[psutil.Process]) -> bool:
    """Return whether all processes have ended. Zombies count as ended."""
    return not any(_runs(process) for process in processes)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def offspring(word: str, *, of: int | None = None) -> list[psutil.Process]:
    """Return the descendants of a process whose command line contains `word`. of: its id; None for this process."""
    found = []
    for process in psutil.Process(of or os.getpid()).children(recursive=True):
        with suppress(psutil.Error):
            if any(word in each for each in process.cmdline()):
                found.append(process)
    return found
