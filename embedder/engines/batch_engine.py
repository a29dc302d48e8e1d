"""The seam to engines that work on one batch while the next one is prepared."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from embedder.engines.engine import Engine, Pixels, Vectors


@dataclass
class Pending:
    """A batch that was begun. `collect` waits for it. The seconds are known after that."""

    collect: Callable[[], Vectors]
    copy_seconds: float = 0.0
    forward_seconds: float = 0.0


class BatchEngine(Protocol):
    """Runs batches of up to `max_batch` inputs; two may be under way."""

    device: str
    name: str
    max_batch: int

    def begin(self, fill: Callable[[Pixels], None], count: int) -> Pending:
        """Starts a batch of `count` inputs, which `fill` writes into the array that it is given.

        Raises EngineError; `collect` does too. EngineBroken: no batch will succeed any more.
        """
        ...


class ImmediateBatches:
    """Any engine as one that takes batches: the work is done when it is begun."""

    def __init__(self, engine: Engine, input_shape: tuple[int, int, int], max_batch: int) -> None:
        self.device = engine.device
        self.name = engine.name
        self.max_batch = max_batch
        self._engine = engine
        self._input = np.empty((max_batch, *input_shape), np.uint8)

    def begin(self, fill: Callable[[Pixels], None], count: int) -> Pending:
        """See `BatchEngine`."""
        began = time.perf_counter()
        fill(self._input[:count])
        copied = time.perf_counter()
        vectors = self._engine.embed(self._input[:count])
        return Pending(lambda: vectors, copied - began, time.perf_counter() - copied)
