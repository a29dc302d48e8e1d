"""The loop of the engine process: a failed batch costs no other batch, and a broken engine ends the process."""

import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from embedder.backbones.builtin import PREPROCESSING
from embedder.engines.batch_engine import PendingBatch
from embedder.engines.engine import EngineBroken, EngineError, Pixels, Vectors
from embedder.workers.arena import Arena, arena_bytes, open_arena
from embedder.workers.batch_loop import BatchLoop
from embedder.workers.messages import WorkRequest, to_header, to_result
from servicekit.process.frames import FrameReceiver, frame_start
from servicekit.process.parent_link import ParentLink


class PlannedEngine:
    """An engine whose batches have planned outcomes: a number that fills the vectors, or an error.

    start_errors: errors that `start` raises, by the number of the batch.
    """

    device = "cpu"
    name = "planned"
    max_batch = 4

    def __init__(self, *outcomes: float | Exception, start_errors: dict[int, Exception] | None = None) -> None:
        self._outcomes = enumerate(outcomes)
        self._start_errors = start_errors or {}

    def start(self, fill: Callable[[Pixels], None], count: int) -> PendingBatch:  # noqa: ARG002
        number, outcome = next(self._outcomes)
        if number in self._start_errors:
            raise self._start_errors[number]

        def collect() -> Vectors:
            if isinstance(outcome, Exception):
                raise outcome
            return np.full((count, 2), outcome, np.float32)

        return PendingBatch(collect)


@pytest.fixture
def arena() -> Iterator[Arena]:
    descriptor = open_arena(arena_bytes(1, PREPROCESSING))
    yield Arena(descriptor, PREPROCESSING)
    os.close(descriptor)


class EngineThread:
    """A thread that runs the loop, and the embedder's end of its connection."""

    def __init__(self, engine: PlannedEngine, arena: Arena) -> None:
        self._connection, theirs = socket.socketpair()
        self._frames = FrameReceiver(self._connection)
        self._executor = ThreadPoolExecutor(1)
        self.end = self._executor.submit(self._serve, engine, arena, theirs)

    def close(self) -> None:
        """Hang up and wait for the end of the loop."""
        self._connection.close()
        self._executor.shutdown()

    def run_batch(self) -> str | None:
        """Run one batch and return the code of its result. Raises EOFError if the loop has ended."""
        self._connection.sendall(frame_start(to_header(WorkRequest(1, slots=[0]))))
        ((header, vectors),) = self._frames.next()
        return to_result(header, vectors).code

    @staticmethod
    def _serve(engine: PlannedEngine, arena: Arena, connection: socket.socket) -> None:
        with connection:
            BatchLoop(engine, arena).serve(ParentLink(connection))


def test_a_failed_batch_does_not_fail_other_batches(arena: Arena) -> None:
    outcomes = (1.0, RuntimeError("no"), float("nan"), EngineError("no"), float("inf"), 1.0, 2.0)
    engine = EngineThread(PlannedEngine(*outcomes, start_errors={5: RuntimeError("no")}), arena)
    codes = [engine.run_batch() for _ in outcomes]
    engine.close()
    assert codes == [None, *["embedding_failed"] * 5, None]


def test_a_broken_engine_ends_its_process(arena: Arena) -> None:
    engine = EngineThread(PlannedEngine(1.0, EngineBroken("the device failed"), 2.0), arena)
    assert engine.run_batch() is None
    with pytest.raises(EOFError):
        engine.run_batch()
    engine.close()
    assert isinstance(engine.end.exception(), EngineBroken)


def test_an_engine_that_breaks_before_a_batch_starts_ends_its_process(arena: Arena) -> None:
    engine = EngineThread(PlannedEngine(1.0, start_errors={0: EngineBroken("the device failed")}), arena)
    with pytest.raises(EOFError):
        engine.run_batch()
    engine.close()
    assert isinstance(engine.end.exception(), EngineBroken)
