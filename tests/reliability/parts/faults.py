"""Faults at fault points of running processes: `hooks/sitecustomize.py` carries them out."""

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from servicekit.process.fault_points import FaultPoint
from tests.e2e.running_instance import until

HOOKS = Path(__file__).parents[1] / "hooks"
REACHED_SECONDS = 90.0


class Faults:
    """Tells processes to die, or to wait, at fault points. They need `environment`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables of processes that obey."""
        paths = [str(HOOKS), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {"PYTHONPATH": os.pathsep.join(paths), "SIMILIS_TEST_FAULTS": str(self._folder)}

    def kill(self, point: FaultPoint) -> None:
        """Kill the next process that reaches a point."""
        self._arm(point, signal.SIGKILL)

    def hold(self, point: FaultPoint) -> None:
        """Stop the next process that reaches a point, with all its threads, until it is released."""
        self._arm(point, signal.SIGSTOP)

    def victims(self, point: FaultPoint) -> list[int]:
        """Return the ids of the processes that were killed at a point, or are held there."""
        return [int(found.suffix[1:]) for found in self._folder.glob(f"{point.value}.[0-9]*")]

    def wait(self, point: FaultPoint, seconds: float = REACHED_SECONDS) -> int:
        """Wait until a process is killed, or stopped, at a point. Returns its id."""
        until(lambda: bool(self.victims(point)), seconds)
        victim = self.victims(point)[0]
        until(lambda: _state(victim) in (None, psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE))
        return victim

    def wait_killed(self, point: FaultPoint, seconds: float = REACHED_SECONDS) -> None:
        """Wait until a process was killed at a point, and forget it. Fails if none was."""
        self.wait(point, seconds)
        self.release(point)

    def release(self, point: FaultPoint) -> None:
        """Let the processes go on that are held at a point."""
        for victim in self.victims(point):
            self._folder.joinpath(f"{point.value}.{victim}").unlink()
            with suppress(psutil.Error):
                psutil.Process(victim).resume()

    def disarm(self) -> None:
        """Take back all faults, and release all processes."""
        for point in FaultPoint:
            self._folder.joinpath(point.value).unlink(missing_ok=True)
            self.release(point)

    def _arm(self, point: FaultPoint, number: signal.Signals) -> None:
        self.release(point)
        new = self._folder / f"new-{point.value}"
        new.write_text(number.name)
        new.rename(self._folder / point.value)


def _state(process: int) -> str | None:
    try:
        return str(psutil.Process(process).status())
    except psutil.NoSuchProcess:
        return None
