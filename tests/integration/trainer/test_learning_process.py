"""The process that learns: what its death costs, and what it leaves behind."""

import asyncio
import resource
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.adapter.fit import learned_apart
from trainer.adapter.process import Lesson
from trainer.learning.dataset import TrainingSet

IMAGES, DIMENSION = 90, 32


def lesson() -> Lesson:
    """Fifteen objects of six images each, hard to tell apart, without views."""
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(15), 6)
    vectors = random.normal(size=(15, DIMENSION))[groups] + 2 * random.normal(size=(IMAGES, DIMENSION))
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return Lesson(
        TrainingSet(
            unit,
            groups,
            np.zeros((0, 1, DIMENSION), np.float32),
            np.zeros(0, np.int64),
            np.arange(IMAGES, dtype=np.int64),
        ),
        np.eye(DIMENSION, 8, dtype=np.float32),
        None,
        50,
        1,
    )


def kill_as_they_start(monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """Has so many of the processes that start from now on killed as soon as they are there; gives which were."""
    start = asyncio.create_subprocess_exec
    killed: list[int] = []

    async def started(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        process = await start(*arguments, **options)
        if len(killed) < times:
            process.kill()
            killed.append(process.pid)
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", started)
    return killed


async def test_a_disk_without_room_for_what_is_learnt_from_costs_the_adapter_and_no_finetune(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        learned = await learned_apart(lesson(), lambda _: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert learned.head.shape == (DIMENSION, 8)
    assert learned.quality["adapter"] == "pca"
    assert "File too large" in str(learned.quality["reason"])


@pytest.mark.parametrize(("kills", "reason"), [(1, "mAP"), (2, "the process that learns died")])
async def test_learning_outlives_one_death_of_its_process_and_is_given_up_after_two(
    kills: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed = kill_as_they_start(monkeypatch, kills)
    learned = await learned_apart(lesson(), lambda _: None)
    assert len(killed) == kills
    assert learned.head.shape == (DIMENSION, 8)
    assert reason in str(learned.quality["reason"])
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240 - files of the test itself
