"""A trainer in this process, on real stores, with an embedder and an image host that tests control."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import pytest_asyncio

from catalog.jobs import Job
from tests.integration.stores import postgres_url, qdrant_address, workplace
from tests.integration.trainer.parts.image_host import ImageHost, image_host
from tests.integration.trainer.parts.pixel_embedder import PixelEmbedder, pixel_embedder
from tests.integration.workplace import Workplace
from trainer.adapter import fit as learned_adapter
from trainer.app import RunningTrainer, trainer
from trainer.config import TrainerSettings
from trainer.jobs import finetune

__all__ = ["postgres_url", "qdrant_address", "workplace"]


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 60.0) -> None:
    """Return as soon as the condition holds; fail if it does not hold in time."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 (other processes make it true)
            await asyncio.sleep(0.02)


class Trainers:
    """Starts trainers on a workplace and waits for their results."""

    def __init__(self, workplace: Workplace, embedder: PixelEmbedder) -> None:
        self.workplace = workplace
        self.embedder = embedder

    def settings(self, **overrides: Any) -> TrainerSettings:
        """Settings of a trainer that reacts quickly."""
        defaults: dict[str, Any] = {
            "listen": "127.0.0.1:0",
            "database_url": self.workplace.database_url,
            "qdrant_address": self.workplace.qdrant_address,
            "vector_prefix": self.workplace.prefix,
            "embedder_address": self.embedder.target,
            "allow_private_addresses": True,
            "poll_seconds": 0.1,
            "janitor_seconds": 0.2,
            # Long enough that a busy machine takes no job from a living worker.
            "lease_seconds": 30.0,
            "download_attempts": 1,
            "shutdown_grace_seconds": 1.0,
        }
        return TrainerSettings(**{**defaults, **overrides})

    def running(self, **overrides: Any) -> AbstractAsyncContextManager[RunningTrainer]:
        """A trainer in this process while entered."""
        return trainer(self.settings(**overrides))

    async def ended(self, job: Job, seconds: float = 240.0) -> Job:
        """Wait for the end of a job and return it."""
        async with asyncio.timeout(seconds):
            while not (found := await self.workplace.jobs.get(job.id)).state.ended:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return found

    async def finetuned(self, collection_id: int, **overrides: Any) -> Job:
        """Finetune a collection with a trainer of its own, and return the job when it has ended."""
        job = await self.workplace.finetune(collection_id)
        async with self.running(**overrides):
            return await self.ended(job)


@pytest_asyncio.fixture(loop_scope="session")
async def host() -> AsyncIterator[ImageHost]:
    async with image_host() as host:
        yield host


@pytest_asyncio.fixture(loop_scope="session")
async def embedder() -> AsyncIterator[PixelEmbedder]:
    async with pixel_embedder() as embedder:
        yield embedder


@pytest.fixture
def nothing_to_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every collection too small to learn from. Trainers in this process then publish the PCA, which is quick."""
    for module in (learned_adapter, finetune):
        monkeypatch.setattr(module, "MIN_IMAGES", 1_000_000)


@pytest_asyncio.fixture(loop_scope="session")
async def trainers(workplace: Workplace, embedder: PixelEmbedder) -> Trainers:
    return Trainers(workplace, embedder)
