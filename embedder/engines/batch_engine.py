"""The interface of engines that compute one batch while the next one is prepared."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from embedder.engines.engine import Engine, Pixels, Vectors


@dataclass
class PendingBatch:
    """A batch that was started. `collect` waits for its vectors; the durations are known after that."""

    collect: Callable[[], Vectors]
    copy_seconds: float = 0.0
    forward_seconds: float = 0.0


class BatchEngine(Protocol):
    """Runs batches of up to `max_batch` inputs, two of them at the same time."""

    device: str
    name: str
    max_batch: int

    def start(self, fill: Callable[[Pixels], None], count: int) -> PendingBatch:
        """Start a batch of `count` inputs, which `fill` writes into the array that it receives.

        This and `collect` raise EngineError, or EngineBroken if no later batch can succeed.
        """
        ...


class SynchronousBatches:
    """Makes a batch engine of any engine: `start` also computes the batch."""

    def __init__(self, engine: Engine, input_shape: tuple[int, int, int], max_batch: int) -> None:
        self.device = engine.device
        self.name = engine.name
        self.max_batch = max_batch
        self._engine = engine
        self._input = np.empty((max_batch, *input_shape), np.uint8)

    def start(self, fill: Callable[[Pixels], None], count: int) -> PendingBatch:
        """See `BatchEngine`."""
        started = time.perf_counter()
        fill(self._input[:count])
        copied = time.perf_counter()
        vectors = self._engine.embed(self._input[:count])
        return PendingBatch(lambda: vectors, copied - started, time.perf_counter() - copied)
