"""The CPU time of the processes of a running instance, by what they do."""

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress

import psutil

# The first of these in a command line says what a process is.
ROLES = {
    "embedder.workers": "embedder workers",
    "embedder": "embedder",
    "local_qdrant.engine.loop": "qdrant engine",
    "local_qdrant": "qdrant router",
    "gateway": "gateway",
    "trainer": "trainer",
    "standalone": "supervisor",
}
OTHER = "postgres"


def instance_process() -> psutil.Process:
    """Return the process of `similis up`, which this process has started."""
    running = psutil.Process().children(recursive=True)
    return next(process for process in running if "standalone" in process.cmdline() and "-m" in process.cmdline())


def cpu_times(parent: psutil.Process) -> dict[str, float]:
    """Return the CPU seconds of a process and its descendants so far, by role."""
    seconds: dict[str, float] = defaultdict(float)
    for process in (parent, *parent.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            seconds[_role(process.cmdline())] += times.user + times.system
    return seconds


def milliseconds_for_each(before: Mapping[str, float], after: Mapping[str, float], searches: int) -> dict[str, float]:
    """Return the CPU milliseconds that each role took for each search, between two answers of `cpu_times`."""
    return {role: 1000 * (seconds - before.get(role, 0.0)) / searches for role, seconds in after.items()}


def _role(command: list[str]) -> str:
    return next((role for module, role in ROLES.items() if module in command), OTHER)
