"""The gateway's client of the embedder: embed an image or a text of a query, and ask which backbone is served."""

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Protocol

import grpc
import numpy as np
import numpy.typing as npt
from grpc_health.v1 import health_pb2, health_pb2_grpc
from similis.embedder.v1 import embedder_pb2, embedder_pb2_grpc

from servicekit.errors import Unavailable
from servicekit.grpc.calls import RpcCalls
from servicekit.grpc.status import from_rpc_error
from servicekit.image_region import Region
from servicekit.request_context import remaining
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.metrics import RpcClientMetrics
from servicekit.telemetry.state_log import StateLog

log = get_logger(__name__)

SERVICE = "similis.embedder.v1.EmbedderService"
HEALTH_SERVICE = "grpc.health.v1.Health"
# These calls change nothing, so they are retried when the embedder is UNAVAILABLE.
IDEMPOTENT = ((SERVICE, "Embed"), (SERVICE, "EmbedText"), (SERVICE, "Describe"), (HEALTH_SERVICE, "Check"))
EMBED_SECONDS = 25.0
DESCRIBE_SECONDS = 1.0
# A backbone changes only with a deployment, so an answer this recent is trusted.
KNOWN_SECONDS = 10.0
UNKNOWN_SECONDS = 2.0
# The warning of a text that has more tokens than the backbone reads.
TRUNCATED = "truncated"
# While it is embedded, an image is in memory three times: as bytes, in the message, and serialised for sending.
COPIES = 3

# A folder as the backbone's name.
ABSOLUTE_PATH = re.compile(r"[/\\~]|[A-Za-z]:[/\\]")

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Backbone:
    """What the embedder serves. dimension: of its vectors. text: it has a text tower, too."""

    name: str
    checksum: str
    dimension: int
    text: bool = False


@dataclass(frozen=True)
class EmbeddedText:
    """A text's vector [dim]. read_characters: how many of its characters count. is_truncated: not all of them."""

    vector: Vector
    read_characters: int
    is_truncated: bool


@dataclass(frozen=True)
class _KnownBackbone:
    """checksum: None if the embedder did not respond. until: when to ask again, on the monotonic clock."""

    checksum: str | None
    until: float


def public_name(backbone: str) -> str:
    """Return a backbone's name for clients. Of a folder that is the last part: the path is the server's own affair."""
    is_path = ABSOLUTE_PATH.match(backbone) or backbone.startswith(".")
    return re.split(r"[/\\]", backbone.rstrip("/\\"))[-1] if is_path else backbone


class Embedder(Protocol):
    """What the gateway asks the embedder for. `QueryEmbedder` describes the methods."""

    async def embed(self, image: bytes, backbone: str, region: Region | None = None) -> Vector: ...

    async def embed_text(self, text: str, backbone: str) -> EmbeddedText: ...

    async def served_backbone(self) -> str | None: ...

    async def served(self) -> Backbone | None: ...

    async def check(self) -> None: ...


class QueryEmbedder:
    """Call the embedder over one channel."""

    def __init__(self, channel: grpc.aio.Channel, metrics: RpcClientMetrics) -> None:
        self._stub = embedder_pb2_grpc.EmbedderServiceStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)
        self._calls = RpcCalls(SERVICE, metrics)
        self._health_calls = RpcCalls(HEALTH_SERVICE, metrics)
        self._backbone = _KnownBackbone(None, 0.0)
        self._described: Backbone | None = None
        self._asking = asyncio.Lock()
        self._state = StateLog(log, "backbone_unknown", "backbone_known")

    async def embed(self, image: bytes, backbone: str, region: Region | None = None) -> Vector:
        """Return the vector [dim] of an encoded image. backbone: the checksum of the one that must compute it.

        region: the part to embed; None: all of it. Raises InvalidRequest for a bad image or region, FailedPrecondition
        (backbone_changed), Overloaded, Unavailable, DeadlineExceeded.
        """
        request = embedder_pb2.EmbedRequest(image=image, backbone_checksum=backbone, region=_message(region))
        try:
            with self._calls.call("Embed") as metadata:
                response = await self._stub.Embed(request, timeout=remaining(EMBED_SECONDS), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, upstream="embedder") from error
        self._remember(response.backbone_checksum)
        if region is not None and not response.region_applied:
            raise Unavailable("The embedder is of an older release, which knows no regions.", code="embedder_outdated")
        return np.frombuffer(response.vector, dtype="<f4")

    async def embed_text(self, text: str, backbone: str) -> EmbeddedText:
        """Return the vector of a text, in the space of the backbone's vectors of images.

        backbone: the checksum of the one that must compute it. Raises FailedPrecondition (text_not_supported,
        backbone_changed), Overloaded, Unavailable, DeadlineExceeded.
        """
        request = embedder_pb2.EmbedTextRequest(text=text, backbone_checksum=backbone)
        try:
            with self._calls.call("EmbedText") as metadata:
                response = await self._stub.EmbedText(request, timeout=remaining(EMBED_SECONDS), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                raise Unavailable(
                    "The embedder is of an older release, which knows no texts.", code="embedder_outdated"
                ) from error
            raise from_rpc_error(error, upstream="embedder") from error
        self._remember(response.backbone_checksum)
        vector = np.frombuffer(response.vector, dtype="<f4")
        return EmbeddedText(vector, response.read_characters, TRUNCATED in response.warnings)

    async def served_backbone(self) -> str | None:
        """Return the checksum of the backbone that is served; None while the embedder does not respond."""
        if time.monotonic() < self._backbone.until:
            return self._backbone.checksum
        async with self._asking:
            if time.monotonic() >= self._backbone.until:
                await self._ask()
        return self._backbone.checksum

    async def served(self) -> Backbone | None:
        """Return the backbone that is served; None while the embedder does not respond."""
        checksum = await self.served_backbone()
        if checksum is None:
            return None
        if self._described is None or self._described.checksum != checksum:
            async with self._asking:
                await self._ask()
        return self._described

    async def check(self) -> None:
        """Raise ServiceError unless the embedder reports that it is serving."""
        try:
            with self._health_calls.call("Check") as metadata:
                answer = await self._health.Check(
                    health_pb2.HealthCheckRequest(service=SERVICE),
                    timeout=remaining(DESCRIBE_SECONDS),
                    metadata=metadata,
                )
            response = await self._describe()
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, upstream="embedder") from error
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise Unavailable("The embedder is not ready.", code="embedder_unavailable")
        self._remember(response.checksum)

    async def _ask(self) -> None:
        try:
            response = await self._describe()
        except grpc.aio.AioRpcError as error:
            self._state.failure(from_rpc_error(error, upstream="embedder"))
            self._backbone = _KnownBackbone(None, time.monotonic() + UNKNOWN_SECONDS)
            self._described = None
        else:
            name = public_name(response.backbone)
            self._described = Backbone(name, response.checksum, response.dimension, response.text)
            self._remember(response.checksum)

    async def _describe(self) -> embedder_pb2.DescribeResponse:
        with self._calls.call("Describe") as metadata:
            return await self._stub.Describe(
                embedder_pb2.DescribeRequest(), timeout=remaining(DESCRIBE_SECONDS), metadata=metadata
            )

    def _remember(self, checksum: str) -> None:
        self._state.success()
        self._backbone = _KnownBackbone(checksum, time.monotonic() + KNOWN_SECONDS)


def _message(region: Region | None) -> embedder_pb2.Region | None:
    return None if region is None else embedder_pb2.Region(**region._asdict())
