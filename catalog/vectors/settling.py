"""Wait until Qdrant has built what it builds in the background: the graph, and the int8 vectors."""

import asyncio
from time import monotonic
from typing import Protocol

from servicekit.errors import Unavailable
from servicekit.qdrant_api import collections_pb2
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
    """The calls of Qdrant that are used here. See `catalog.vectors.client.Qdrant`."""

    async def describe_collection(self, name: str) -> collections_pb2.CollectionInfo: ...

    async def start_optimizer(self, name: str) -> None: ...


async def wait_until_settled(client: Descriptions, name: str, count: int) -> None:
    """Wait until the graph over `count` points is built, or the graphs, if the points have several vectors.

    Segments below the server's indexing threshold never get a graph. There is no deadline. Raises Unavailable when the
    server's optimizer has failed, and the client's errors.
    """
    seen: tuple[int, int] | None = None
    since = 0.0
    while True:
        info = await client.describe_collection(name)
        if info.status == collections_pb2.Red:
            log.error("optimizer_failed", collection=name, reason=info.optimizer_status.error)
            raise Unavailable("The vector store could not build the index.", code="qdrant_optimizer_failed")
        if info.status == collections_pb2.Grey:
            # A server that was restarted waits for an update before it optimizes.
            await client.start_optimizer(name)
        if info.status != collections_pb2.Green:
            seen = None
        else:
            counts = (_with_graph(info), info.segments_count)
            if counts != seen:
                seen, since = counts, monotonic()
            if _is_built(info, count, green_seconds=monotonic() - since):
                return
        await asyncio.sleep(POLL_SECONDS)


def _is_built(info: collections_pb2.CollectionInfo, count: int, *, green_seconds: float) -> bool:
    """Return whether no more vectors will get a graph. green_seconds: how long the description has not changed."""
    smallest = _smallest_segment(info)
    without_graph = max(count, info.points_count) - _with_graph(info)
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


def _smallest_segment(info: collections_pb2.CollectionInfo) -> float | None:
    """Return how many vectors a segment must have to get a graph; None if none ever does."""
    optimizer = info.config.optimizer_config
    threshold = optimizer.indexing_threshold if optimizer.HasField("indexing_threshold") else INDEXING_THRESHOLD
    size = max(_sizes(info))
    if threshold == 0 or size == 0:
        return None
    return threshold * 1024 / (size * FLOAT_BYTES)


def _sizes(info: collections_pb2.CollectionInfo) -> list[int]:
    """Return the dimensions of the vectors of each point. The largest one decides which segments get graphs."""
    vectors = info.config.params.vectors_config
    if vectors.WhichOneof("config") == "params_map":
        return [parameters.size for parameters in vectors.params_map.map.values()]
    return [vectors.params.size]


def _with_graph(info: collections_pb2.CollectionInfo) -> int:
    """Return how many points have graphs. The server counts each of their vectors."""
    return info.indexed_vectors_count // len(_sizes(info))
