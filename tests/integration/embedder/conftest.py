"""An embedder that all tests of a module share."""

from collections.abc import AsyncIterator

import grpc
import pytest_asyncio

from servicekit.grpc.channel import open_channel
from tests.integration.embedder_process import RunningEmbedder, running_embedder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedder() -> AsyncIterator[RunningEmbedder]:
    async with running_embedder(workers="2", interactive_workers="1") as running:
        await running.all_ready(3)
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def channel(embedder: RunningEmbedder) -> AsyncIterator[grpc.aio.Channel]:
    async with open_channel(embedder.target) as opened:
        yield opened
