"""The server process: starting, stopping, dying, and data that is damaged or does not fit on the disk."""

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

import grpc
import pytest
from qdrant_client import AsyncQdrantClient, models

from tests.integration.local_qdrant.indexed import SIZE, create, leave_settled
from tests.integration.local_qdrant.vectors import clustered, ids_of, nearest, upsert
from tests.integration.local_qdrant.waiting import (
    PATIENCE_SECONDS,
    PROMPT_SECONDS,
    engines_gone,
    honest_status,
    refusal,
    settled,
    status,
    succeeds,
    writers_gone,
)
from tests.integration.qdrant_process import QdrantProcess, engine_processes, qdrant_health, running_qdrant

GREEN, RED = models.CollectionStatus.GREEN, models.CollectionStatus.RED
VECTORS = clustered(1500, SIZE)


async def test_it_listens_on_a_unix_socket(tmp_path: Path) -> None:
    async with running_qdrant(tmp_path / "data", listen=f"unix:{tmp_path}/q.sock") as server:
        assert (await qdrant_health(server.address)).title.startswith("qdrant")


async def test_a_reader_that_dies_is_back_on_the_next_search(server: QdrantProcess, own: AsyncQdrantClient) -> None:
    vectors = clustered(500, SIZE)
    for name in ("one", "two"):
        await create(own, name)
        await upsert(own, name, vectors)
        await settled(own, name)
    await writers_gone(server)

    for _ in range(4):
        for pid in server.engine_ids("reader"):
            os.kill(pid, signal.SIGKILL)
        for name in ("one", "two"):
            query = vectors[9].tolist()
            async with asyncio.timeout(PROMPT_SECONDS):
                while not await succeeds(own.query_points(name, query=query, limit=3)):
                    pass
            found = await own.query_points(name, query=query, limit=3)
            assert [point.id for point in found.points] == nearest(vectors, vectors[9], 3)


async def test_a_killed_router_takes_its_engines_along_and_loses_nothing(tmp_path: Path) -> None:
    vectors = clustered(3000, SIZE)
    async with running_qdrant(tmp_path / "data") as server:
        client = server.client()
        await create(client, "settled")
        await upsert(client, "settled", vectors[:1000])
        await settled(client, "settled")
        await create(client, "unsettled", ef_construct=500)
        await upsert(client, "unsettled", vectors, size=1000)
        server.process.kill()
        await server.process.wait()
        await engines_gone(server.process.pid)
        await client.close()

    async with running_qdrant(tmp_path / "data") as server:
        client = server.client()
        assert await status(client, "settled") is GREEN
        await honest_status(client, "unsettled")
        assert await ids_of(client, "unsettled") == list(range(3000))
        await settled(client, "unsettled")
        assert (await client.get_collection("unsettled")).indexed_vectors_count == 3000
        assert (await client.count("settled")).count == 1000
        await client.close()


async def test_sigterm_ends_all_processes_and_keeps_the_data(tmp_path: Path) -> None:
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


async def test_writes_are_refused_before_the_disk_is_full_and_reads_go_on(tmp_path: Path) -> None:
    vectors = clustered(10, SIZE)
    await leave_settled(tmp_path / "data", vectors, "c")
    async with running_qdrant(tmp_path / "data", "--min-free-mb", str(2**40)) as server:
        client = server.client()
        point = models.PointStruct(id=99, vector=[1.0] * SIZE)
        assert await refusal(client.upsert("c", [point], wait=True)) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await refusal(create(client, "d")) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await ids_of(client, "c") == list(range(10))
        assert await status(client, "c") is GREEN
        assert not await client.collection_exists("d")
        await client.close()


@pytest.fixture(scope="module")
def two_collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with two settled collections, to copy."""
    data = tmp_path_factory.mktemp("two") / "data"
    asyncio.run(leave_settled(data, VECTORS, "good", "bad"))
    return data


@pytest.mark.parametrize("harm", ["engine", "truncated", "meta"])
async def test_a_damaged_collection_harms_no_other_and_can_be_deleted(
    tmp_path: Path, two_collections: Path, harm: str
) -> None:
    shutil.copytree(two_collections, tmp_path / "data")
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
            code = await refusal(client.query_points("bad", query=VECTORS[0].tolist()))
            assert code in {grpc.StatusCode.DATA_LOSS, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL}
            async with asyncio.timeout(PATIENCE_SECONDS):
                found = await client.query_points("good", query=VECTORS[4].tolist(), limit=1)
            assert [point.id for point in found.points] == [4]
        if harm != "truncated":
            assert await status(client, "bad") is RED
        assert await client.delete_collection("bad")
        await create(client, "bad")
        assert (await client.count("bad")).count == 0
        await client.close()


async def test_half_created_and_half_deleted_collections_are_removed_at_start(tmp_path: Path) -> None:
    for folder in ("staging", "trash"):
        (tmp_path / "data" / folder / "leftover" / "shard").mkdir(parents=True)
    async with running_qdrant(tmp_path / "data") as server:
        client = server.client()
        assert (await client.get_collections()).collections == []
        await client.close()
    assert not any((tmp_path / "data" / "staging").iterdir())
    assert not any((tmp_path / "data" / "trash").iterdir())


async def start_and_fail(*arguments: str) -> tuple[int, list[str]]:
    """Return the exit status and the lines on standard error of a server that cannot start."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "local_qdrant", *arguments),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        _, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, errors.decode().splitlines()


async def test_a_data_directory_in_use_is_reported_in_one_line(server: QdrantProcess, tmp_path: Path) -> None:
    code, lines = await start_and_fail("--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0")
    assert code == 1
    assert len(lines) == 1
    assert "in use" in lines[0]


async def test_a_port_in_use_is_reported_in_one_line(server: QdrantProcess, tmp_path: Path) -> None:
    address = f"{server.host}:{server.grpc_port}"
    code, lines = await start_and_fail("--data", str(tmp_path / "other"), "--listen", address)
    assert code == 1
    assert address in lines[-1]


async def test_a_data_directory_that_cannot_be_created_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, lines = await start_and_fail("--data", str(tmp_path / "file"), "--listen", "127.0.0.1:0")
    assert code == 1
    assert len(lines) == 1
