"""Wait until Qdrant has built what it builds in the background: the graph, and the int8 vectors."""

import asyncio
from time import monotonic
from typing import Protocol

from qdrant_client import models

from servicekit.errors import Unavailable
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

POLL_SECONDS = 0.25
# How long the status must stay green if vectors have no graph. Just after a write, a server may report green although
# its optimizer has not begun.
GREEN_SECONDS = 3.0
# After this long without any change, more vectors without a graph are accepted than there should be. Searches then
# compare them one by one, which is slower, but finds the same.
ACCEPT_SECONDS = 120.0
# Qdrant's default, in kB. The server tells the threshold that it uses.
INDEXING_THRESHOLD = 10_000
FLOAT_BYTES = 4


class Descriptions(Protocol):
    """The calls of Qdrant's client that are used here."""

    async def get_collection(self, collection_name: str) -> models.CollectionInfo: ...

    async def update_collection(
        self, collection_name: str, optimizers_config: models.OptimizersConfigDiff | None = None
    ) -> bool: ...


async def wait_until_settled(client: Descriptions, name: str, count: int) -> None:
    """Wait until the graph over `count` vectors is built.

    Segments below the server's indexing threshold never get a graph. There is no deadline. Raises Unavailable when the
    server's optimizer has failed, and the client's errors.
    """
    seen: tuple[int, int] | None = None
    since = 0.0
    while True:
        info = await client.get_collection(name)
        if info.status is models.CollectionStatus.RED:
            log.error("optimizer_failed", collection=name, reason=str(info.optimizer_status))
            raise Unavailable("The vector store could not build the index.", code="qdrant_optimizer_failed")
        if info.status is models.CollectionStatus.GREY:
            # A server that was restarted waits for an update before it optimizes.
            await client.update_collection(name, optimizers_config=models.OptimizersConfigDiff())
        if info.status is not models.CollectionStatus.GREEN:
            seen = None
        else:
            counts = (info.indexed_vectors_count or 0, info.segments_count)
            if counts != seen:
                seen, since = counts, monotonic()
            if _is_built(info, count, green_seconds=monotonic() - since):
                return
        await asyncio.sleep(POLL_SECONDS)


def _is_built(info: models.CollectionInfo, count: int, *, green_seconds: float) -> bool:
    """Return whether no more vectors will get a graph. green_seconds: how long the description has not changed."""
    smallest = _smallest_segment(info)
    without_graph = max(count, info.points_count or 0) - (info.indexed_vectors_count or 0)
    if smallest is None or without_graph < smallest:
        return True
    if green_seconds < GREEN_SECONDS:
        return False
    if without_graph < smallest * info.segments_count:
        return True
    if green_seconds < ACCEPT_SECONDS:
        return False
    log.warning("graph_incomplete", vectors=count, without_graph=without_graph, segments=info.segments_count)
    return True


def _smallest_segment(info: models.CollectionInfo) -> float | None:
    """Return how many vectors a segment must have to get a graph; None if none ever does."""
    threshold = info.config.optimizer_config.indexing_threshold
    threshold = INDEXING_THRESHOLD if threshold is None else threshold
    vectors = info.config.params.vectors
    if threshold == 0 or not isinstance(vectors, models.VectorParams):
        return None
    return threshold * 1024 / (vectors.size * FLOAT_BYTES)
