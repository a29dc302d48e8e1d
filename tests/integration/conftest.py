"""An embedder with a text tower, which takes long to start. The tests that use it run in one process."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.embedder.models.checkpoints import save_text_checkpoint
from tests.integration.embedder_process import RunningEmbedder, running_embedder


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def clip(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningEmbedder]:
    """An embedder with a small CLIP."""
    folder = save_text_checkpoint("clip", tmp_path_factory.mktemp("clip"))
    async with running_embedder(backbone=str(folder), workers="1", engine="torch", interactive_workers="0") as running:
        yield running
