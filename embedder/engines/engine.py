"""The interface of an engine, which runs a backbone on pixels."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Vectors = NDArray[np.float32]


class EngineError(Exception):
    """An engine that does not start, fails, or returns wrong vectors. The message is one line for the operator."""


class EngineBroken(EngineError):
    """An engine that will not work again in this process, which therefore has to be replaced."""


class Engine(Protocol):
    """Runs one backbone on one device."""

    device: str
    name: str

    def embed(self, pixels: Pixels, *, all_cores: bool = False) -> Vectors:
        """Return the vectors [n, dimension] of uint8 pixels [n, height, width, 3]. Raises EngineError.

        all_cores: use all cores, because nothing else needs them now.
        """
        ...
