"""The embedder as the trainer asks it: which backbone is served."""

from dataclasses import dataclass

import grpc
from similis.embedder.v1 import embedder_pb2, embedder_pb2_grpc

from servicekit.grpc.calls import RpcCalls
from servicekit.grpc.status import from_rpc_error
from servicekit.telemetry.metrics import RpcClientMetrics
from trainer.embed.stream import EmbeddingStream

SERVICE = "similis.embedder.v1.EmbedderService"
IDEMPOTENT = ((SERVICE, "Describe"),)
DESCRIBE_SECONDS = 5.0


@dataclass(frozen=True)
class Backbone:
    """The backbone that the embedder serves. dimension: length of its vectors."""

    checksum: str
    dimension: int


class EmbedderClient:
    """Calls the embedder over one channel."""

    def __init__(self, channel: grpc.aio.Channel, metrics: RpcClientMetrics) -> None:
        self._stub = embedder_pb2_grpc.EmbedderServiceStub(channel)
        self._calls = RpcCalls(SERVICE, metrics)

    async def describe(self) -> Backbone:
        """Raises Unavailable or DeadlineExceeded."""
        try:
            with self._calls.call("Describe") as metadata:
                answer = await self._stub.Describe(
                    embedder_pb2.DescribeRequest(), timeout=DESCRIBE_SECONDS, metadata=metadata
                )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, upstream="embedder") from error
        return Backbone(answer.checksum, answer.dimension)

    def stream(self, backbone: Backbone, *, patience_seconds: float) -> EmbeddingStream:
        """A stream that embeds with this backbone and no other."""
        return EmbeddingStream(
            self._stub, self._calls, backbone.checksum, backbone.dimension, patience_seconds=patience_seconds
        )
