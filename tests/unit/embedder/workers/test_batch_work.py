"""The engine's process: a batch that fails is answered, an engine that is broken ends it."""

import json
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
from embedder.workers.batch_work import BatchWork
from embedder.workers.wire import Job, Result, header
from servicekit.process.frames import FrameReceiver, frame_start
from servicekit.process.parent_link import ParentLink


class PlayedEngine:
    """Gives what it is told to, batch by batch."""

    device = "cpu"
    name = "played"
    max_batch = 4

    def __init__(self, *outcomes: float | Exception) -> None:
        self._outcomes = iter(outcomes)

    def start(self, fill: Callable[[Pixels], None], count: int) -> PendingBatch:  # noqa: ARG002
        outcome = next(self._outcomes)

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


class Engine:
    """The serving process's end of a thread that serves as the engine's process does."""

    def __init__(self, engine: PlayedEngine, arena: Arena) -> None:
        self._connection, theirs = socket.socketpair()
        self._frames = FrameReceiver(self._connection)
        self._executor = ThreadPoolExecutor(1)
        self.ended = self._executor.submit(self._serve, engine, arena, theirs)

    def close(self) -> None:
        """Its end follows."""
        self._connection.close()
        self._executor.shutdown()

    def answer(self) -> str | None:
        """The code that one batch is answered with. Raises EOFError when the engine has ended instead."""
        self._connection.sendall(frame_start(header(Job(1, slots=[0]))))
        ((result, _),) = self._frames.next()
        return Result(**json.loads(result)).code

    @staticmethod
    def _serve(engine: PlayedEngine, arena: Arena, connection: socket.socket) -> None:
        with connection:
            BatchWork(engine, arena).serve(ParentLink(connection))


def test_a_batch_that_fails_or_is_not_finite_costs_no_other(arena: Arena) -> None:
    outcomes = (1.0, RuntimeError("no"), float("nan"), EngineError("no"), float("inf"), 2.0)
    engine = Engine(PlayedEngine(*outcomes), arena)
    codes = [engine.answer() for _ in outcomes]
    engine.close()
    assert codes == [None, *["embedding_failed"] * 4, None]


def test_an_engine_that_is_broken_ends_its_process_instead_of_failing_every_batch(arena: Arena) -> None:
    engine = Engine(PlayedEngine(1.0, EngineBroken("the device failed"), 2.0), arena)
    assert engine.answer() is None
    with pytest.raises(EOFError):
        engine.answer()
    engine.close()
    assert isinstance(engine.ended.exception(), EngineBroken)
