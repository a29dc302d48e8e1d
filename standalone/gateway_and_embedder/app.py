"""The gateway and the embedder of one machine, in one process: a search needs no call between them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from embedder.config import EmbedderSettings
from gateway.app import RunningGateway, gateway
from gateway.config import GatewaySettings
from standalone.gateway_and_embedder.local_embedder import LocalEmbedder


@asynccontextmanager
async def gateway_and_embedder(
    settings: GatewaySettings, of_embedder: EmbedderSettings
) -> AsyncIterator[RunningGateway]:
    """Serve while entered: the API, and the embedder's gRPC calls, which the trainer makes.

    The gateway serves from the beginning, and reports that the embedder is not ready until it is. It stops first, so
    that the searches in progress are answered. An embedder that cannot start ends both. Raises StartupError or
    SettingsError.
    """
    embedder, stop = LocalEmbedder(), asyncio.Event()
    with _single_error():
        async with asyncio.TaskGroup() as running:
            async with gateway(settings, embedder) as served:
                # Only now: if it fails, it cancels this task, which must not be in the middle of beginning to listen.
                running.create_task(embedder.run(of_embedder, stop), name="embedder")
                yield served
            stop.set()


@contextmanager
def _single_error() -> Iterator[None]:
    """Raise the first of several errors instead of their group."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
