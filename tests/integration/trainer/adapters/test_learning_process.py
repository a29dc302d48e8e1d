"""The training process: what happens when it dies, and what it leaves behind."""

import asyncio
import resource
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.adapter.fit import train_or_fall_back
from trainer.adapter.process import TrainingInput
from trainer.learning.dataset import TrainingSet

IMAGES, DIMENSION = 90, 32


def training_input() -> TrainingInput:
    """Fifteen objects of six images each, hard to tell apart, without views."""
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(15), 6)
    vectors = random.normal(size=(15, DIMENSION))[groups] + 2 * random.normal(size=(IMAGES, DIMENSION))
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return TrainingInput(
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
    """Kill the next `times` child processes as soon as they start. Return a list of their ids."""
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


async def test_a_finetune_succeeds_with_the_pca_if_the_training_set_does_not_fit_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        learned = await train_or_fall_back(training_input(), lambda _: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert learned.head.shape == (DIMENSION, 8)
    assert learned.quality["adapter"] == "pca"
    assert "File too large" in str(learned.quality["reason"])


@pytest.mark.parametrize(("kills", "reason"), [(1, "mAP"), (2, "the training process died")])
async def test_training_is_retried_once_if_its_process_dies(
    kills: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed = kill_as_they_start(monkeypatch, kills)
    learned = await train_or_fall_back(training_input(), lambda _: None)
    assert len(killed) == kills
    assert learned.head.shape == (DIMENSION, 8)
    assert reason in str(learned.quality["reason"])
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240 - files of the test itself
