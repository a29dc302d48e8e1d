"""The live adapter of a collection: read it, make one with a finetune, replace it."""

import json
from typing import Any

from catalog.adapters import StoredAdapter
from catalog.jobs import JobState
from catalog.vectors.projection import Matrix, Projection
from tests.integration.trainer.conftest import Trainers
from tests.integration.workplace import Workplace


async def live(workplace: Workplace, collection: int) -> tuple[StoredAdapter, dict[str, Any]]:
    """Return the live adapter and its figures."""
    adapter = await workplace.adapters.live(collection)
    assert adapter is not None
    assert adapter.quality is not None
    return adapter, json.loads(adapter.quality)


async def finetuned(trainers: Trainers, workplace: Workplace, collection: int, **wanted: bool) -> dict[str, Any]:
    """Finetune the collection and return the figures of its adapter."""
    job, _ = await workplace.jobs.enqueue(collection, backbone=None, **{"force": False, **wanted})
    assert job is not None
    async with trainers.running():
        assert (await trainers.ended(job)).state is JobState.DONE
    return (await live(workplace, collection))[1]


async def serve_instead(workplace: Workplace, collection: int, matrix: Matrix) -> None:
    """Replace the live adapter's matrix by one that counts as learned from the same images."""
    adapter, quality = await live(workplace, collection)
    learned = quality | {"adapter": "learned", "false_match_prominences": [0.5]}
    await workplace.rows(
        "UPDATE adapters SET weights = $2, quality = $3 WHERE id = $1 RETURNING id",
        *(adapter.id, Projection(matrix).to_bytes(), json.dumps(learned)),
    )
