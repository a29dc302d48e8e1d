"""Writers do not disturb other collections, lose nothing when they die, and hand their collection back."""

import asyncio
import os
import signal
from pathlib import Path

import grpc
import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient, models

from tests.eventually import eventually
from tests.integration.local_qdrant.conftest import LINGERING
from tests.integration.local_qdrant.indexed import SIZE, create, leave_settled
from tests.integration.local_qdrant.vectors import batch, clustered, ids_of, nearest, upsert
from tests.integration.local_qdrant.waiting import (
    PATIENCE_SECONDS,
    PROMPT_SECONDS,
    current_writer,
    honest_status,
    refusal,
    settled,
    status,
    succeeds,
    writers_gone,
)
from tests.integration.qdrant_process import QdrantProcess, running_qdrant

GREEN = models.CollectionStatus.GREEN


async def test_other_collections_answer_while_a_writer_does_not(tmp_path: Path) -> None:
    vectors = clustered(1000, SIZE)
    await leave_settled(tmp_path / "data", vectors, "calm")
    async with running_qdrant(tmp_path / "data", *LINGERING) as server:
        client = server.client()
        await create(client, "busy")
        await upsert(client, "busy", vectors)
        writer = await current_writer(server)
        os.kill(writer, signal.SIGSTOP)
        try:
            async with asyncio.timeout(PROMPT_SECONDS):
                found = await client.query_points("calm", query=vectors[3].tolist(), limit=5)
                await honest_status(client, "busy")
                count = (await client.get_collection("busy")).points_count
                await create(client, "new")
                await upsert(client, "new", vectors[:10])
            late = await refusal(client.query_points("busy", query=vectors[3].tolist(), limit=5, timeout=1))
        finally:
            os.kill(writer, signal.SIGCONT)

        assert [point.id for point in found.points] == nearest(vectors, vectors[3], 5)
        assert count == 1000
        assert late is grpc.StatusCode.DEADLINE_EXCEEDED
        await settled(client, "busy")
        await client.close()


@pytest.mark.parametrize("role", ["writer", "reader"])
async def test_a_process_that_hangs_is_replaced_and_loses_nothing(tmp_path: Path, role: str) -> None:
    vectors = clustered(1000, SIZE)
    async with running_qdrant(tmp_path / "data", "--linger-seconds", "0", "--silent-seconds", "2") as server:
        client = server.client()
        await create(client, "c")
        await upsert(client, "c", vectors)
        if role != "writer":
            await settled(client, "c")
            await writers_gone(server)
            assert (await client.count("c")).count == 1000
        await eventually(lambda: len(server.engine_ids(role)) == 1)
        (hanging,) = server.engine_ids(role)
        os.kill(hanging, signal.SIGSTOP)
        assert await refusal(client.count("c", timeout=1)) is grpc.StatusCode.DEADLINE_EXCEEDED
        await eventually(lambda: hanging not in server.engine_ids(role))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await succeeds(client.count("c", timeout=30)):
                pass
        assert (await client.count("c")).count == 1000
        await client.close()


async def test_a_write_while_the_writer_lingers_is_settled_at_once(writing: AsyncQdrantClient) -> None:
    """The writer lingers for an hour here. A write used to wait until that time was over."""
    vectors = clustered(2000, SIZE)
    await create(writing, "c")
    for first in (0, 1000):
        await upsert(writing, "c", vectors[first : first + 1000], first=first)
        await settled(writing, "c")
        assert (await writing.get_collection("c")).indexed_vectors_count == first + 1000


async def test_requests_beyond_the_queue_are_refused_and_cancelled_ones_make_room(
    lingering_server: QdrantProcess, writing: AsyncQdrantClient
) -> None:
    await create(writing, "busy")
    await upsert(writing, "busy", clustered(300, SIZE))
    writer = await current_writer(lingering_server)
    os.kill(writer, signal.SIGSTOP)
    try:
        waiting = [asyncio.create_task(writing.count("busy")) for _ in range(400)]
        await eventually(lambda: sum(call.done() for call in waiting) >= 100)
        codes = {await refusal(call) for call in waiting if call.done()}
        for call in waiting:
            call.cancel()
        await asyncio.wait(waiting)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (late := await refusal(writing.count("busy", timeout=1))) in codes:
                pass
    finally:
        os.kill(writer, signal.SIGCONT)

    assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert late is grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await writing.count("busy")).count == 300


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGBUS])
async def test_a_writer_that_dies_loses_nothing_acknowledged(
    lingering_server: QdrantProcess, writing: AsyncQdrantClient, number: signal.Signals
) -> None:
    await create(writing, "c")
    vectors = clustered(4000, SIZE)
    acknowledged: set[int] = set()
    killed: list[int] = []
    for start in range(0, len(vectors), 200):
        if start in {600, 1400, 2600}:
            killed.append(await current_writer(lingering_server, killed=killed))
            os.kill(killed[-1], number)
        if await succeeds(writing.upsert("c", batch(start, vectors[start : start + 200]), wait=True)):
            acknowledged.update(range(start, start + 200))

    assert len(killed) == 3
    await honest_status(writing, "c")
    await settled(writing, "c")
    assert acknowledged <= set(await ids_of(writing, "c"))
    assert len(acknowledged) >= 3400


async def test_a_collection_whose_writer_hangs_is_deleted_at_once(
    lingering_server: QdrantProcess, writing: AsyncQdrantClient
) -> None:
    await create(writing, "c")
    await upsert(writing, "c", clustered(1000, SIZE))
    writer = await current_writer(lingering_server)
    os.kill(writer, signal.SIGSTOP)
    waiting = asyncio.create_task(refusal(writing.count("c")))

    async with asyncio.timeout(PROMPT_SECONDS):
        assert await writing.delete_collection("c")
        assert await waiting in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE}
        assert not await writing.collection_exists("c")
        await create(writing, "c")
        assert (await writing.count("c")).count == 0
    await eventually(lambda: writer not in lingering_server.engine_ids("writer"))


async def test_a_writer_killed_while_it_optimizes_is_replaced_and_finishes(
    lingering_server: QdrantProcess, writing: AsyncQdrantClient, tmp_path: Path
) -> None:
    await create(writing, "c", ef_construct=800)
    vectors = clustered(3000, SIZE)
    await upsert(writing, "c", vectors, size=1000)
    unfinished = tmp_path / "data" / "collections" / "c" / "shard" / "temp_segments"

    killed: list[int] = []
    for _ in range(2):
        writer = await current_writer(lingering_server, killed=killed)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not any(unfinished.glob("*")):
                if await status(writing, "c") is GREEN:
                    # This optimization finished before we saw it. Start another one.
                    await upsert(writing, "c", vectors, size=1000)
                await asyncio.sleep(0.02)
        os.kill(writer, signal.SIGKILL)
        killed.append(writer)
        await honest_status(writing, "c")
    await settled(writing, "c")

    info = await writing.get_collection("c")
    assert (info.points_count, info.indexed_vectors_count) == (3000, 3000)


async def test_a_collection_can_be_written_again_after_it_went_back_to_a_reader(
    server: QdrantProcess, own: AsyncQdrantClient
) -> None:
    vectors = clustered(2000, SIZE)
    await create(own, "c")
    for first in (0, 1000):
        await upsert(own, "c", vectors[first : first + 1000], first=first)
        await settled(own, "c")
        await writers_gone(server)
        found = await own.query_points("c", query=vectors[first].tolist(), limit=1)
        assert [point.id for point in found.points] == [first]
        assert len(server.engine_ids("reader")) == 1

    assert (await own.count("c")).count == 2000


async def test_more_collections_than_writers_can_be_written_at_the_same_time(tmp_path: Path) -> None:
    vectors = clustered(600, SIZE)

    async def fill(client: AsyncQdrantClient, name: str) -> None:
        await create(client, name)
        await upsert(client, name, vectors, size=100)
        await settled(client, name)
        assert (await client.count(name)).count == 600

    async with running_qdrant(tmp_path / "data", "--writers", "2") as server:
        client = server.client()
        async with asyncio.timeout(100):
            await asyncio.gather(*(fill(client, f"c{number}") for number in range(5)))
        assert len(server.engine_ids("writer")) <= 2
        await client.close()


async def test_callers_that_cancel_while_a_collection_moves_do_no_harm(own: AsyncQdrantClient) -> None:
    await create(own, "c")
    vectors = clustered(200, SIZE)
    random = np.random.default_rng(0)
    for _ in range(10):
        calls = [
            asyncio.create_task(upsert(own, "c", vectors)),
            asyncio.create_task(own.count("c")),
            asyncio.create_task(own.get_collection("c")),
        ]
        # A random moment, so that each round cancels at a different step.
        await asyncio.sleep(float(random.uniform(0.0, 0.15)))
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
    await upsert(own, "c", vectors)
    await settled(own, "c")
    assert await ids_of(own, "c") == list(range(200))
