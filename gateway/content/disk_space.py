"""The free disk space of a one-machine run: no large write is started while the disk is nearly full."""

from pathlib import Path

from servicekit.errors import NoSpace
from servicekit.telemetry.metrics import free_bytes


class DiskSpace:
    """The space on the disk where the databases keep their data."""

    def __init__(self, folder: Path | None, min_free_bytes: int) -> None:
        """folder: None if the databases run elsewhere. They then report a full disk themselves."""
        self._folder = folder
        self._min_free_bytes = min_free_bytes

    def check(self) -> None:
        """Raise NoSpace when there is less free space than required."""
        if self._folder is None:
            return
        free = free_bytes(self._folder)
        if free < self._min_free_bytes:
            needed = self._min_free_bytes >> 20
            message = f"The server's disk is nearly full: {free >> 20} MiB are free, {needed} MiB are needed."
            raise NoSpace(message)
