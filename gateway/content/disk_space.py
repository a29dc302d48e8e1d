"""The disk that the databases of a one-machine run keep their data on: when it is nearly full, nothing is begun."""

from pathlib import Path

from servicekit.errors import NoSpace
from servicekit.telemetry.metrics import free_bytes


class DiskSpace:
    """Looks before what writes much. Where the databases are elsewhere, they say themselves what they lack."""

    def __init__(self, folder: Path | None, min_free_bytes: int) -> None:
        """folder: None where the databases are elsewhere."""
        self._folder = folder
        self._min_free_bytes = min_free_bytes

    def check(self) -> None:
        """Raises NoSpace when less is free than must be."""
        if self._folder is None:
            return
        free = free_bytes(self._folder)
        if free < self._min_free_bytes:
            needed = self._min_free_bytes >> 20
            raise NoSpace(f"The disk is nearly full: {free >> 20} MiB are free, {needed} MiB must be.")
