"""The seam between pixels and vectors."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Vectors = NDArray[np.float32]


class EngineError(Exception):
    """An engine that cannot be made, or that gives wrong vectors; the message is one line for the operator."""


class EngineBroken(EngineError):
    """An engine that cannot work again in this process: the process ends, and another one begins anew."""


class Engine(Protocol):
    """Runs one backbone on one device."""

    device: str
    name: str

    def embed(self, pixels: Pixels, *, wide: bool = False) -> Vectors:
        """Vectors [n, dimension] of uint8 pixels [n, height, width, 3]. `wide`: all processors may be used for it."""
        ...
