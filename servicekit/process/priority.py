"""How far a process steps back for those that searches need."""

import os
from contextlib import suppress
from pathlib import Path

AUTOGROUP = Path("/proc/self/autogroup")


def step_back(niceness: int) -> None:
    """Lowers the priority of this process and of what it starts, as `nice` has it; 0 leaves it.

    Linux may share processors among sessions and not among processes ("autogroup"), so that niceness counts within a
    session only. Hence a session of its own, whose share is lowered too.
    """
    if not niceness:
        return
    os.nice(niceness)
    # A process that leads its group has its session already; a kernel without autogroups needs no more.
    with suppress(OSError):
        os.setsid()
    with suppress(OSError):
        AUTOGROUP.write_text(str(niceness), encoding="ascii")
