"""Tells whether an engine process works on its request.

It answers nothing else meanwhile, and some requests take an hour. But a process that works uses CPU time or the disk.
"""

from pathlib import Path

# https://docs.kernel.org/filesystems/proc.html: the fields of `stat` behind the name, and a state.
STATE, USER_TIME, SYSTEM_TIME = 0, 11, 12
WAITS_FOR_DISK = "D"


class EngineProgress:
    """Tells whether a process has made progress between two calls."""

    def __init__(self, process: int) -> None:
        """process: its id."""
        self._folder = Path(f"/proc/{process}")
        self._used = 0

    def worked(self) -> bool:
        """Return whether the process has used CPU time since the last call, or reads or writes files now.

        Raises FileNotFoundError or ProcessLookupError if it has ended.
        """
        fields = _fields(self._folder)
        used, before = int(fields[USER_TIME]) + int(fields[SYSTEM_TIME]), self._used
        self._used = used
        return used != before or any(state == WAITS_FOR_DISK for state in self._states())

    def _states(self) -> list[str]:
        return [_fields(thread)[STATE] for thread in (self._folder / "task").iterdir()]


def _fields(folder: Path) -> list[str]:
    # The name of the program is in parentheses. It may contain anything.
    return (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
