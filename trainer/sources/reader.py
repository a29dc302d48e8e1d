"""What a reader of a protocol does: store all records of a source, and say where the next reading begins."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from catalog.sources.readings import Reading
from catalog.sources.sources import Source
from trainer.sources.reading_progress import ReadingProgress


@dataclass(frozen=True)
class ReadResult:
    """What a reader has done.

    records: how many were read. complete: the source has no other records than those that were met. changed_since:
    where the next reading begins; None: at the beginning. warnings: sentences for people.
    """

    records: int
    complete: bool
    changed_since: str | None = None
    warnings: Sequence[str] = ()


class Reader(Protocol):
    """Reads sources of one protocol."""

    async def read(self, reading: Reading, source: Source, progress: ReadingProgress) -> ReadResult:
        """Store the records of a source. Raises LeaseLost, or the ServiceError that ends the reading."""
        ...
