"""The embedder as the trainer uses it: which backbone it serves, and streams of images to embed."""

from dataclasses import dataclass
from pathlib import PurePath

import grpc
from similis.embedder.v1 import embedder_pb2, embedder_pb2_grpc

from servicekit.grpc.calls import RpcCalls
from servicekit.grpc.status import from_rpc_error
from servicekit.telemetry.metrics import RpcClientMetrics
from trainer.embed.stream import EmbeddingStream

SERVICE = "similis.embedder.v1.EmbedderService"
IDEMPOTENT = ((SERVICE, "Describe"),)
DESCRIBE_SECONDS = 5.0
# What embedders accept that do not say it.
OLDER_MAX_IMAGE_BYTES = 20 << 20


@dataclass(frozen=True)
class Backbone:
    """The backbone that the embedder serves.

    dimension: length of its vectors. max_image_bytes: the largest image that the embedder accepts. name: for people; ""
    if it has none. text: whether it has a text tower.
    """

    checksum: str
    dimension: int
    max_image_bytes: int
    name: str = ""
    text: bool = False


class BulkEmbedder:
    """Calls the embedder's bulk lane over one channel."""

    def __init__(self, channel: grpc.aio.Channel, metrics: RpcClientMetrics, *, patience_seconds: float) -> None:
        """patience_seconds: how long streams wait for an embedder that does not respond."""
        self._stub = embedder_pb2_grpc.EmbedderServiceStub(channel)
        self._calls = RpcCalls(SERVICE, metrics)
        self._patience_seconds = patience_seconds

    async def describe(self) -> Backbone:
        """Return the backbone that is served now. Raises Unavailable or DeadlineExceeded."""
        try:
            with self._calls.call("Describe") as metadata:
                answer = await self._stub.Describe(
                    embedder_pb2.DescribeRequest(), timeout=DESCRIBE_SECONDS, metadata=metadata
                )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, upstream="embedder") from error
        most = answer.max_image_bytes or OLDER_MAX_IMAGE_BYTES
        return Backbone(answer.checksum, answer.dimension, most, _shown(answer.backbone), answer.text)

    def stream(self, backbone: Backbone) -> EmbeddingStream:
        """Return a stream that embeds with this backbone only."""
        return EmbeddingStream(
            self._stub,
            self._calls,
            backbone.checksum,
            backbone.dimension,
            max_image_bytes=backbone.max_image_bytes,
            patience_seconds=self._patience_seconds,
        )


def _shown(name: str) -> str:
    """Return the name of a backbone as clients may see it: of a folder only the last part."""
    return PurePath(name).name if name.startswith(("/", ".", "~")) else name
