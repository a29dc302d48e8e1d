"""Collections with a graph, as the tests of our own server use them."""

from pathlib import Path

from qdrant_client import AsyncQdrantClient, models

from tests.integration.local_qdrant.vectors import Matrix, upsert
from tests.integration.local_qdrant.waiting import settled
from tests.integration.qdrant_process import running_qdrant

SIZE = 32


async def create(client: AsyncQdrantClient, name: str, *, ef_construct: int = 100) -> None:
    """Create a collection whose graph is built from a few hundred points on."""
    await client.create_collection(
        name,
        vectors_config=models.VectorParams(size=SIZE, distance=models.Distance.COSINE, on_disk=True),
        hnsw_config=models.HnswConfigDiff(m=16, ef_construct=ef_construct),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=100),
    )


async def leave_settled(data: Path, vectors: Matrix, *names: str) -> None:
    """Run a server that leaves settled collections behind. After a restart no writer holds them."""
    async with running_qdrant(data) as server:
        client = server.client()
        for name in names:
            await create(client, name)
            await upsert(client, name, vectors)
            await settled(client, name)
        await client.close()
