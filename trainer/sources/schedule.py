"""The schedule of sources: readings that are due are queued."""

from catalog.sources.sources import Sources
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)


class Schedule:
    """Queues readings. Only one trainer at a time may do so."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    async def queue_due(self) -> None:
        """Queue a reading of each source whose time has come."""
        for collection in await self._sources.enqueue_due():
            log.info("source_reading_due", collection=collection)
