"""The CPU priority of this process, so that bulk work does not slow down searches."""

import os
from contextlib import suppress
from pathlib import Path

AUTOGROUP = Path("/proc/self/autogroup")


def step_back(niceness: int) -> None:
    """Lower the priority of this process and of its children by `niceness`, as `nice` does. 0 changes nothing.

    With Linux's autogroups, niceness only counts within a session. So the process gets a session of its own, and the
    session's share is lowered too.
    """
    if not niceness:
        return
    os.nice(niceness)
    # Fails if the process leads its group, which then has a session already.
    with suppress(OSError):
        os.setsid()
    # Fails on a kernel without autogroups, which needs no more.
    with suppress(OSError):
        AUTOGROUP.write_text(str(niceness), encoding="ascii")
