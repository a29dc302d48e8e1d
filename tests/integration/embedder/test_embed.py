"""What callers of the embedder see, against the real service."""

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

from embedder.canary import cosine
from servicekit.grpc.status import from_rpc_error
from tests.eventually import eventually
from tests.hostile_images.corpus import hostile_corpus
from tests.integration.embedder_process import RunningEmbedder
from tests.unit.embedder.decoding import hostile_files
from tests.unit.embedder.decoding.odd_exif import odd_exif
from tests.unit.embedder.decoding.photographs import NAMES, encoded, photograph

pytestmark = pytest.mark.asyncio(loop_scope="module")

VECTOR_BYTES = 1280 * 4
HOSTILE = {**hostile_files.TOO_LARGE, **hostile_files.NOT_AN_IMAGE, **hostile_files.DAMAGED}
EXPECTED = {
    **dict.fromkeys(hostile_files.TOO_LARGE, ("image_too_large",)),
    **dict.fromkeys(hostile_files.NOT_AN_IMAGE, ("not_an_image",)),
    **dict.fromkeys(hostile_files.DAMAGED, ("decode_error", "not_an_image")),
}


def photographs(count: int) -> list[bytes]:
    """Return JPEGs, each a different crop."""
    images = []
    for index in range(count):
        whole = photograph(NAMES[index % len(NAMES)])
        side = min(whole.size)
        crop = whole.crop((index % 17, index % 13, side - index % 11, side - index % 7))
        images.append(encoded(crop.resize((300, 280)), "JPEG", quality=90))
    return images


def similarity(a: bytes, b: bytes) -> float:
    return cosine(np.frombuffer(a, "<f4"), np.frombuffer(b, "<f4"))


async def requests(
    images: Iterable[bytes], checksum: str = "", views: pb.Views | None = None
) -> AsyncIterator[pb.EmbedStreamRequest]:
    for number, image in enumerate(images):
        yield pb.EmbedStreamRequest(item_id=number, image=image, backbone_checksum=checksum, views=views)


def code_of(error: grpc.aio.AioRpcError) -> str:
    return from_rpc_error(error, upstream="embedder").code


async def refusal(
    embedder: RunningEmbedder, channel: grpc.aio.Channel, image: bytes, checksum: str = ""
) -> tuple[str, grpc.StatusCode]:
    """Return the code and the status that refuse an image."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await embedder.stub(channel).Embed(pb.EmbedRequest(image=image, backbone_checksum=checksum))
    return code_of(refused.value), refused.value.code()


async def stream_refusal(
    embedder: RunningEmbedder, channel: grpc.aio.Channel, checksum: str = "", views: pb.Views | None = None
) -> str:
    """Return the code of a stream that is refused while its caller is still sending."""
    stream = embedder.stub(channel).EmbedStream(requests(photographs(30), checksum, views))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await anext(aiter(stream))
    return code_of(refused.value)


async def test_describe_returns_the_served_backbone(embedder: RunningEmbedder) -> None:
    served = embedder.description
    assert (served.backbone, served.dimension, served.device) == ("efficientnet-lite0", 1280, "cpu")
    assert (served.engine, served.pooling, len(served.checksum)) == ("openvino", "pooled", 64)


async def test_a_call_and_a_stream_return_the_same_vector(embedder: RunningEmbedder, channel: grpc.aio.Channel) -> None:
    image = photographs(1)[0]
    stub = embedder.stub(channel)
    single = await stub.Embed(pb.EmbedRequest(image=image, backbone_checksum=embedder.description.checksum))
    assert single.backbone_checksum == embedder.description.checksum
    assert len(single.vector) == 4 * embedder.description.dimension
    streamed = [response async for response in stub.EmbedStream(requests([image, image]))]
    assert len(streamed) == 2
    assert all(similarity(response.embedding.vector, single.vector) > 0.99999 for response in streamed)


async def test_a_request_for_another_backbone_is_refused(embedder: RunningEmbedder, channel: grpc.aio.Channel) -> None:
    refused = await refusal(embedder, channel, photographs(1)[0], checksum="another")
    assert refused == ("backbone_changed", grpc.StatusCode.FAILED_PRECONDITION)
    assert await stream_refusal(embedder, channel, checksum="another") == "backbone_changed"


async def test_a_bad_image_fails_alone(embedder: RunningEmbedder, channel: grpc.aio.Channel) -> None:
    images = photographs(64)
    stub = embedder.stub(channel)
    images[31] = images[31][:500]
    found = {response.item_id: response async for response in stub.EmbedStream(requests(images))}
    assert sorted(found) == list(range(64))
    assert found[31].error.code == "decode_error"
    for number in set(range(64)) - {31}:
        single = await stub.Embed(pb.EmbedRequest(image=images[number]))
        assert similarity(found[number].embedding.vector, single.vector) > 0.9999


async def test_a_thousand_hostile_images_are_answered_and_end_no_worker(
    embedder: RunningEmbedder, channel: grpc.aio.Channel
) -> None:
    files = dict(hostile_corpus())
    assert len(files) >= 1000
    workers = set(embedder.workers())
    stub = embedder.stub(channel)
    answers = [response async for response in stub.EmbedStream(requests(files.values()))]
    assert sorted(answer.item_id for answer in answers) == list(range(len(files)))
    codes = {answer.error.code for answer in answers if answer.HasField("error")}
    assert codes <= {"not_an_image", "decode_error", "image_too_large", "image_too_slow"}
    assert all(answer.error.message for answer in answers if answer.HasField("error"))
    assert set(embedder.workers()) == workers


async def test_a_jpeg_without_its_end_has_a_vector_and_a_warning(
    embedder: RunningEmbedder, channel: grpc.aio.Channel
) -> None:
    whole = photographs(1)[0]
    stub = embedder.stub(channel)
    single = await stub.Embed(pb.EmbedRequest(image=whole[:-2]))
    streamed = {response.item_id: response async for response in stub.EmbedStream(requests([whole[:-2], whole]))}
    assert list(single.warnings) == list(streamed[0].embedding.warnings) == ["truncated"]
    assert list(streamed[1].embedding.warnings) == []
    assert similarity(single.vector, streamed[1].embedding.vector) > 0.9999


async def test_odd_metadata_harms_neither_the_image_nor_the_worker(
    embedder: RunningEmbedder, channel: grpc.aio.Channel
) -> None:
    workers = embedder.workers()
    image = photograph().resize((300, 280))
    images = [encoded(image, "JPEG", exif=metadata) for metadata in odd_exif(6).values()]
    found = {response.item_id: response async for response in embedder.stub(channel).EmbedStream(requests(images))}
    assert sorted(found) == list(range(len(images)))
    assert all(similarity(found[0].embedding.vector, one.embedding.vector) > 0.9999 for one in found.values())
    assert embedder.workers() == workers


async def test_views_repeat_with_the_seed_and_show_the_image(
    embedder: RunningEmbedder, channel: grpc.aio.Channel
) -> None:
    stub = embedder.stub(channel)
    images = photographs(2)

    async def views(seed: int, count: int) -> list[bytes]:
        sent = requests(images[:1], views=pb.Views(count=count, seed=seed))
        return [view async for response in stub.EmbedStream(sent) for view in response.embedding.views]

    first = await views(7, 3)
    assert len(first) == 3
    assert len(set(first)) == 3
    assert all(similarity(a, b) > 0.99999 for a, b in zip(first, await views(7, 3), strict=True))
    assert all(similarity(a, b) < 0.9999 for a, b in zip(first, await views(8, 3), strict=True))
    single = await stub.Embed(pb.EmbedRequest(image=images[0]))
    assert min(similarity(view, single.vector) for view in first) > 0.2


async def test_views_alone_are_those_that_come_with_the_image(
    embedder: RunningEmbedder, channel: grpc.aio.Channel
) -> None:
    async def embedding(*, only: bool) -> pb.Embedding:
        sent = requests(photographs(1), views=pb.Views(count=4, seed=1, only=only))
        (response,) = [response async for response in embedder.stub(channel).EmbedStream(sent)]
        return response.embedding

    both, alone = await embedding(only=False), await embedding(only=True)
    assert (len(both.views), len(alone.views), bool(both.vector), alone.vector) == (4, 4, True, b"")
    assert all(similarity(a, b) > 0.99999 for a, b in zip(both.views, alone.views, strict=True))


async def test_a_region_has_the_vector_of_the_cut_image(embedder: RunningEmbedder, channel: grpc.aio.Channel) -> None:
    left, right = photograph("astronaut.png"), photograph("coffee.png").resize((512, 512))
    both = Image.new("RGB", (1024, 512))
    both.paste(left, (0, 0))
    both.paste(right, (512, 0))
    stub = embedder.stub(channel)
    region = pb.Region(x=0.5, y=0, width=0.5, height=1)
    found = await stub.Embed(pb.EmbedRequest(image=encoded(both, "PNG", compress_level=1), region=region))
    expected = await stub.Embed(pb.EmbedRequest(image=encoded(right, "PNG", compress_level=1)))
    assert (found.region_applied, expected.region_applied) == (True, False)
    assert similarity(found.vector, expected.vector) > 0.9999


async def test_a_region_outside_the_image_is_refused(embedder: RunningEmbedder, channel: grpc.aio.Channel) -> None:
    request = pb.EmbedRequest(image=photographs(1)[0], region=pb.Region(x=0.6, y=0, width=0.5, height=1))
    with pytest.raises(grpc.aio.AioRpcError, match="x \\+ width must be at most 1") as refused:
        await embedder.stub(channel).Embed(request)
    assert (code_of(refused.value), refused.value.code()) == ("invalid_region", grpc.StatusCode.INVALID_ARGUMENT)


async def test_too_many_views_are_refused(embedder: RunningEmbedder, channel: grpc.aio.Channel) -> None:
    assert await stream_refusal(embedder, channel, views=pb.Views(count=1000)) == "invalid_request"


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_file_fails_quickly_and_alone(
    embedder: RunningEmbedder, channel: grpc.aio.Channel, name: str
) -> None:
    data = HOSTILE[name]()
    workers = embedder.workers()
    family = [embedder.process.pid, *workers]
    before = cpu_seconds(family)
    # Other programs of the machine count towards this timeout, but not towards the CPU time below.
    async with asyncio.timeout(60):
        code, status = await refusal(embedder, channel, data)
    assert cpu_seconds(family) - before < 2
    assert code in EXPECTED[name]
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert embedder.workers() == workers
    assert all(peak_bytes(pid) < 500 << 20 for pid in workers)


def cpu_seconds(pids: list[int]) -> float:
    """Return the CPU time that these processes have used."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has had in RAM."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:  # noqa: PTH123
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


async def test_a_file_with_too_many_bytes_is_refused(embedder: RunningEmbedder, channel: grpc.aio.Channel) -> None:
    refused = await refusal(embedder, channel, bytes((20 << 20) + 1))
    assert refused == ("image_too_large", grpc.StatusCode.INVALID_ARGUMENT)


@pytest.mark.parametrize("mode", ["RGBA", "L"])
async def test_the_largest_allowed_image_is_embedded_in_bounded_memory(
    embedder: RunningEmbedder, channel: grpc.aio.Channel, mode: str
) -> None:
    image = encoded(Image.new(mode, (10_000, 5_000)), "PNG", compress_level=1)
    response = await embedder.stub(channel).Embed(pb.EmbedRequest(image=image))
    assert len(response.vector) == VECTOR_BYTES
    assert all(peak_bytes(pid) < 500 << 20 for pid in embedder.workers())


async def test_no_image_fails_when_a_worker_is_killed(embedder: RunningEmbedder, channel: grpc.aio.Channel) -> None:
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
    assert len((await stub.Embed(pb.EmbedRequest(image=images[0]))).vector) == VECTOR_BYTES
    await eventually(lambda: killed not in embedder.workers() and len(embedder.workers()) >= 1)


async def test_a_thousand_callers_that_leave_delay_nobody(embedder: RunningEmbedder, channel: grpc.aio.Channel) -> None:
    stub = embedder.stub(channel)
    images = photographs(16)
    dice = random.Random(3)

    async def leave(number: int) -> None:
        call = stub.Embed(pb.EmbedRequest(image=images[number % 16]))
        await asyncio.sleep(dice.random() * 2)
        call.cancel()

    async def stay(number: int) -> None:
        while True:
            try:
                answer = await stub.Embed(pb.EmbedRequest(image=images[number]), timeout=30)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
                await asyncio.sleep(0.05)
            else:
                assert len(answer.vector) == VECTOR_BYTES
                return

    async with asyncio.timeout(90):
        await asyncio.gather(*(leave(number) for number in range(1000)), *(stay(number) for number in range(16)))
        await stub.Embed(pb.EmbedRequest(image=images[0]), timeout=30)


async def test_a_full_queue_refuses_at_once(embedder: RunningEmbedder, channel: grpc.aio.Channel) -> None:
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


async def test_a_full_bulk_queue_slows_down_its_sender(embedder: RunningEmbedder, channel: grpc.aio.Channel) -> None:
    sent = 0
    image = encoded(photograph("retina.jpg").resize((2000, 2000)), "BMP")

    async def flood() -> AsyncIterator[pb.EmbedStreamRequest]:
        nonlocal sent
        while True:
            yield pb.EmbedStreamRequest(item_id=sent, image=image)
            sent += 1

    serving = psutil.Process(embedder.process.pid)
    before = serving.memory_info().rss
    stream = embedder.stub(channel).EmbedStream(flood())
    responses = aiter(stream)
    peak = answered = 0
    while answered < 60:
        assert (await anext(responses)).HasField("embedding")
        answered += 1
        peak = max(peak, serving.memory_info().rss - before)
    assert sent - answered < 60
    assert peak < 500 << 20
    stream.cancel()
    response = await embedder.stub(channel).Embed(pb.EmbedRequest(image=photographs(1)[0]))
    assert len(response.vector) == VECTOR_BYTES


async def test_a_search_overtakes_a_full_bulk_queue(embedder: RunningEmbedder, channel: grpc.aio.Channel) -> None:
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
    overtaken_by = []
    for image in images:
        before = answered
        await stub.Embed(pb.EmbedRequest(image=image))
        overtaken_by.append(answered - before)
    # The queue holds 256 images, and a search must not wait for them. The median, because on a busy machine this
    # process may count many answers before it sees its own.
    assert sorted(overtaken_by)[len(overtaken_by) // 2] <= 100
    stream.cancel()
    await asyncio.gather(draining, return_exceptions=True)


async def test_a_deadline_ends_the_wait(embedder: RunningEmbedder, channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await embedder.stub(channel).Embed(pb.EmbedRequest(image=photographs(1)[0]), timeout=0.001)
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
