"""The gRPC servicer of the embedder."""

import asyncio
from collections.abc import AsyncIterator

import grpc
from similis.embedder.v1 import embedder_pb2, embedder_pb2_grpc

from embedder.image_stream import ImageStream
from embedder.service import EmbeddingService, error_of
from servicekit.image_region import Region

SERVICE = embedder_pb2.DESCRIPTOR.services_by_name["EmbedderService"].full_name


class EmbedderServicer(embedder_pb2_grpc.EmbedderServiceServicer):
    """Answers gRPC calls. stream_in_flight: how many unanswered images of one stream it accepts."""

    def __init__(self, service: EmbeddingService, stream_in_flight: int) -> None:
        self._service = service
        self._stream_in_flight = stream_in_flight
        self._stopping = asyncio.Event()

    def register(self, server: grpc.aio.Server) -> None:
        """Add this servicer to a server."""
        embedder_pb2_grpc.add_EmbedderServiceServicer_to_server(self, server)

    def stop(self) -> None:
        """End every stream once its accepted images are answered. Its caller can send the others elsewhere."""
        self._stopping.set()

    async def Describe(  # noqa: N802 - the name in the protocol
        self,
        request: embedder_pb2.DescribeRequest,  # noqa: ARG002
        context: "grpc.aio.ServicerContext[embedder_pb2.DescribeRequest, embedder_pb2.DescribeResponse]",  # noqa: ARG002
    ) -> embedder_pb2.DescribeResponse:
        """Describe the backbone, and where and how it runs."""
        served = self._service.served
        return embedder_pb2.DescribeResponse(
            backbone=served.backbone,
            checksum=served.checksum,
            dimension=served.dimension,
            device=served.device,
            engine=served.engine,
            pooling=served.pooling,
            max_image_bytes=self._service.max_image_bytes,
            text=self._service.embeds_texts,
        )

    async def Embed(  # noqa: N802
        self,
        request: embedder_pb2.EmbedRequest,
        context: "grpc.aio.ServicerContext[embedder_pb2.EmbedRequest, embedder_pb2.EmbedResponse]",  # noqa: ARG002
    ) -> embedder_pb2.EmbedResponse:
        """Embed one image, ahead of all bulk images."""
        self._service.check_checksum(request.backbone_checksum)
        result = await self._service.embed(request.image, "interactive", region=_region(request))
        if result.code is not None:
            raise error_of(result)
        checksum = self._service.served.checksum
        return embedder_pb2.EmbedResponse(
            vector=result.vectors,
            backbone_checksum=checksum,
            warnings=result.warnings,
            region_applied=request.HasField("region"),
        )

    async def EmbedText(  # noqa: N802
        self,
        request: embedder_pb2.EmbedTextRequest,
        context: "grpc.aio.ServicerContext[embedder_pb2.EmbedTextRequest, embedder_pb2.EmbedTextResponse]",  # noqa: ARG002
    ) -> embedder_pb2.EmbedTextResponse:
        """Embed one text."""
        result = await self._service.embed_text(request.text, request.backbone_checksum)
        if result.code is not None:
            raise error_of(result)
        return embedder_pb2.EmbedTextResponse(
            vector=result.vectors,
            backbone_checksum=self._service.served.checksum,
            warnings=result.warnings,
            read_characters=result.read_characters,
        )

    async def EmbedStream(  # noqa: N802
        self,
        request_iterator: AsyncIterator[embedder_pb2.EmbedStreamRequest],
        context: "grpc.aio.ServicerContext[embedder_pb2.EmbedStreamRequest, embedder_pb2.EmbedStreamResponse]",  # noqa: ARG002
    ) -> AsyncIterator[embedder_pb2.EmbedStreamResponse]:
        """Embed many images. Each has its own response, sent as soon as it is done."""
        async with ImageStream(self._service, self._stream_in_flight, request_iterator, self._stopping) as responses:
            async for response in responses:
                yield response


def _region(request: embedder_pb2.EmbedRequest) -> Region | None:
    if not request.HasField("region"):
        return None
    return Region(request.region.x, request.region.y, request.region.width, request.region.height)
