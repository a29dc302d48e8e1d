"""Wait for a server's background work, and check what must hold until it is done."""

import asyncio
from collections.abc import Awaitable, Collection

import grpc
import pytest
from qdrant_client import AsyncQdrantClient, models

from tests.eventually import eventually
from tests.integration.qdrant_process import QdrantProcess, engine_processes

PATIENCE_SECONDS = 60.0
# Long enough for a busy machine, and shorter than any timeout that would hide a request that hangs.
PROMPT_SECONDS = 20.0


async def status(client: AsyncQdrantClient, name: str) -> models.CollectionStatus:
    """Return the collection's status."""
    return (await client.get_collection(name)).status


async def honest_status(client: AsyncQdrantClient, name: str) -> models.CollectionStatus:
    """Return the status after a write. Fail if it is green although some vectors are not indexed."""
    info = await client.get_collection(name)
    indexed = (info.indexed_vectors_count or 0) >= (info.points_count or 0)
    assert info.status is models.CollectionStatus.YELLOW or (info.status is models.CollectionStatus.GREEN and indexed)
    return info.status


async def settled(client: AsyncQdrantClient, name: str) -> None:
    """Wait until the collection is green."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await status(client, name) is not models.CollectionStatus.GREEN:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)


async def current_writer(server: QdrantProcess, *, killed: Collection[int] = ()) -> int:
    """Wait until there is exactly one writer and return its process id.

    killed: earlier writers, which may take a moment to disappear.
    """
    found: set[int] = set()

    def is_one() -> bool:
        found.clear()
        found.update(set(server.engine_ids("writer")) - set(killed))
        return len(found) == 1

    await eventually(is_one)
    return found.pop()


async def writers_gone(server: QdrantProcess) -> None:
    """Wait until every collection is back with a reader."""
    await eventually(lambda: not server.engine_ids("writer"))


async def engines_gone(router: int) -> None:
    """Wait until no engine process of a router is left."""
    await eventually(lambda: not engine_processes(router))


async def refusal(call: Awaitable[object]) -> grpc.StatusCode:
    """Return the status that a call fails with. Fail if it succeeds."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code()


async def succeeds(call: Awaitable[object]) -> bool:
    """Return whether a call succeeds. UNAVAILABLE is the only error that it may end with."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False
    return True
