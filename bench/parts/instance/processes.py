"""The processes of a running instance, by what they do, and their CPU time."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress

import psutil

# The first of these in a command line says what a process is.
ROLES = {
    "embedder.workers": "embedder workers",
    "gateway.content.worker_main": "content process",
    "standalone.gateway_and_embedder": "gateway",
    "embedder": "embedder",
    "local_qdrant.engine.loop": "qdrant engine",
    "local_qdrant": "qdrant router",
    "gateway": "gateway",
    "trainer.learning": "learning",
    "trainer": "trainer",
    "standalone": "supervisor",
}
OTHER = "postgres"


def instance_process() -> psutil.Process | None:
    """Return the process of `similis up`, which this process has started; None if there is none."""
    for process in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            command = process.cmdline()
            if "-m" in command and "standalone" in command:
                return process
    return None


def running_instance() -> psutil.Process:
    """Return the process of `similis up`, which this process has started. Raises SystemExit if there is none."""
    process = instance_process()
    if process is None:
        raise SystemExit("'similis up' is not running")
    return process


def family(parent: psutil.Process) -> Sequence[psutil.Process]:
    """Return a process and its descendants; nothing if it has ended."""
    try:
        return parent, *parent.children(recursive=True)
    except psutil.NoSuchProcess:
        return ()


def role(process: psutil.Process) -> str:
    """Return what a process of an instance does. Raises psutil.NoSuchProcess if it has ended."""
    command = process.cmdline()
    return next((role for module, role in ROLES.items() if module in command), OTHER)


def cpu_times(parent: psutil.Process) -> dict[str, float]:
    """Return the CPU seconds of a process and its descendants so far, by role."""
    seconds: dict[str, float] = defaultdict(float)
    for process in family(parent):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            seconds[role(process)] += times.user + times.system
    return dict(seconds)


def milliseconds_for_each(before: Mapping[str, float], after: Mapping[str, float], searches: int) -> dict[str, float]:
    """Return the CPU milliseconds that each role took for each search, between two answers of `cpu_times`."""
    return {role: 1000 * (seconds - before.get(role, 0.0)) / searches for role, seconds in after.items()}
