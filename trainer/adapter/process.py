"""Training in a separate process: torch is in memory only while it runs, and cancelling the finetune ends it."""

import asyncio
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from catalog.vectors.false_matches import RUNNER_UPS
from servicekit.process.child_process import ChildGone, ChildProcess
from trainer.learning.dataset import EarlierHead, Matrix, TrainingSet

EXIT_SECONDS = 2.0


class TrainingFailed(Exception):
    """The training process failed; the message says why. The finetune continues with the PCA as its adapter."""


@dataclass(frozen=True)
class TrainingInput:
    """What the training process needs. pca: the head [dim, d] to start from. earlier: a head to continue, if any."""

    data: TrainingSet
    pca: Matrix
    earlier: EarlierHead | None
    steps: int
    threads: int

    def save(self, file: IO[bytes]) -> None:
        """Write the input to a file, for `load`."""
        data = self.data
        earlier = self.earlier or EarlierHead(np.zeros((0, 0), np.float32), np.zeros(0, bool))
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
    def load(cls, file: IO[bytes]) -> "TrainingInput":
        """Return the input that `save` wrote."""
        with np.load(file) as saved:
            steps, threads = saved["settings"].tolist()
            earlier = EarlierHead(saved["head"], saved["fresh"])
            data = TrainingSet(*(saved[name] for name in ("vectors", "groups", "views", "viewed", "pictures")))
            pca = saved["pca"]
        return cls(data, pca, earlier if earlier.head.size else None, steps, threads)


@dataclass(frozen=True)
class TrainedHead:
    """A head [dim, d]. quality: the gate's metrics, as JSON stores them.

    strangers: the scores [q, 1 + RUNNER_UPS] of the best objects for held-out images of unknown objects, in a gallery
    of `gallery_size` images.
    """

    head: Matrix
    quality: dict[str, object]
    strangers: Matrix
    gallery_size: int


async def train_in_child(
    given: TrainingInput, report: Callable[[float], None], environment: Mapping[str, str] | None = None
) -> TrainedHead:
    """Train in a child process. report: receives the share done, 0 to 1. environment: of the child, ours by default.

    Raises TrainingFailed when the child dies, or cannot start because disk space or memory is short. Cancelling ends
    the child.
    """
    try:
        return await _run_child(given, report, environment)
    except OSError as error:
        raise TrainingFailed(f"cannot start the training process: {error.strerror}") from error


async def _run_child(
    given: TrainingInput, report: Callable[[float], None], environment: Mapping[str, str] | None
) -> TrainedHead:
    # An unnamed file leaves nothing behind, however this process ends.
    with tempfile.TemporaryFile() as file:
        await asyncio.to_thread(_write, given, file)
        descriptor = file.fileno()
        async with ChildProcess.running(
            "trainer.learning",
            str(descriptor),
            pass_fds=(descriptor,),
            environment=environment,
            grace_seconds=EXIT_SECONDS,
        ) as child:
            try:
                return await _receive(child, given, report)
            except ChildGone:
                raise TrainingFailed("the training process died") from None


def _write(given: TrainingInput, file: IO[bytes]) -> None:
    given.save(file)
    file.flush()


async def _receive(child: ChildProcess, given: TrainingInput, report: Callable[[float], None]) -> TrainedHead:
    """Report progress until the child sends the head. Raises ChildGone."""
    while True:
        header, body = await child.receive()
        if body:
            return _parsed(json.loads(header), np.frombuffer(body, "<f4").copy(), len(given.pca))
        report(json.loads(header))


def _parsed(header: dict[str, Any], numbers: Matrix, dim: int) -> TrainedHead:
    size = dim * int(header["columns"])
    head = numbers[:size].reshape(dim, -1)
    strangers = numbers[size:].reshape(-1, 1 + RUNNER_UPS)
    return TrainedHead(head, header["quality"], strangers, int(header["gallery_size"]))
