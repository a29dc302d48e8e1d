"""Progress of a reading: records, and percent as far as the source says how many there are."""

import asyncio
from collections.abc import Callable, Sequence
from enum import Enum

from catalog.postgres.leased_queue import PacingHost, PhaseCounts

# Where the phases begin, in percent.
READ_PERCENT, STORED_PERCENT = 95.0, 99.0


class ReadingPhase(Enum):
    """The phases of a reading, in order."""

    LISTING = "listing"
    READING = "reading"
    STORING = "storing"


class ReadingProgress:
    """The progress of one reading. `changed` is set at every change; the reader clears it."""

    def __init__(self, percent: float = 0.0) -> None:
        """percent: what an earlier attempt reached."""
        self.phase = ReadingPhase.LISTING
        self.percent = percent
        self.changed = asyncio.Event()
        # Returns the hosts that set the pace; the reader sets it.
        self.paced_by: Callable[[], Sequence[PacingHost]] = tuple
        self._done = 0
        self._total: int | None = None

    def listing(self, found: int) -> None:
        """Show how many records were found while it is not known yet how many there are."""
        self._done = found
        self.changed.set()

    def reading(self, done: int, total: int | None) -> None:
        """Show how many records were read, of how many. total: None if the source does not say."""
        self.phase = ReadingPhase.READING
        self._done, self._total = done, total
        if total:
            self.percent = max(self.percent, READ_PERCENT * min(done / total, 1.0))
        self.changed.set()

    def storing(self) -> None:
        """Begin to make what was read the content."""
        self.phase = ReadingPhase.STORING
        self.percent = max(self.percent, READ_PERCENT)
        self.changed.set()

    @property
    def counts(self) -> PhaseCounts:
        """The records of the current phase."""
        return PhaseCounts(self._done, self._total, None, self.paced_by())
