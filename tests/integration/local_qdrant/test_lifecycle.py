"""The one-machine process itself: isolation, deaths, restarts, limits. Always against our own process."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from qdrant_client import AsyncQdrantClient, models
from qdrant_client import grpc as messages

from tests.integration.local_qdrant.conftest import LINGERING
from tests.integration.local_qdrant.vectors import (
    clustered,
    ids_of,
    nearest,
    says_what_is_done,
    settled,
    status,
    upsert,
)
from tests.integration.qdrant_process import QdrantProcess, engine_processes, running_qdrant

SIZE = 32
GREEN, RED = models.CollectionStatus.GREEN, models.CollectionStatus.RED
PATIENCE = 60.0
# Long for a busy machine, and less than what clients and servers give a request that hangs.
AT_ONCE = 20.0


async def create(client: AsyncQdrantClient, name: str, threshold: int = 100, ef_construct: int = 100) -> None:
    """A collection whose graph is built from some hundred points on."""
    await client.create_collection(
        name,
        vectors_config=models.VectorParams(size=SIZE, distance=models.Distance.COSINE, on_disk=True),
        hnsw_config=models.HnswConfigDiff(m=16, ef_construct=ef_construct),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=threshold),
    )


async def refusal(call: Awaitable[object]) -> grpc.StatusCode:
    """The status that a call is refused with."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    code: grpc.StatusCode = error.value.code()
    return code


async def succeeds(call: Awaitable[object]) -> bool:
    """Whether a call succeeds; the only error that may be is UNAVAILABLE."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False
    return True


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds; a TimeoutError when it never does."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 (processes do not tell)
            await asyncio.sleep(0.02)


async def the_writer(server: QdrantProcess, killed: Collection[int] = ()) -> int:
    """Process id of the only writer, waited for. killed: those that were, and may take a moment to be gone."""
    async with asyncio.timeout(PATIENCE):
        while len(found := set(server.engine_ids("writer")) - set(killed)) != 1:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
    return found.pop()


async def handed_over(server: QdrantProcess) -> None:
    """Wait until no collection has a writer."""
    await until(lambda: not server.engine_ids("writer"))


async def ended(router: int) -> None:
    """Wait until no engine process of a router is left."""
    await until(lambda: not engine_processes(router))


async def left_settled(data: Path, name: str, vectors: npt.NDArray[np.float32]) -> None:
    """What an earlier process leaves in its directory: a collection, settled, which has no writer after a restart."""
    async with running_qdrant(data) as server:
        client = server.client()
        await create(client, name)
        await upsert(client, name, vectors)
        await settled(client, name)
        await client.close()


@pytest.fixture
async def client(own: QdrantProcess) -> AsyncIterator[AsyncQdrantClient]:
    client = own.client()
    yield client
    await client.close()


@pytest.fixture
async def writing(lingering: QdrantProcess) -> AsyncIterator[AsyncQdrantClient]:
    client = lingering.client()
    yield client
    await client.close()


async def test_other_collections_answer_while_a_writer_does_not(tmp_path: Path) -> None:
    vectors = clustered(1000, SIZE)
    await left_settled(tmp_path / "data", "calm", vectors)
    async with running_qdrant(tmp_path / "data", *LINGERING) as server:
        client = server.client()
        await create(client, "busy")
        await upsert(client, "busy", vectors)
        writer = await the_writer(server)
        os.kill(writer, signal.SIGSTOP)
        try:
            async with asyncio.timeout(AT_ONCE):
                found = await client.query_points("calm", query=vectors[3].tolist(), limit=5)
                await says_what_is_done(client, "busy")
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


async def test_requests_beyond_the_queue_are_refused_and_cancelled_ones_make_room(
    lingering: QdrantProcess, writing: AsyncQdrantClient
) -> None:
    client = writing
    await create(client, "busy")
    vectors = clustered(300, SIZE)
    await upsert(client, "busy", vectors)
    writer = await the_writer(lingering)
    os.kill(writer, signal.SIGSTOP)
    try:
        waiting = [asyncio.create_task(client.count("busy")) for _ in range(400)]
        await until(lambda: sum(call.done() for call in waiting) >= 100)
        codes = {await refusal(call) for call in waiting if call.done()}
        for call in waiting:
            call.cancel()
        await asyncio.wait(waiting)
        async with asyncio.timeout(PATIENCE):
            while (late := await refusal(client.count("busy", timeout=1))) in codes:
                pass
    finally:
        os.kill(writer, signal.SIGCONT)

    assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert late is grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await client.count("busy")).count == 300


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGBUS])
async def test_a_writer_that_dies_loses_nothing_acknowledged(
    lingering: QdrantProcess, writing: AsyncQdrantClient, number: signal.Signals
) -> None:
    client = writing
    await create(client, "c")
    vectors = clustered(4000, SIZE)
    acknowledged: set[int] = set()
    killed: list[int] = []
    for start in range(0, len(vectors), 200):
        part = vectors[start : start + 200].tolist()
        ids = list(range(start, start + 200))
        if start in {600, 1400, 2600}:
            killed.append(await the_writer(lingering, killed))
            os.kill(killed[-1], number)
        if await succeeds(client.upsert("c", models.Batch(ids=ids, vectors=part), wait=True)):
            acknowledged.update(ids)

    assert len(killed) == 3
    await says_what_is_done(client, "c")
    await settled(client, "c")
    assert acknowledged <= set(await ids_of(client, "c"))
    assert len(acknowledged) >= 3400


async def test_a_collection_whose_writer_is_busy_is_deleted_at_once(
    lingering: QdrantProcess, writing: AsyncQdrantClient
) -> None:
    client = writing
    await create(client, "c")
    await upsert(client, "c", clustered(1000, SIZE))
    writer = await the_writer(lingering)
    os.kill(writer, signal.SIGSTOP)
    waiting = asyncio.create_task(refusal(client.count("c")))

    async with asyncio.timeout(AT_ONCE):
        assert await client.delete_collection("c")
        assert await waiting in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE}
        assert not await client.collection_exists("c")
        await create(client, "c")
        assert (await client.count("c")).count == 0
    await until(lambda: writer not in lingering.engine_ids("writer"))


async def test_a_unix_socket_can_be_listened_on(tmp_path: Path) -> None:
    async with (
        running_qdrant(tmp_path / "data", listen=f"unix:{tmp_path}/q.sock") as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        reply = await messages.QdrantStub(channel).HealthCheck(messages.HealthCheckRequest(), timeout=10)
        assert reply.title.startswith("qdrant")


async def test_a_writer_killed_while_it_optimizes_is_replaced_and_finishes(
    lingering: QdrantProcess, writing: AsyncQdrantClient, tmp_path: Path
) -> None:
    client = writing
    await create(client, "c", ef_construct=800)
    vectors = clustered(5000, SIZE)
    await upsert(client, "c", vectors, batch=1000)
    unfinished = tmp_path / "data" / "collections" / "c" / "shard" / "temp_segments"

    killed: list[int] = []
    for _ in range(2):
        writer = await the_writer(lingering, killed)
        async with asyncio.timeout(PATIENCE):
            while not any(unfinished.glob("*")):
                if await status(client, "c") is GREEN:
                    # Too late for this time: it begins again.
                    await upsert(client, "c", vectors, batch=1000)
                await asyncio.sleep(0.02)
        os.kill(writer, signal.SIGKILL)
        killed.append(writer)
        await says_what_is_done(client, "c")
    await settled(client, "c")

    info = await client.get_collection("c")
    assert (info.points_count, info.indexed_vectors_count) == (5000, 5000)


async def test_a_serving_process_that_dies_is_back_on_the_next_search(
    own: QdrantProcess, client: AsyncQdrantClient
) -> None:
    vectors = clustered(500, SIZE)
    for name in ("one", "two"):
        await create(client, name)
        await upsert(client, name, vectors)
        await settled(client, name)
    await handed_over(own)

    for _ in range(4):
        for pid in own.engine_ids("server"):
            os.kill(pid, signal.SIGKILL)
        for name in ("one", "two"):
            query = vectors[9].tolist()
            async with asyncio.timeout(AT_ONCE):
                while not await succeeds(client.query_points(name, query=query, limit=3)):
                    pass
            found = await client.query_points(name, query=query, limit=3)
            assert [point.id for point in found.points] == nearest(vectors, vectors[9], 3)


async def test_a_router_that_is_killed_takes_its_engines_along_and_loses_nothing(tmp_path: Path) -> None:
    vectors = clustered(3000, SIZE)
    async with running_qdrant(tmp_path / "data") as server:
        client = server.client()
        await create(client, "settled")
        await upsert(client, "settled", vectors[:1000])
        await settled(client, "settled")
        await create(client, "unsettled", ef_construct=500)
        await upsert(client, "unsettled", vectors, batch=1000)
        server.process.kill()
        await server.process.wait()
        await ended(server.process.pid)
        await client.close()

    async with running_qdrant(tmp_path / "data") as server:
        client = server.client()
        assert await status(client, "settled") is GREEN
        await says_what_is_done(client, "unsettled")
        assert await ids_of(client, "unsettled") == list(range(3000))
        await settled(client, "unsettled")
        assert (await client.get_collection("unsettled")).indexed_vectors_count == 3000
        assert (await client.count("settled")).count == 1000
        await client.close()


async def test_sigterm_stops_with_zero_and_leaves_no_process_and_data_is_there_again(tmp_path: Path) -> None:
    vectors = clustered(2000, SIZE)
    async with running_qdrant(tmp_path / "data") as server:
        client = server.client()
        await create(client, "c")
        await create(client, "empty")
        await upsert(client, "c", vectors)
        await settled(client, "c")
        await upsert(client, "c", vectors[:10], first=5000)
        await client.close()
        assert await server.stop() == 0
        assert engine_processes(server.process.pid) == []

    async with running_qdrant(tmp_path / "data") as server:
        client = server.client()
        names = [collection.name for collection in (await client.get_collections()).collections]
        assert names == ["c", "empty"]
        await settled(client, "c")
        assert await ids_of(client, "c") == [*range(2000), *range(5000, 5010)]
        assert (await client.get_collection("empty")).points_count == 0
        await client.close()


async def test_a_collection_can_be_written_again_after_it_was_handed_over(
    own: QdrantProcess, client: AsyncQdrantClient
) -> None:
    vectors = clustered(2000, SIZE)
    await create(client, "c")
    for first in (0, 1000):
        await upsert(client, "c", vectors[first : first + 1000], first=first)
        await settled(client, "c")
        await handed_over(own)
        found = await client.query_points("c", query=vectors[first].tolist(), limit=1)
        assert [point.id for point in found.points] == [first]
        assert len(own.engine_ids("server")) == 1

    assert (await client.count("c")).count == 2000


async def test_more_collections_than_writers_are_written_at_the_same_time(tmp_path: Path) -> None:
    vectors = clustered(600, SIZE)

    async def fill(client: AsyncQdrantClient, name: str) -> None:
        await create(client, name)
        await upsert(client, name, vectors, batch=100)
        await settled(client, name)
        assert (await client.count(name)).count == 600

    async with running_qdrant(tmp_path / "data", "--writers", "2") as server:
        client = server.client()
        async with asyncio.timeout(100):
            await asyncio.gather(*(fill(client, f"c{number}") for number in range(5)))
        assert len(server.engine_ids("writer")) <= 2
        await client.close()


async def test_writes_are_refused_before_the_disk_is_full_and_reads_go_on(tmp_path: Path) -> None:
    vectors = clustered(10, SIZE)
    await left_settled(tmp_path / "data", "c", vectors)
    async with running_qdrant(tmp_path / "data", "--min-free-mb", str(2**40)) as server:
        client = server.client()
        point = models.PointStruct(id=99, vector=[1.0] * SIZE)
        with pytest.raises(Exception, match="disk space"):
            await client.upsert("c", [point], wait=True)
        with pytest.raises(Exception, match="disk space"):
            await create(client, "d")
        assert await ids_of(client, "c") == list(range(10))
        assert await status(client, "c") is GREEN
        assert not await client.collection_exists("d")
        await client.close()


@pytest.mark.parametrize("harm", ["engine", "truncated", "meta"])
async def test_a_damaged_collection_affects_only_itself_and_can_be_deleted(tmp_path: Path, harm: str) -> None:
    vectors = clustered(1500, SIZE)
    async with running_qdrant(tmp_path / "data") as server:
        client = server.client()
        for name in ("good", "bad"):
            await create(client, name)
            await upsert(client, name, vectors)
            await settled(client, name)
        await client.close()
    folder = tmp_path / "data" / "collections" / "bad"
    if harm == "meta":
        (folder / "meta.json").write_text('{"collection_name"')
    elif harm == "engine":
        for file in (folder / "shard" / "segments").rglob("segment.json"):
            file.write_text("{")
    else:
        for file in (folder / "shard" / "segments").rglob("*.da*"):
            os.truncate(file, 0)

    async with running_qdrant(tmp_path / "data") as server:
        client = server.client()
        for _ in range(3):
            code = await refusal(client.query_points("bad", query=vectors[0].tolist()))
            assert code in {grpc.StatusCode.DATA_LOSS, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL}
            async with asyncio.timeout(PATIENCE):
                found = await client.query_points("good", query=vectors[4].tolist(), limit=1)
            assert [point.id for point in found.points] == [4]
        if harm != "truncated":
            assert await status(client, "bad") is RED
        assert await client.delete_collection("bad")
        await create(client, "bad")
        assert (await client.count("bad")).count == 0
        await client.close()


async def test_what_a_crash_left_half_made_or_half_removed_is_swept(tmp_path: Path) -> None:
    for folder in ("staging", "trash"):
        (tmp_path / "data" / folder / "leftover" / "shard").mkdir(parents=True)
    async with running_qdrant(tmp_path / "data") as server:
        client = server.client()
        assert (await client.get_collections()).collections == []
        await client.close()
    assert not any((tmp_path / "data" / "staging").iterdir())
    assert not any((tmp_path / "data" / "trash").iterdir())


async def start_and_fail(*arguments: str) -> tuple[int, list[str]]:
    """Exit code and lines on standard error of a server that is expected not to start."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "local_qdrant", *arguments),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE):
        _, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, errors.decode().splitlines()


async def test_a_second_process_on_the_same_data_is_told_so_in_one_line(own: QdrantProcess, tmp_path: Path) -> None:
    code, lines = await start_and_fail("--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0")
    assert code != 0
    assert len(lines) == 1
    assert "in use" in lines[0]


async def test_a_taken_port_is_told_in_one_line(own: QdrantProcess, tmp_path: Path) -> None:
    address = f"{own.host}:{own.grpc_port}"
    code, lines = await start_and_fail("--data", str(tmp_path / "other"), "--listen", address)
    assert code != 0
    assert address in lines[-1]


async def test_a_data_directory_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, lines = await start_and_fail("--data", str(tmp_path / "file"), "--listen", "127.0.0.1:0")
    assert code != 0
    assert len(lines) == 1


async def test_a_caller_that_goes_away_during_a_change_of_process_harms_nobody(
    own: QdrantProcess, client: AsyncQdrantClient
) -> None:
    await create(client, "c")
    vectors = clustered(200, SIZE)
    random = np.random.default_rng(0)
    for _ in range(10):
        calls = [
            asyncio.create_task(upsert(client, "c", vectors)),
            asyncio.create_task(client.count("c")),
            asyncio.create_task(client.get_collection("c")),
        ]
        await asyncio.sleep(float(random.uniform(0.0, 0.15)))
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
    await upsert(client, "c", vectors)
    await settled(client, "c")
    assert await ids_of(client, "c") == list(range(200))
