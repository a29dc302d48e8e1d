"""Learning in a process of its own: torch is in memory only while it works, and a cancelled finetune ends it."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from similis.servicekit.errors import ServiceError
from similis.trainer.learning.training_set import Matrix, TrainingSet


class LearningFailed(ServiceError):
    """The process that learns died."""

    default_code = "learning_failed"


@dataclass(frozen=True)
class Lesson:
    """What to learn. start: the head [r, dim] to go on from, None for the PCA. threads: that may be used."""

    data: TrainingSet
    start: Matrix | None
    dim: int
    steps: int
    threads: int

    def save(self, path: Path) -> None:
        """Writes it for `load`."""
        start = np.zeros((0, 0), np.float32) if self.start is None else self.start
        data = self.data
        np.savez(
            path,
            vectors=data.vectors,
            groups=data.groups,
            views=data.views,
            viewed=data.viewed,
            start=start,
            settings=np.array([self.dim, self.steps, self.threads]),
        )

    @classmethod
    def load(cls, path: Path) -> "Lesson":
        """What `save` wrote."""
        with np.load(path) as file:
            dim, steps, threads = file["settings"].tolist()
            start = file["start"]
            data = TrainingSet(file["vectors"], file["groups"], file["views"], file["viewed"])
        return cls(data, start if start.size else None, dim, steps, threads)


@dataclass(frozen=True)
class LearnedHead:
    """head: [r, dim]. quality: what the gate measured, as JSON has it."""

    head: Matrix
    quality: dict[str, object]


async def learn_apart(lesson: Lesson, report: Callable[[float], None]) -> LearnedHead:
    """Learns in a child process. report: told the share done, 0 to 1.

    Raises LearningFailed when the child dies. Cancelled, it ends the child.
    """
    with tempfile.TemporaryDirectory(prefix="similis-learning-") as folder:
        given, made = Path(folder, "lesson.npz"), Path(folder, "head.npz")
        await asyncio.to_thread(lesson.save, given)
        command = (sys.executable, "-m", "similis.trainer.learning", str(given), str(made), str(os.getpid()))
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        try:
            await _follow(process, report)
            if await process.wait() != 0:
                raise LearningFailed("The process that learns the adapter died.")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        with np.load(made) as file:
            return LearnedHead(file["head"], json.loads(str(file["quality"])))


async def _follow(process: asyncio.subprocess.Process, report: Callable[[float], None]) -> None:
    assert process.stdout is not None, "it is a pipe"  # noqa: S101
    async for line in process.stdout:
        report(float(line))
