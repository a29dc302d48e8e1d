"""The bulk lane by itself: what waits on it has an end, whatever becomes of the calls below."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from servicekit.errors import Unavailable
from servicekit.grpc.channel import open_channel
from servicekit.telemetry.metrics import RpcClientMetrics
from tests.eventually import eventually
from tests.integration.trainer.parts.image_host import picture
from tests.integration.trainer.parts.pixel_embedder import PixelEmbedder
from trainer.embed.client import IDEMPOTENT, EmbedderClient

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_call_that_grpc_cancels_by_itself_does_not_leave_its_images_waiting(embedder: PixelEmbedder) -> None:
    embedder.delay = 60.0
    async with open_channel(embedder.target, idempotent=IDEMPOTENT) as channel:
        client = EmbedderClient(channel, RpcClientMetrics(CollectorRegistry()))
        backbone = await client.describe()
        async with client.stream(backbone, patience_seconds=1.0).connected() as stream:
            waiting = asyncio.create_task(stream.embed(picture(1)))
            await eventually(lambda: embedder.streams > 0)
            await channel.close()
            async with asyncio.timeout(20):
                with pytest.raises(Unavailable):
                    await waiting
