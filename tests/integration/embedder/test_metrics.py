"""The metrics of the embedder, in both pipelines."""

import asyncio
import urllib.request
from collections.abc import AsyncIterator

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families
from similis.embedder.v1 import embedder_pb2 as pb

from servicekit.grpc.channel import open_channel
from tests.integration.embedder_process import running_embedder
from tests.unit.embedder.decoding.photographs import encoded, photograph

IMAGE = encoded(photograph().resize((300, 300)), "JPEG")


def scrape(port: int) -> dict[tuple[str, str, str], float]:
    """Return the samples by name, lane and outcome."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, sample.labels.get("lane", ""), sample.labels.get("outcome", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def requests() -> AsyncIterator[pb.EmbedStreamRequest]:
    for number, image in enumerate((IMAGE, IMAGE, b"no image")):
        yield pb.EmbedStreamRequest(item_id=number, image=image, views=pb.Views(count=1, seed=1))


@pytest.mark.parametrize("pipeline", ["fused", "staged"])
async def test_queues_steps_and_outcomes_are_counted(pipeline: str) -> None:
    async with (
        running_embedder(workers="1", pipeline=pipeline, max_image_bytes="100000") as running,
        open_channel(running.target) as channel,
    ):
        stub = running.stub(channel)
        before = await asyncio.to_thread(scrape, running.metrics_port)
        await stub.Embed(pb.EmbedRequest(image=IMAGE))
        for image in (b"no image", bytes(100_001)):
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Embed(pb.EmbedRequest(image=image))
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Embed(pb.EmbedRequest(image=IMAGE), timeout=0.0005)
        assert len([response async for response in stub.EmbedStream(requests())]) == 3
        after = await asyncio.to_thread(scrape, running.metrics_port)
    outcomes = {key[1:]: value for key, value in after.items() if key[0] == "embedder_images_total"}
    late = [key for key in outcomes if key[1] in ("deadline_exceeded", "cancelled")]
    assert {key: value for key, value in outcomes.items() if value and key not in late} == {
        ("interactive", "embedded"): 1,
        ("interactive", "not_an_image"): 1,
        ("interactive", "image_too_large"): 1,
        ("bulk", "embedded"): 2,
        ("bulk", "not_an_image"): 1,
    }

    def rise(name: str, lane: str = "") -> float:
        return after[name, lane, ""] - before.get((name, lane, ""), 0.0)

    assert rise("embedder_queue_wait_seconds_count", "interactive") >= 2
    assert rise("embedder_queue_wait_seconds_count", "bulk") == 3
    assert after["embedder_queue_items", "bulk", ""] == after["embedder_queue_items", "interactive", ""] == 0
    assert rise("embedder_decode_seconds_count") >= 3
    assert rise("embedder_forward_seconds_count") >= 1
    assert rise("embedder_forward_seconds_sum") > 0
    # One image, and two images with a view each.
    assert rise("embedder_batch_size_sum") >= 5
    # Only the staged pipeline copies batches to a device.
    assert (rise("embedder_copy_seconds_count") > 0) == (pipeline == "staged")
