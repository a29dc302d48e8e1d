"""What a caller of the embedder sees, against the real service."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Iterable

import grpc
import numpy as np
import psutil
import pytest
from PIL import Image
from similis.embedder.v1 import embedder_pb2 as pb

from servicekit.grpc.status import from_rpc_error
from tests.eventually import eventually
from tests.integration.embedder_process import RunningEmbedder
from tests.unit.embedder.decoding import hostile_files
from tests.unit.embedder.decoding.photographs import NAMES, encoded, photograph

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = {**hostile_files.TOO_LARGE, **hostile_files.NO_IMAGE, **hostile_files.DAMAGED}
EXPECTED = {
    **dict.fromkeys(hostile_files.TOO_LARGE, ("image_too_large",)),
    **dict.fromkeys(hostile_files.NO_IMAGE, ("not_an_image",)),
    **dict.fromkeys(hostile_files.DAMAGED, ("decode_error", "not_an_image")),
}


def photographs(count: int) -> list[bytes]:
    """JPEGs, each another crop."""
    images = []
    for index in range(count):
        whole = photograph(NAMES[index % len(NAMES)])
        side = min(whole.size)
        crop = whole.crop((index % 17, index % 13, side - index % 11, side - index % 7))
        images.append(encoded(crop.resize((300, 280)), "JPEG", quality=90))
    return images


def vector(data: bytes) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    return np.frombuffer(data, "<f4")


def cosine(a: bytes, b: bytes) -> float:
    first, second = vector(a), vector(b)
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


async def requests(images: Iterable[bytes], **fields: object) -> AsyncIterator[pb.EmbedStreamRequest]:
    for number, image in enumerate(images):
        yield pb.EmbedStreamRequest(item_id=number, image=image, **fields)  # type: ignore[arg-type]


async def refusal(embedder: RunningEmbedder, channel: grpc.aio.Channel, image: bytes) -> tuple[str, grpc.StatusCode]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await embedder.stub(channel).Embed(pb.EmbedRequest(image=image))
    return from_rpc_error(refused.value, upstream="embedder").code, refused.value.code()


async def ended_stream(embedder: RunningEmbedder, channel: grpc.aio.Channel, **fields: object) -> str:
    """The code of a stream that is refused while its caller is still sending."""
    stream = embedder.stub(channel).EmbedStream(requests(photographs(30), **fields))
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await stream.read()
    return from_rpc_error(ended.value, upstream="embedder").code


async def test_describe_says_what_is_served(embedder: RunningEmbedder) -> None:
    served = embedder.description
    assert (served.backbone, served.dimension, served.device) == ("efficientnet-lite0", 1280, "cpu")
    assert (served.engine, served.pooling, len(served.checksum)) == ("openvino", "pooled", 64)


async def test_an_image_gives_one_vector_however_it_is_asked_for(
    embedder: RunningEmbedder, channel: grpc.aio.Channel
) -> None:
    image = photographs(1)[0]
    stub = embedder.stub(channel)
    single = await stub.Embed(pb.EmbedRequest(image=image, backbone_checksum=embedder.description.checksum))
    assert single.backbone_checksum == embedder.description.checksum
    assert len(single.vector) == 4 * embedder.description.dimension
    async for response in stub.EmbedStream(requests([image, image])):
        assert cosine(response.embedding.vector, single.vector) > 0.99999


async def test_another_backbone_is_refused(embedder: RunningEmbedder, channel: grpc.aio.Channel) -> None:
    stub = embedder.stub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Embed(pb.EmbedRequest(image=photographs(1)[0], backbone_checksum="another"))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert from_rpc_error(refused.value, upstream="embedder").code == "backbone_changed"
    assert await ended_stream(embedder, channel, backbone_checksum="another") == "backbone_changed"


async def test_one_bad_image_among_64_costs_itself(embedder: RunningEmbedder, channel: grpc.aio.Channel) -> None:
    images = photographs(64)
    stub = embedder.stub(channel)
    images[31] = images[31][:500]
    found = {response.item_id: response async for response in stub.EmbedStream(requests(images))}
    assert sorted(found) == list(range(64))
    assert found[31].error.code == "decode_error"
    for number in set(range(64)) - {31}:
        single = await stub.Embed(pb.EmbedRequest(image=images[number]))
        assert cosine(found[number].embedding.vector, single.vector) > 0.9999


async def test_views_come_from_the_image_and_repeat_with_the_seed(
    embedder: RunningEmbedder, channel: grpc.aio.Channel
) -> None:
    stub = embedder.stub(channel)
    images = photographs(2)

    async def views(seed: int, count: int) -> list[bytes]:
        asked = requests(images[:1], views=pb.Views(count=count, seed=seed))
        return [view async for response in stub.EmbedStream(asked) for view in response.embedding.views]

    first = await views(7, 3)
    assert len(first) == 3
    assert len(set(first)) == 3
    assert all(cosine(a, b) > 0.99999 for a, b in zip(first, await views(7, 3), strict=True))
    assert all(cosine(a, b) < 0.9999 for a, b in zip(first, await views(8, 3), strict=True))
    single = await stub.Embed(pb.EmbedRequest(image=images[0]))
    assert min(cosine(view, single.vector) for view in first) > 0.2


async def test_too_many_views_are_refused(embedder: RunningEmbedder, channel: grpc.aio.Channel) -> None:
    assert await ended_stream(embedder, channel, views=pb.Views(count=1000)) == "invalid_request"


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_file_is_one_quick_error(
    embedder: RunningEmbedder, channel: grpc.aio.Channel, name: str
) -> None:
    data = HOSTILE[name]()
    workers = embedder.workers()
    family = [embedder.process.pid, *workers]
    used = processor_seconds(family)
    # The clock also runs for what else the machine does.
    async with asyncio.timeout(60):
        code, status = await refusal(embedder, channel, data)
    assert processor_seconds(family) - used < 2
    assert code in EXPECTED[name]
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert embedder.workers() == workers
    assert all(peak_bytes(pid) < 500 << 20 for pid in workers)


def processor_seconds(pids: list[int]) -> float:
    """The processor's time that these processes have used."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


def peak_bytes(pid: int) -> int:
    """The most memory that a process ever had in RAM."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:  # noqa: PTH123
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


async def test_too_many_bytes_are_refused_before_they_are_looked_at(
    embedder: RunningEmbedder, channel: grpc.aio.Channel
) -> None:
    code, status = await refusal(embedder, channel, bytes((20 << 20) + 1))
    assert (code, status) == ("image_too_large", grpc.StatusCode.INVALID_ARGUMENT)


async def test_the_largest_image_that_is_allowed_is_embedded_in_bounded_memory(
    embedder: RunningEmbedder, channel: grpc.aio.Channel
) -> None:
    for mode in ("RGBA", "L"):
        image = encoded(Image.new(mode, (10_000, 5_000)), "PNG", compress_level=1)
        response = await embedder.stub(channel).Embed(pb.EmbedRequest(image=image))
        assert len(response.vector) == 5120
    assert all(peak_bytes(pid) < 500 << 20 for pid in embedder.workers())


async def test_a_killed_worker_costs_nobody_an_answer(embedder: RunningEmbedder, channel: grpc.aio.Channel) -> None:
    stub = embedder.stub(channel)
    images = photographs(200)
    found = {}
    killed = embedder.workers()[0]
    async for response in stub.EmbedStream(requests(images)):
        found[response.item_id] = response
        if len(found) == 20:
            os.kill(killed, signal.SIGKILL)
    assert sorted(found) == list(range(200))
    assert all(response.HasField("embedding") for response in found.values())
    assert len((await stub.Embed(pb.EmbedRequest(image=images[0]))).vector) == 5120
    await eventually(lambda: killed not in embedder.workers() and len(embedder.workers()) >= 1)


async def test_a_thousand_callers_that_leave_at_random_hold_up_nobody(
    embedder: RunningEmbedder, channel: grpc.aio.Channel
) -> None:
    stub = embedder.stub(channel)
    images = photographs(16)
    dice = random.Random(3)

    async def leaver(number: int) -> None:
        call = stub.Embed(pb.EmbedRequest(image=images[number % 16]))
        await asyncio.sleep(dice.random() * 2)
        call.cancel()

    async def stayer(number: int) -> None:
        while True:
            try:
                answer = await stub.Embed(pb.EmbedRequest(image=images[number]), timeout=30)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
                await asyncio.sleep(0.05)
            else:
                assert len(answer.vector) == 5120
                return

    async with asyncio.timeout(90):
        await asyncio.gather(*(leaver(number) for number in range(1000)), *(stayer(number) for number in range(16)))
        await stub.Embed(pb.EmbedRequest(image=images[0]), timeout=30)


async def test_a_full_queue_is_said_at_once(embedder: RunningEmbedder, channel: grpc.aio.Channel) -> None:
    stub = embedder.stub(channel)
    image = photographs(1)[0]
    started = time.perf_counter()

    async def call() -> tuple[grpc.StatusCode, float]:
        try:
            await stub.Embed(pb.EmbedRequest(image=image))
        except grpc.aio.AioRpcError as error:
            return error.code(), time.perf_counter() - started
        return grpc.StatusCode.OK, time.perf_counter() - started

    outcomes = await asyncio.gather(*(call() for _ in range(400)))
    refused = [seconds for status, seconds in outcomes if status is grpc.StatusCode.RESOURCE_EXHAUSTED]
    assert refused
    assert {status for status, _ in outcomes} == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert min(refused) < max(seconds for status, seconds in outcomes if status is grpc.StatusCode.OK)


async def test_a_flood_of_bulk_waits_at_its_sender(embedder: RunningEmbedder, channel: grpc.aio.Channel) -> None:
    sent = 0
    image = encoded(photograph("retina.jpg").resize((2000, 2000)), "BMP")

    async def flood() -> AsyncIterator[pb.EmbedStreamRequest]:
        nonlocal sent
        while True:
            yield pb.EmbedStreamRequest(item_id=sent, image=image)
            sent += 1

    front = psutil.Process(embedder.process.pid)
    before = front.memory_info().rss
    stream = embedder.stub(channel).EmbedStream(flood())
    peak = answered = 0
    while answered < 60:
        assert (await stream.read()).HasField("embedding")
        answered += 1
        peak = max(peak, front.memory_info().rss - before)
    assert sent - answered < 60
    assert peak < 500 << 20
    stream.cancel()
    assert len((await embedder.stub(channel).Embed(pb.EmbedRequest(image=photographs(1)[0]))).vector) == 5120


async def test_a_search_passes_a_full_bulk_stream(embedder: RunningEmbedder, channel: grpc.aio.Channel) -> None:
    stub = embedder.stub(channel)
    images = photographs(8)

    async def endless() -> AsyncIterator[pb.EmbedStreamRequest]:
        number = 0
        while True:
            yield pb.EmbedStreamRequest(item_id=number, image=images[number % 8])
            number += 1

    stream = stub.EmbedStream(endless())
    answered = 0

    async def drain() -> None:
        nonlocal answered
        async for _ in stream:
            answered += 1

    draining = asyncio.create_task(drain())
    passed = []
    for image in images:
        before = answered
        await stub.Embed(pb.EmbedRequest(image=image))
        passed.append(answered - before)
    # They wait for what the workers had begun, and not for the queue, which has 256 places. Most of them: when other
    # processes hold this one up, it counts more answers before it sees its own.
    assert sorted(passed)[len(passed) // 2] <= 100
    stream.cancel()
    await asyncio.gather(draining, return_exceptions=True)


async def test_a_deadline_ends_the_wait(embedder: RunningEmbedder, channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await embedder.stub(channel).Embed(pb.EmbedRequest(image=photographs(1)[0]), timeout=0.001)
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
