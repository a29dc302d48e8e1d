"""The client of the embedder sends the region of a query, and notices an embedder that ignores it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from similis.embedder.v1 import embedder_pb2, embedder_pb2_grpc

from gateway.upstreams.embedder import QueryEmbedder
from servicekit.errors import Unavailable
from servicekit.image_region import Region
from servicekit.telemetry.metrics import RpcClientMetrics

REGION = Region(0.25, 0.5, 0.5, 0.1)


class Embedder(embedder_pb2_grpc.EmbedderServiceServicer):
    """Returns the region as the vector. knows_regions: False for an older release."""

    def __init__(self, *, knows_regions: bool) -> None:
        self._knows_regions = knows_regions

    async def Embed(  # noqa: N802 - the name in the protocol
        self,
        request: embedder_pb2.EmbedRequest,
        context: "grpc.aio.ServicerContext[embedder_pb2.EmbedRequest, embedder_pb2.EmbedResponse]",  # noqa: ARG002
    ) -> embedder_pb2.EmbedResponse:
        sent = request.region
        vector = np.array([sent.x, sent.y, sent.width, sent.height], "<f4").tobytes()
        applied = self._knows_regions and request.HasField("region")
        return embedder_pb2.EmbedResponse(vector=vector, backbone_checksum="one", region_applied=applied)

    async def Describe(self, request: object, context: object) -> embedder_pb2.DescribeResponse:  # noqa: N802
        raise NotImplementedError

    async def EmbedText(  # noqa: N802
        self,
        request: embedder_pb2.EmbedTextRequest,
        context: "grpc.aio.ServicerContext[embedder_pb2.EmbedTextRequest, embedder_pb2.EmbedTextResponse]",
    ) -> embedder_pb2.EmbedTextResponse:
        if not self._knows_regions:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        vector = np.array([len(request.text)], "<f4").tobytes()
        return embedder_pb2.EmbedTextResponse(vector=vector, warnings=["truncated"], read_characters=3)

    async def EmbedStream(  # noqa: N802
        self,
        request_iterator: object,  # noqa: ARG002
        context: object,  # noqa: ARG002
    ) -> AsyncIterator[embedder_pb2.EmbedStreamResponse]:
        raise NotImplementedError
        yield


@asynccontextmanager
async def client(*, knows_regions: bool) -> AsyncIterator[QueryEmbedder]:
    server = grpc.aio.server()
    embedder_pb2_grpc.add_EmbedderServiceServicer_to_server(Embedder(knows_regions=knows_regions), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield QueryEmbedder(channel, RpcClientMetrics(CollectorRegistry()))
    finally:
        await server.stop(None)


async def test_the_region_is_sent() -> None:
    async with client(knows_regions=True) as embedder:
        assert (await embedder.embed(b"image", "one", REGION)).tolist() == pytest.approx(list(REGION))
        assert (await embedder.embed(b"image", "one")).tolist() == [0, 0, 0, 0]


async def test_an_embedder_that_ignores_the_region_is_outdated() -> None:
    async with client(knows_regions=False) as embedder:
        with pytest.raises(Unavailable) as refused:
            await embedder.embed(b"image", "one", REGION)
        assert refused.value.code == "embedder_outdated"
        assert (await embedder.embed(b"image", "one")).tolist() == [0, 0, 0, 0]


async def test_a_text_comes_back_with_how_much_of_it_counts() -> None:
    async with client(knows_regions=True) as embedder:
        embedded = await embedder.embed_text("a coin", "one")
    assert (embedded.vector.tolist(), embedded.read_characters, embedded.is_truncated) == ([6], 3, True)


async def test_an_embedder_without_texts_is_outdated() -> None:
    async with client(knows_regions=False) as embedder:
        with pytest.raises(Unavailable) as refused:
            await embedder.embed_text("a coin", "one")
    assert refused.value.code == "embedder_outdated"
