"""Other processes, which may end while they are looked at."""

import os
from collections.abc import Iterable
from contextlib import suppress

import psutil


def gone(processes: Iterable[psutil.Process]) -> bool:
    """Whether all have ended, whoever has still to take notice."""
    return not any(_runs(process) for process in processes)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def offspring(word: str, *, of: int | None = None) -> list[psutil.Process]:
    """The processes below one (this one unless told otherwise) whose command line has a word with `word` in it."""
    found = []
    for process in psutil.Process(of or os.getpid()).children(recursive=True):
        with suppress(psutil.Error):
            if any(word in each for each in process.cmdline()):
                found.append(process)
    return found
