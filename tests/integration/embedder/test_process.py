# ruff: noqa: ASYNC240 - files of /proc and of the test itself
"""The embedder as a process: its start, its resources, its workers and its end."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image
from similis.embedder.v1 import embedder_pb2 as pb

from embedder.canary import cosine
from servicekit.grpc.channel import open_channel
from servicekit.grpc.status import from_rpc_error
from tests.eventually import eventually
from tests.hostile_images import costly
from tests.integration.embedder.models.checkpoints import save_checkpoint
from tests.integration.embedder_process import MODEL_CACHE, running_embedder
from tests.processes import gone
from tests.unit.embedder.decoding.photographs import NAMES, encoded, photograph

if TYPE_CHECKING:
    from similis.embedder.v1.embedder_pb2_grpc import EmbedderServiceAsyncStub

IMAGE = encoded(photograph().resize((300, 300)), "JPEG")
SERVICE = "similis.embedder.v1.EmbedderService"
GRACE_SECONDS = 60.0
VECTOR_BYTES = 1280 * 4
# The CPU time of a whole start, in that of one process that imports what all four processes need.
MOST_IMPORTS = 20


async def failed_start(**settings: str) -> tuple[int, str]:
    """Start an embedder that exits, and return its exit status and standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "embedder"),
        stderr=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "SIMILIS_LISTEN": "127.0.0.1:0",
            "SIMILIS_MODEL_CACHE": str(MODEL_CACHE),
            "HF_HUB_OFFLINE": "1",
            **{f"SIMILIS_{name.upper()}": value for name, value in settings.items()},
        },
    )
    async with asyncio.timeout(60):
        _, stderr = await process.communicate()
    return process.returncode or 0, stderr.decode()


async def endless_requests() -> AsyncIterator[pb.EmbedStreamRequest]:
    for number in itertools.count():
        yield pb.EmbedStreamRequest(item_id=number, image=IMAGE)


async def embed(stub: "EmbedderServiceAsyncStub") -> None:
    answer = await stub.Embed(pb.EmbedRequest(image=IMAGE), timeout=GRACE_SECONDS)
    assert len(answer.vector) == VECTOR_BYTES


async def refusal(stub: "EmbedderServiceAsyncStub", image: bytes) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Embed(pb.EmbedRequest(image=image), timeout=2 * GRACE_SECONDS)
    return from_rpc_error(refused.value, upstream="embedder").code


def cpu_seconds(pids: list[int]) -> dict[int, float]:
    return {pid: sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids}


def anonymous_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


@pytest.mark.parametrize("backbone", ["/no/such/folder", "nonsense", "facebook/dinov2-base"])
async def test_a_wrong_backbone_stops_the_start_with_a_one_line_error(backbone: str) -> None:
    status, stderr = await failed_start(backbone=backbone)
    assert status == 78
    lines = stderr.strip().splitlines()
    assert len(lines) == 1
    assert backbone in lines[0]
    assert "Traceback" not in stderr


async def test_an_error_names_the_wrong_setting() -> None:
    status, stderr = await failed_start(workers="many")
    assert status == 78
    assert "SIMILIS_WORKERS" in stderr


async def test_a_cache_that_is_not_writable_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    status, stderr = await failed_start(model_cache=str(blocked / "cache"))
    assert status == 1
    assert str(blocked) in stderr


def import_seconds() -> float:
    """Return the CPU time that one process takes to import what every process of an embedder needs."""
    before = os.times()
    subprocess.run([sys.executable, "-c", "import grpc.aio, numpy, openvino, PIL.Image"], check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


async def test_a_second_start_is_fast_uses_little_memory_and_loads_no_torch() -> None:
    async with running_embedder(workers="1", interactive_workers="0"):
        pass
    reference = await asyncio.to_thread(import_seconds)
    async with running_embedder(workers="2", interactive_workers="2") as running:
        await running.all_ready(4)
        async with open_channel(running.target) as channel:
            await running.stub(channel).Embed(pb.EmbedRequest(image=IMAGE))
        family = [running.process.pid, *running.workers()]
        # CPU time, because other programs slow the clock down; in imports, because machines differ in speed.
        assert sum(cpu_seconds(family).values()) < MOST_IMPORTS * reference
        assert sum(anonymous_bytes(pid) for pid in family) < 600 << 20
        assert not any("libtorch" in Path(f"/proc/{pid}/maps").read_text() for pid in family)


async def test_a_damaged_converted_model_is_replaced(tmp_path: Path) -> None:
    async with running_embedder(model_cache=tmp_path, workers="1"):
        pass
    model = next(tmp_path.glob("*/model.onnx"))
    model.write_bytes(model.read_bytes()[:1000])
    async with running_embedder(model_cache=tmp_path, workers="1") as running:
        assert running.description.dimension == 1280
    assert [path.name for path in tmp_path.iterdir()] == [model.parent.name]


async def test_workers_do_not_outlive_an_embedder_that_is_killed() -> None:
    async with running_embedder(workers="2", interactive_workers="1") as running:
        await eventually(lambda: len(running.workers()) == 3)
        workers = [psutil.Process(pid) for pid in running.workers()]
        running.process.kill()
        await running.process.wait()
        await eventually(lambda: gone(workers))


async def test_an_embedder_whose_worker_hangs_is_not_serving_until_it_works_again() -> None:
    async with (
        running_embedder(workers="1", interactive_workers="0", canary_seconds="2") as running,
        open_channel(running.target) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING

        async def becomes(status: int) -> None:
            async with asyncio.timeout(60):
                while (await watch.read()).status != status:
                    pass

        await becomes(serving)
        worker = running.workers()[0]
        os.kill(worker, signal.SIGSTOP)
        await becomes(not_serving)
        os.kill(worker, signal.SIGCONT)
        await becomes(serving)
        watch.cancel()


async def test_an_image_whose_worker_hangs_is_embedded_by_the_next_one() -> None:
    async with (
        running_embedder(workers="1", interactive_workers="0", item_seconds="5") as running,
        open_channel(running.target) as channel,
    ):
        stub = running.stub(channel)
        hanging = running.workers()[0]
        os.kill(hanging, signal.SIGSTOP)
        embedding = asyncio.create_task(embed(stub))
        await eventually(lambda: hanging not in running.workers() and len(running.workers()) == 1)
        await embedding
        await embed(stub)


async def test_an_image_that_takes_too_long_ends_one_worker_and_delays_no_other_image() -> None:
    slow = costly.jpeg_of_scans(1000, hidden=True)
    async with (
        running_embedder(workers="1", interactive_workers="1", image_cpu_seconds="0.2", item_seconds="60") as running,
        open_channel(running.target) as channel,
    ):
        await running.all_ready(2)
        stub = running.stub(channel)
        refusals = [asyncio.create_task(refusal(stub, slow)) for _ in range(2)]
        await asyncio.gather(*(embed(stub) for _ in range(10)))
        assert await asyncio.gather(*refusals) == ["image_too_slow"] * 2
        # Each was decoded once, and none of the images that waited behind them was taken for the cause.
        assert running.workers_ended("slow") == 2
        assert running.workers_ended("died") == 0
        await running.all_ready(2)
        await embed(stub)


async def test_old_workers_are_replaced_without_an_interruption() -> None:
    async with (
        running_embedder(workers="2", interactive_workers="0", worker_images="20") as running,
        open_channel(running.target) as channel,
    ):
        await running.all_ready(2)
        first = set(running.workers())
        assert len(first) == 2
        sent = 0

        async def requests() -> AsyncIterator[pb.EmbedStreamRequest]:
            nonlocal sent
            # Until both workers are replaced, however the images are distributed.
            while sent < 60 or first & set(running.workers()):
                yield pb.EmbedStreamRequest(item_id=sent, image=IMAGE)
                sent += 1

        async with asyncio.timeout(60):
            answers = [response async for response in running.stub(channel).EmbedStream(requests())]
        assert len(answers) == sent
        assert all(response.HasField("embedding") for response in answers)


async def test_bulk_workers_have_a_lower_priority_than_those_for_searches() -> None:
    own = psutil.Process().nice()
    bulk = min(own + 10, 19)
    async with (
        running_embedder(workers="2", interactive_workers="2", canary_seconds="600") as running,
        open_channel(running.target) as channel,
    ):
        await running.all_ready(4)
        assert sorted(psutil.Process(pid).nice() for pid in running.workers()) == [own, own, bulk, bulk]
        reserved = [one for one in map(psutil.Process, running.workers()) if one.nice() == own]
        stub = running.stub(channel)

        async def requests() -> AsyncIterator[pb.EmbedStreamRequest]:
            for number in range(100):
                yield pb.EmbedStreamRequest(item_id=number, image=IMAGE)

        # If one of the stopped workers got a bulk image, it would never answer and be killed.
        for worker in reserved:
            worker.suspend()
        assert len([response async for response in stub.EmbedStream(requests())]) == 100
        for worker in reserved:
            worker.resume()
        assert {worker.pid for worker in reserved} < set(running.workers())
        before = cpu_seconds(running.workers())
        for _ in range(40):
            await stub.Embed(pb.EmbedRequest(image=IMAGE))
        spent = {pid: seconds - before[pid] for pid, seconds in cpu_seconds(running.workers()).items()}
        assert sum(spent[worker.pid] for worker in reserved) > sum(spent.values()) / 2


async def test_calls_in_progress_finish_when_the_embedder_stops() -> None:
    # The worker is stopped for a while, and must not be killed for its silence.
    async with (
        running_embedder(workers="1", interactive_workers="0", item_seconds="60") as running,
        open_channel(running.target) as channel,
    ):
        (worker,) = map(psutil.Process, running.workers())
        worker.suspend()
        calls = [asyncio.create_task(embed(running.stub(channel))) for _ in range(8)]
        # The worker has two of the images.
        await eventually(lambda: running.queued("interactive") == 6)
        running.process.send_signal(signal.SIGTERM)
        worker.resume()
        assert await asyncio.gather(*calls) == [None] * 8
        assert await running.process.wait() == 0


async def test_streams_end_when_the_embedder_stops_and_their_accepted_images_are_answered() -> None:
    async with (
        running_embedder(workers="1", stream_in_flight="4", shutdown_grace_seconds=str(GRACE_SECONDS)) as running,
        open_channel(running.target) as channel,
    ):
        stream = running.stub(channel).EmbedStream(endless_requests())
        responses = aiter(stream)
        for _ in range(8):
            assert (await anext(responses)).HasField("embedding")
        running.process.send_signal(signal.SIGTERM)
        # A stream that did not end would use up the grace period.
        async with asyncio.timeout(GRACE_SECONDS / 2):
            async for response in responses:
                assert response.HasField("embedding")
            assert await stream.code() is grpc.StatusCode.OK
            assert await running.process.wait() == 0


async def test_the_staged_pipeline_returns_the_same_vectors() -> None:
    """The staged pipeline is for GPUs. Its shared memory, batches and retries work the same on a CPU."""
    images = [encoded(photograph(name).resize((300, 280)), "JPEG") for name in NAMES] * 10
    images[5] = images[5][:200]
    images[6] = images[6][:-2]
    fused = await embed_while_a_worker_dies(images, pipeline="fused")
    staged = await embed_while_a_worker_dies(images, pipeline="staged")
    assert fused[5].error.code == staged[5].error.code == "decode_error"
    warned = [[number for number, one in found.items() if one.embedding.warnings] for found in (fused, staged)]
    assert warned == [[6], [6]]
    for number in set(range(len(images))) - {5}:
        one, other = fused[number].embedding, staged[number].embedding
        assert len(other.views) == len(one.views) == 2
        assert one.miniature == other.miniature
        assert one.HasField("miniature") == other.HasField("miniature") == (number != 7)
        assert (one.miniature.width, len(one.miniature.pixels)) == ((0, 0) if number == 7 else (32, 32 * 30))
        for a, b in zip((one.vector, *one.views), (other.vector, *other.views), strict=True):
            assert cosine(np.frombuffer(a, "<f4"), np.frombuffer(b, "<f4")) > 0.9999


async def embed_while_a_worker_dies(images: list[bytes], *, pipeline: str) -> dict[int, pb.EmbedStreamResponse]:
    """Return the responses of a stream during which one of the workers is killed."""
    async with running_embedder(pipeline=pipeline, max_batch="32") as running, open_channel(running.target) as channel:

        async def requests() -> AsyncIterator[pb.EmbedStreamRequest]:
            for number, image in enumerate(images):
                yield pb.EmbedStreamRequest(
                    item_id=number, image=image, views=pb.Views(count=2, seed=1), miniature=number != 7
                )

        found: dict[int, pb.EmbedStreamResponse] = {}
        async for response in running.stub(channel).EmbedStream(requests()):
            if not found:
                os.kill(running.workers()[0], signal.SIGKILL)
            found[response.item_id] = response
        assert len(found) == len(images)
        await embed(running.stub(channel))
        return found


async def test_an_image_of_more_than_20_mib_is_embedded_if_the_limit_is_raised() -> None:
    image = Image.linear_gradient("L").convert("RGB").resize((3200, 3300))
    data = encoded(image, "BMP")
    assert len(data) > 30 << 20
    async with (
        running_embedder(workers="1", interactive_workers="0", max_image_bytes=str(40 << 20)) as running,
        open_channel(running.target) as channel,
    ):
        assert running.description.max_image_bytes == 40 << 20
        single = await running.stub(channel).Embed(pb.EmbedRequest(image=data))
        assert len(single.vector) == 4 * 1280

        async def requests() -> AsyncIterator[pb.EmbedStreamRequest]:
            for number in range(2):
                yield pb.EmbedStreamRequest(item_id=number, image=data)

        streamed = [response async for response in running.stub(channel).EmbedStream(requests())]
    assert [response.WhichOneof("outcome") for response in streamed] == ["embedding", "embedding"]


async def test_a_transformers_checkpoint_is_served(tmp_path: Path) -> None:
    folder = save_checkpoint("clip", tmp_path / "model")
    async with (
        running_embedder(model_cache=tmp_path / "cache", backbone=str(folder), workers="1") as running,
        open_channel(running.target) as channel,
    ):
        assert (running.description.dimension, running.description.pooling) == (24, "projection")
        answer = await running.stub(channel).Embed(pb.EmbedRequest(image=IMAGE))
        assert len(answer.vector) == 4 * 24
