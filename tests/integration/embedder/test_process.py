# ruff: noqa: ASYNC240 - files of /proc and of the test itself
"""The embedder as a process: how it starts, what it costs, how it ends."""

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from similis.embedder.v1 import embedder_pb2 as pb

from embedder.canary import cosine
from servicekit.grpc.channel import open_channel
from tests.eventually import eventually
from tests.integration.embedder_process import MODEL_CACHE, running_embedder
from tests.processes import gone
from tests.unit.embedder.backbones.checkpoints import save_checkpoint
from tests.unit.embedder.decoding.photographs import NAMES, encoded, photograph

IMAGE = encoded(photograph().resize((300, 300)), "JPEG")
SERVICE = "similis.embedder.v1.EmbedderService"
GRACE_SECONDS = 60.0


async def failed_start(**settings: str) -> tuple[int, str]:
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


@pytest.mark.parametrize("backbone", ["/no/such/folder", "nonsense", "facebook/dinov2-base"])
async def test_a_wrong_backbone_ends_the_start_with_one_line(backbone: str) -> None:
    status, said = await failed_start(backbone=backbone)
    assert status == 1
    lines = said.strip().splitlines()
    assert len(lines) == 1
    assert backbone in lines[0]
    assert "Traceback" not in said


async def test_a_wrong_setting_is_named() -> None:
    status, said = await failed_start(workers="many")
    assert status == 78
    assert "SIMILIS_WORKERS" in said


async def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    status, said = await failed_start(model_cache=str(blocked / "cache"))
    assert status == 1
    assert "model cache" in said


async def test_a_second_start_is_quick_small_and_without_torch() -> None:
    async with running_embedder(workers="2"):
        pass
    async with running_embedder(workers="2") as running:
        await running.all_ready(3)
        async with open_channel(running.target) as channel:
            await running.stub(channel).Embed(pb.EmbedRequest(image=IMAGE))
        family = [running.process.pid, *running.workers()]
        # The processor's time and not the clock's: what else runs on the machine is not ours.
        assert sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in family) < 5
        assert sum(anonymous_bytes(pid) for pid in family) < 450 << 20
        assert not any("libtorch" in Path(f"/proc/{pid}/maps").read_text() for pid in family)


def anonymous_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


async def test_a_damaged_converted_model_is_made_anew(tmp_path: Path) -> None:
    async with running_embedder(tmp_path, workers="1"):
        pass
    model = next(tmp_path.glob("*/model.onnx"))
    model.write_bytes(model.read_bytes()[:1000])
    async with running_embedder(tmp_path, workers="1") as running:
        assert running.description.dimension == 1280
    assert [path.name for path in tmp_path.iterdir()] == [model.parent.name]


async def test_workers_end_with_a_front_process_that_is_killed() -> None:
    async with running_embedder(workers="2") as running:
        await eventually(lambda: len(running.workers()) == 3)
        workers = [psutil.Process(pid) for pid in running.workers()]
        running.process.kill()
        await running.process.wait()
        await eventually(lambda: gone(workers))


async def test_it_is_not_serving_while_no_worker_lives_and_serving_again_after() -> None:
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
        # A worker that is stopped is there and does not work.
        worker = running.workers()[0]
        os.kill(worker, signal.SIGSTOP)
        await becomes(not_serving)
        os.kill(worker, signal.SIGCONT)
        await becomes(serving)
        watch.cancel()


async def test_an_image_that_kills_its_worker_twice_fails_alone() -> None:
    async with (
        # Stopped, it is killed after so long and a second more; the one that comes after it has as long.
        running_embedder(workers="1", interactive_workers="0", item_seconds="5") as running,
        open_channel(running.target) as channel,
    ):
        stub = running.stub(channel)
        os.kill(running.workers()[0], signal.SIGSTOP)
        held = asyncio.create_task(_embed(stub))
        first = running.workers()[0]
        await eventually(lambda: first not in running.workers() and len(running.workers()) == 1)
        await held
        answer = await stub.Embed(pb.EmbedRequest(image=IMAGE))
        assert len(answer.vector) == 5120


async def _embed(stub: object) -> None:
    answer = await stub.Embed(pb.EmbedRequest(image=IMAGE), timeout=30)  # type: ignore[attr-defined]
    assert len(answer.vector) == 5120


async def test_workers_are_replaced_by_age_without_a_gap() -> None:
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
            # Until the last of them is so old, however the images are dealt out.
            while sent < 120 or first & set(running.workers()):
                yield pb.EmbedStreamRequest(item_id=sent, image=IMAGE)
                sent += 1

        async with asyncio.timeout(60):
            answers = [response async for response in running.stub(channel).EmbedStream(requests())]
        assert len(answers) == sent
        assert all(response.HasField("embedding") for response in answers)


async def test_bulk_workers_step_back_for_the_one_that_only_searches_use() -> None:
    own = psutil.Process().nice()
    bulk = min(own + 10, 19)
    async with (
        running_embedder(workers="2", canary_seconds="600") as running,
        open_channel(running.target) as channel,
    ):
        await running.all_ready(3)
        assert sorted(psutil.Process(pid).nice() for pid in running.workers()) == [own, bulk, bulk]
        reserved = next(one for one in map(psutil.Process, running.workers()) if one.nice() == own)
        stub = running.stub(channel)

        async def requests() -> AsyncIterator[pb.EmbedStreamRequest]:
            for number in range(100):
                yield pb.EmbedStreamRequest(item_id=number, image=IMAGE)

        # Stopped, it would keep what it was given, and be killed for its silence.
        reserved.suspend()
        assert len([response async for response in stub.EmbedStream(requests())]) == 100
        reserved.resume()
        assert reserved.pid in running.workers()
        used = cpu_seconds(running.workers())
        for _ in range(40):
            await stub.Embed(pb.EmbedRequest(image=IMAGE))
        spent = {pid: seconds - used[pid] for pid, seconds in cpu_seconds(running.workers()).items()}
        assert spent[reserved.pid] > sum(spent.values()) / 2


def cpu_seconds(pids: list[int]) -> dict[int, float]:
    return {pid: sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids}


async def test_a_stop_lets_calls_under_way_finish() -> None:
    # Long enough for workers that are stopped for a while.
    settings = {"workers": "1", "interactive_workers": "0", "item_seconds": "60"}
    async with running_embedder(**settings) as running, open_channel(running.target) as channel:
        (worker,) = map(psutil.Process, running.workers())
        worker.suspend()
        calls = [asyncio.create_task(_embed(running.stub(channel))) for _ in range(8)]
        # Two of them are with the worker, and the others wait.
        await eventually(lambda: running.queued("interactive") == 6)
        running.process.send_signal(signal.SIGTERM)
        worker.resume()
        assert await asyncio.gather(*calls) == [None] * 8
        assert await running.process.wait() == 0


async def test_a_stop_ends_streams_as_soon_as_what_they_took_up_is_answered() -> None:
    async with (
        running_embedder(workers="1", stream_in_flight="4", shutdown_grace_seconds=str(GRACE_SECONDS)) as embedder,
        open_channel(embedder.target) as channel,
    ):

        async def requests() -> AsyncIterator[pb.EmbedStreamRequest]:
            for number in itertools.count():
                yield pb.EmbedStreamRequest(item_id=number, image=IMAGE)

        stream = embedder.stub(channel).EmbedStream(requests())
        for _ in range(8):
            assert (await stream.read()).WhichOneof("outcome") == "embedding"
        embedder.process.send_signal(signal.SIGTERM)
        # Well within the grace period, which streams that are fed for hours would use up.
        async with asyncio.timeout(GRACE_SECONDS / 2):
            while (answer := await stream.read()) is not grpc.aio.EOF:
                assert answer.WhichOneof("outcome") == "embedding"
            assert await stream.code() is grpc.StatusCode.OK
            assert await embedder.process.wait() == 0


async def test_decoding_and_inference_in_stages_give_the_same_vectors(tmp_path: Path) -> None:
    """How a GPU is used, shown on the processor: shared memory, batches, views, bad images, a killed engine."""
    images = [encoded(photograph(name).resize((300, 280)), "JPEG") for name in NAMES] * 10
    images[5] = images[5][:200]
    fused, staged = await embedded(images), await embedded(images, pipeline="staged", max_batch="32")
    assert fused[5].error.code == staged[5].error.code == "decode_error"
    for number in set(range(len(images))) - {5}:
        one, other = fused[number].embedding, staged[number].embedding
        assert len(other.views) == len(one.views) == 2
        for a, b in zip((one.vector, *one.views), (other.vector, *other.views), strict=True):
            assert cosine(np.frombuffer(a, "<f4"), np.frombuffer(b, "<f4")) > 0.9999


async def embedded(images: list[bytes], **settings: str) -> dict[int, pb.EmbedStreamResponse]:
    """The outcomes of a stream during which one of the workers is killed."""
    async with running_embedder(**settings) as running, open_channel(running.target) as channel:

        async def requests() -> AsyncIterator[pb.EmbedStreamRequest]:
            for number, image in enumerate(images):
                yield pb.EmbedStreamRequest(item_id=number, image=image, views=pb.Views(count=2, seed=1))

        found = {}
        async for response in running.stub(channel).EmbedStream(requests()):
            if not found:
                os.kill(running.workers()[0], signal.SIGKILL)
            found[response.item_id] = response
        assert len(found) == len(images)
        assert len((await running.stub(channel).Embed(pb.EmbedRequest(image=images[0]))).vector) == 5120
        return found


async def test_a_checkpoint_of_transformers_is_served(tmp_path: Path) -> None:
    folder = save_checkpoint("clip", tmp_path / "model")
    async with (
        running_embedder(tmp_path / "cache", backbone=str(folder), workers="1") as running,
        open_channel(running.target) as channel,
    ):
        assert (running.description.dimension, running.description.pooling) == (24, "projection")
        answer = await running.stub(channel).Embed(pb.EmbedRequest(image=IMAGE))
        assert len(answer.vector) == 4 * 24
