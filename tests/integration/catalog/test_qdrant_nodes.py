"""Searches go on while one of several Qdrant nodes is down. The nodes are one-machine servers with the same content."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from catalog.vectors.client import Qdrant, QdrantAddress, open_qdrant
from catalog.vectors.generations import Generations
from servicekit.grpc import renewing_channel
from tests.integration.qdrant_process import QdrantProcess, running_qdrant
from tests.name_server import NameServer, name_server
from tests.ports import free_port

DIM = 8
NAME = "qdrant-headless.databases.svc"
VECTORS = np.eye(DIM, dtype=np.float32)


@dataclass
class Nodes:
    """The nodes, on addresses of the loopback network, behind one name."""

    folder: Path
    names: NameServer
    port: int

    @property
    def address(self) -> QdrantAddress:
        return QdrantAddress(f"dns://127.0.0.1:{self.names.port}/{NAME}:{self.port}")

    def resolve_to(self, *numbers: int) -> None:
        self.names.addresses[NAME] = [f"127.0.0.{number}" for number in numbers]

    @asynccontextmanager
    async def node(self, number: int) -> AsyncIterator[QdrantProcess]:
        """Run a node that holds the generation."""
        listen = f"127.0.0.{number}:{self.port}"
        async with running_qdrant(self.folder / str(number), listen=listen) as server:
            async with open_qdrant(QdrantAddress(listen)) as client:
                generations = Generations(client)
                await generations.create("generation", DIM)
                await generations.put("generation", range(1, DIM + 1), VECTORS)
                await generations.wait_until_indexed("generation", DIM)
            yield server


async def search(client: Qdrant, count: int) -> None:
    for number in range(count):
        (hit,) = await Generations(client).query("generation", VECTORS[number % DIM], 1, 0.9)
        assert hit.image_id == number % DIM + 1


async def test_no_search_fails_while_a_node_is_killed_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewing_channel, "LOST_SECONDS", 0.2)
    async with AsyncExitStack() as stack:
        nodes = Nodes(tmp_path, await stack.enter_async_context(name_server()), free_port())
        nodes.resolve_to(2, 3)
        first, second = [await stack.enter_async_context(nodes.node(number)) for number in (2, 3)]
        client = await stack.enter_async_context(open_qdrant(nodes.address))
        await search(client, 2 * DIM)
        searching = asyncio.create_task(search(client, 400))
        first.process.kill()
        await first.process.wait()
        await searching
        # Both nodes are gone, and the name with them. New ones have other addresses.
        second.process.kill()
        await second.process.wait()
        nodes.resolve_to()
        with pytest.raises(Exception, match="The vector store is not available"):
            await search(client, 1)
        await stack.enter_async_context(nodes.node(4))
        nodes.resolve_to(4)
        async with asyncio.timeout(10):
            while True:
                try:
                    return await search(client, DIM)
                except Exception:
                    await asyncio.sleep(0.05)
