"""An embedder whose vectors are pixels: the real protocol over a real server, which tests can count and break."""

import asyncio
import hashlib
import io
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from prometheus_client import CollectorRegistry
from similis.embedder.v1 import embedder_pb2, embedder_pb2_grpc

from servicekit.errors import FailedPrecondition
from servicekit.grpc.server import ServerPlan, grpc_server
from servicekit.telemetry.metrics import RpcServerMetrics

Context = grpc.aio.ServicerContext[object, object]
SIDE = 8
DIMENSION = SIDE * SIDE * 3


class PixelEmbedder(embedder_pb2_grpc.EmbedderServiceServicer):
    """Answers like the embedder. `embedded` counts images by digest, `viewed` those whose views alone were wanted."""

    def __init__(self) -> None:
        self.target = ""
        self.checksum = "pixels-1-" + "0" * 55
        self.embedded: Counter[str] = Counter()
        self.viewed: Counter[str] = Counter()
        # Vectors to return instead of pixels, by the image's digest.
        self.vectors: dict[str, npt.NDArray[np.float32]] = {}
        # The same for the views [v, DIMENSION] of an image.
        self.views: dict[str, npt.NDArray[np.float32]] = {}
        # Miniatures to return: the grey values of each row, by the image's digest. An image without one has none.
        self.miniatures: dict[str, npt.NDArray[np.uint8]] = {}
        self.streams = 0
        # Warnings to return with an image, by its digest.
        self.warnings: dict[str, list[str]] = {}
        # 0: not told, as by an embedder of an older release.
        self.max_image_bytes = 0
        # Whether it says that its backbone has a text tower.
        self.text = False
        # Seconds per image.
        self.delay = 0.0
        # Break the stream after this many more images; None: never.
        self.break_after: int | None = None

    async def Describe(  # noqa: N802
        self,
        request: embedder_pb2.DescribeRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> embedder_pb2.DescribeResponse:
        return embedder_pb2.DescribeResponse(
            backbone="pixels",
            checksum=self.checksum,
            dimension=DIMENSION,
            device="cpu",
            engine="pillow",
            max_image_bytes=self.max_image_bytes,
            text=self.text,
        )

    async def Embed(self, request: embedder_pb2.EmbedRequest, context: Context) -> embedder_pb2.EmbedResponse:  # noqa: N802, ARG002
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "finetunes use EmbedStream")

    async def EmbedText(  # noqa: N802
        self,
        request: embedder_pb2.EmbedTextRequest,  # noqa: ARG002
        context: Context,
    ) -> embedder_pb2.EmbedTextResponse:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "finetunes embed no texts")

    async def EmbedStream(  # noqa: N802
        self, request_iterator: AsyncIterator[embedder_pb2.EmbedStreamRequest], context: Context
    ) -> AsyncIterator[embedder_pb2.EmbedStreamResponse]:
        self.streams += 1
        async for request in request_iterator:
            if request.backbone_checksum != self.checksum:
                raise FailedPrecondition("Another backbone is served.", code="backbone_changed")
            if self.delay:
                await asyncio.sleep(self.delay)
            if self.break_after is not None:
                self.break_after -= 1
                if self.break_after < 0:
                    self.break_after = None
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
            yield self._outcome(request)

    def _outcome(self, request: embedder_pb2.EmbedStreamRequest) -> embedder_pb2.EmbedStreamResponse:
        digest = hashlib.sha256(request.image).hexdigest()
        only = request.views.only
        (self.viewed if only else self.embedded)[digest] += 1
        try:
            with Image.open(io.BytesIO(request.image)) as image:
                pixels = image.convert("RGB").resize((SIDE, SIDE))
        except UnidentifiedImageError:
            error = embedder_pb2.ItemError(code="not_an_image", message="no known format")
            return embedder_pb2.EmbedStreamResponse(item_id=request.item_id, error=error)
        except OSError:
            error = embedder_pb2.ItemError(code="decode_error", message="the image is damaged")
            return embedder_pb2.EmbedStreamResponse(item_id=request.item_id, error=error)
        vector = b"" if only else self.vectors.get(digest, np.asarray(pixels, dtype="<f4").ravel()).tobytes()
        rotated = [pixels.rotate(10.0 * number) for number in range(1, request.views.count + 1)]
        views = self.views.get(digest, [np.asarray(view, dtype="<f4").ravel() for view in rotated])
        grey = self.miniatures.get(digest) if request.miniature else None
        return embedder_pb2.EmbedStreamResponse(
            item_id=request.item_id,
            embedding=embedder_pb2.Embedding(
                vector=vector,
                miniature=None if grey is None else embedder_pb2.Miniature(width=grey.shape[1], pixels=grey.tobytes()),
                views=[view.tobytes() for view in views[: request.views.count]],
                warnings=self.warnings.get(digest, []),
            ),
        )


@asynccontextmanager
async def pixel_embedder(
    listen: str = "127.0.0.1:0", embedder: PixelEmbedder | None = None
) -> AsyncIterator[PixelEmbedder]:
    """A serving embedder while entered. The same one can be served again at its address later."""
    servicer = embedder or PixelEmbedder()
    async with grpc_server(
        ServerPlan(listen, grace_seconds=0),
        services=("similis.embedder.v1.EmbedderService",),
        register=lambda server: embedder_pb2_grpc.add_EmbedderServiceServicer_to_server(servicer, server),
        metrics=RpcServerMetrics(CollectorRegistry()),
    ) as server:
        servicer.target = listen if not listen.endswith(":0") else f"127.0.0.1:{server.port}"
        yield servicer
