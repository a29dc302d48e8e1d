"""The embedding stream alone: no image waits forever, whatever happens to the calls."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from servicekit.download.failures import ImageFailed, Reason
from servicekit.errors import Unavailable
from servicekit.grpc.channel import open_channel
from servicekit.telemetry.metrics import RpcClientMetrics
from tests.eventually import eventually
from tests.integration.trainer.parts.image_host import picture
from tests.integration.trainer.parts.pixel_embedder import PixelEmbedder
from trainer.embed.client import IDEMPOTENT, BulkEmbedder

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_an_image_above_the_limit_of_the_embedder_fails_alone(embedder: PixelEmbedder) -> None:
    embedder.max_image_bytes = len(picture(1))
    async with open_channel(embedder.target, idempotent=IDEMPOTENT) as channel:
        client = BulkEmbedder(channel, RpcClientMetrics(CollectorRegistry()), patience_seconds=1.0)
        async with client.stream(await client.describe()).connected() as stream:
            with pytest.raises(ImageFailed) as failed:
                await stream.embed(picture(1) + b"\0")
            assert (await stream.embed(picture(1))).vector.size
    assert failed.value.reason is Reason.IMAGE_TOO_LARGE


async def test_images_of_a_call_that_grpc_cancels_fail_instead_of_waiting(embedder: PixelEmbedder) -> None:
    embedder.delay = 60.0
    async with open_channel(embedder.target, idempotent=IDEMPOTENT) as channel:
        client = BulkEmbedder(channel, RpcClientMetrics(CollectorRegistry()), patience_seconds=1.0)
        backbone = await client.describe()
        async with client.stream(backbone).connected() as stream:
            waiting = asyncio.create_task(stream.embed(picture(1)))
            await eventually(lambda: embedder.streams > 0)
            await channel.close(None)
            async with asyncio.timeout(20):
                with pytest.raises(Unavailable):
                    await waiting
