"""Training in a separate process: torch is in memory only while it runs, and cancelling the finetune ends it."""

import asyncio
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from servicekit.process.child_process import ChildGone, ChildProcess
from trainer.learning.dataset import Earlier, Matrix, TrainingSet

EXIT_SECONDS = 2.0


class LearningFailed(Exception):
    """The training failed; the message says why. The finetune goes on with the PCA as its adapter."""


@dataclass(frozen=True)
class Lesson:
    """The input of a training. pca: the head [dim, d] to start from. earlier: a head that may be continued, if any."""

    data: TrainingSet
    pca: Matrix
    earlier: Earlier | None
    steps: int
    threads: int

    def save(self, file: IO[bytes]) -> None:
        """Write the lesson to a file, for `load`."""
        data = self.data
        earlier = self.earlier or Earlier(np.zeros((0, 0), np.float32), np.zeros(0, bool))
        np.savez(
            file,
            vectors=data.vectors,
            groups=data.groups,
            views=data.views,
            viewed=data.viewed,
            pictures=data.pictures,
            pca=self.pca,
            head=earlier.head,
            fresh=earlier.fresh,
            settings=np.array([self.steps, self.threads]),
        )

    @classmethod
    def load(cls, file: IO[bytes]) -> "Lesson":
        """Return the lesson that `save` wrote."""
        with np.load(file) as saved:
            steps, threads = saved["settings"].tolist()
            earlier = Earlier(saved["head"], saved["fresh"])
            data = TrainingSet(*(saved[name] for name in ("vectors", "groups", "views", "viewed", "pictures")))
            pca = saved["pca"]
        return cls(data, pca, earlier if earlier.head.size else None, steps, threads)


@dataclass(frozen=True)
class LearnedHead:
    """A head [dim, d]. quality: the gate's figures, as JSON holds them.

    unrelated: the best score of each of some images that have nothing to find, [q]. gallery: the number of images that
    they were compared with.
    """

    head: Matrix
    quality: dict[str, object]
    unrelated: Matrix
    gallery: int


async def learn_apart(lesson: Lesson, report: Callable[[float], None]) -> LearnedHead:
    """Train in a child process. report: receives the share done, 0 to 1.

    Raises LearningFailed when the child dies, or cannot start because the disk is full or memory is short.
    Cancelling ends the child.
    """
    try:
        return await _learnt_by_child(lesson, report)
    except OSError as error:
        raise LearningFailed(f"cannot start the training process: {error.strerror}") from error


async def _learnt_by_child(lesson: Lesson, report: Callable[[float], None]) -> LearnedHead:
    # An unnamed file leaves nothing behind, however this process ends.
    with tempfile.TemporaryFile() as file:
        await asyncio.to_thread(_written, lesson, file)
        descriptor = file.fileno()
        async with ChildProcess.running(
            "trainer.learning", str(descriptor), pass_fds=(descriptor,), grace_seconds=EXIT_SECONDS
        ) as child:
            try:
                return await _learned(child, lesson, report)
            except ChildGone:
                raise LearningFailed("the training process died") from None


def _written(lesson: Lesson, file: IO[bytes]) -> None:
    lesson.save(file)
    file.flush()


async def _learned(child: ChildProcess, lesson: Lesson, report: Callable[[float], None]) -> LearnedHead:
    """Report progress until the child sends the head. Raises ChildGone."""
    while True:
        header, body = await child.receive()
        if body:
            return _received(json.loads(header), np.frombuffer(body, "<f4").copy(), len(lesson.pca))
        report(json.loads(header))


def _received(answer: dict[str, Any], numbers: Matrix, dim: int) -> LearnedHead:
    size = dim * int(answer["columns"])
    head = numbers[:size].reshape(dim, -1)
    return LearnedHead(head, answer["quality"], numbers[size:], int(answer["gallery"]))
