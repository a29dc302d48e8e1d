"""The adapter that serves a collection: read, made by a finetune, replaced."""

import json
from typing import Any

from catalog.adapters import StoredAdapter
from catalog.jobs import JobState
from catalog.vectors.projection import Matrix, Projection
from tests.integration.trainer.conftest import Trainers
from tests.integration.workplace import Workplace


async def live(workplace: Workplace, collection: int) -> tuple[StoredAdapter, dict[str, Any]]:
    """The adapter that serves, and the figures that are kept with it."""
    adapter = await workplace.adapters.live(collection)
    assert adapter is not None
    assert adapter.quality is not None
    return adapter, json.loads(adapter.quality)


async def finetuned(trainers: Trainers, workplace: Workplace, collection: int, **wanted: bool) -> dict[str, Any]:
    """The figures of the next finetune."""
    job, _ = await workplace.jobs.enqueue(collection, backbone=None, **{"force": False, **wanted})
    assert job is not None
    async with trainers.running():
        assert (await trainers.ended(job)).state is JobState.DONE
    return (await live(workplace, collection))[1]


async def serve_instead(workplace: Workplace, collection: int, matrix: Matrix) -> None:
    """Puts another adapter in the place of the one that serves."""
    adapter, _ = await live(workplace, collection)
    weights = Projection(matrix).to_bytes()
    await workplace.rows("UPDATE adapters SET weights = $2 WHERE id = $1 RETURNING id", adapter.id, weights)
