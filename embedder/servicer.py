"""The gRPC face of the embedder: parses, calls, converts."""

import asyncio
from collections.abc import AsyncIterator

import grpc
from similis.embedder.v1 import embedder_pb2, embedder_pb2_grpc

from embedder.image_stream import ImageStream
from embedder.service import Embedding, error_of

SERVICE = embedder_pb2.DESCRIPTOR.services_by_name["EmbedderService"].full_name


class EmbedderServicer(embedder_pb2_grpc.EmbedderServiceServicer):
    """`in_flight`: images of one stream that are taken up at once; the rest waits at the caller."""

    def __init__(self, embedding: Embedding, in_flight: int) -> None:
        self._embedding = embedding
        self._in_flight = in_flight
        self._stopping = asyncio.Event()

    def register(self, server: grpc.aio.Server) -> None:
        """Has the server answer with this."""
        embedder_pb2_grpc.add_EmbedderServiceServicer_to_server(self, server)

    def stop(self) -> None:
        """Ends the streams under way when they have answered what they took up; their callers have more for others."""
        self._stopping.set()

    async def Describe(  # noqa: N802 - the name in the protocol
        self,
        request: embedder_pb2.DescribeRequest,  # noqa: ARG002
        context: "grpc.aio.ServicerContext[embedder_pb2.DescribeRequest, embedder_pb2.DescribeResponse]",  # noqa: ARG002
    ) -> embedder_pb2.DescribeResponse:
        """What is served."""
        served = self._embedding.served
        return embedder_pb2.DescribeResponse(
            backbone=served.backbone,
            checksum=served.checksum,
            dimension=served.dimension,
            device=served.device,
            engine=served.engine,
            pooling=served.pooling,
        )

    async def Embed(  # noqa: N802
        self,
        request: embedder_pb2.EmbedRequest,
        context: "grpc.aio.ServicerContext[embedder_pb2.EmbedRequest, embedder_pb2.EmbedResponse]",  # noqa: ARG002
    ) -> embedder_pb2.EmbedResponse:
        """One image, ahead of all bulk work."""
        self._embedding.check_checksum(request.backbone_checksum)
        outcome = await self._embedding.embed(request.image, "interactive")
        if outcome.code is not None:
            raise error_of(outcome)
        return embedder_pb2.EmbedResponse(vector=outcome.vectors[0], backbone_checksum=self._embedding.served.checksum)

    async def EmbedStream(  # noqa: N802
        self,
        request_iterator: AsyncIterator[embedder_pb2.EmbedStreamRequest],
        context: "grpc.aio.ServicerContext[embedder_pb2.EmbedStreamRequest, embedder_pb2.EmbedStreamResponse]",  # noqa: ARG002
    ) -> AsyncIterator[embedder_pb2.EmbedStreamResponse]:
        """Many images, each with its own outcome, in the order in which they are done."""
        async with ImageStream(self._embedding, self._in_flight, request_iterator, self._stopping) as outcomes:
            async for response in outcomes:
                yield response
