"""The anonymous memory of a running instance: what its processes hold that is in no file."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from bench.parts.instance.processes import family, instance_process, role, running_instance

MEGABYTE = 1e6
# Reading the memory of all processes takes some 10 ms.
SAMPLE_SECONDS = 1.0


def anonymous_bytes(pid: int) -> int:
    """Return the anonymous memory of a process; 0 if it has ended. Shared buffers of Postgres are not part of it."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Anonymous:")) * 1024


def memory_by_role(parent: psutil.Process) -> dict[str, float]:
    """Return the anonymous memory in MB of a process and its descendants, by role."""
    found: dict[str, float] = defaultdict(float)
    for process in family(parent):
        with suppress(psutil.NoSuchProcess):
            found[role(process)] += anonymous_bytes(process.pid) / MEGABYTE
    return dict(found)


def instance_memory() -> dict[str, float]:
    """Return the anonymous memory of the running instance in MB, by role. Raises SystemExit if there is none."""
    return memory_by_role(running_instance())


class MemoryWatch:
    """The peaks of an instance's memory, in MB, for each step. The caller sets `step`."""

    def __init__(self, step: str) -> None:
        self.step = step
        self.peaks: dict[str, float] = {}
        self.roles: dict[str, dict[str, float]] = {}
        self._over = threading.Event()

    def sample(self) -> None:
        """Read the memory once."""
        process, step = instance_process(), self.step
        if process is None:
            return
        found = memory_by_role(process)
        self.peaks[step] = max(self.peaks.get(step, 0.0), sum(found.values()))
        highest = self.roles.setdefault(step, {})
        for name, size in found.items():
            highest[name] = max(highest.get(name, 0.0), size)

    def run(self) -> None:
        """Read the memory again and again until `stop`."""
        while not self._over.wait(SAMPLE_SECONDS):
            self.sample()

    def stop(self) -> None:
        """Stop reading."""
        self._over.set()


@contextmanager
def watched_memory(step: str) -> Iterator[MemoryWatch]:
    """Watch the memory of the instance that this process starts or has started, while entered."""
    watch = MemoryWatch(step)
    thread = threading.Thread(target=watch.run, name="memory-watch")
    thread.start()
    try:
        yield watch
    finally:
        watch.stop()
        thread.join()
