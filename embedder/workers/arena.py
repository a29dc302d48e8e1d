"""Memory that decoders and the engine share: pixels pass from one to the other without being sent."""

import mmap
import os

import numpy as np

from embedder.decoding.preprocessing import Preprocessing
from embedder.engines.engine import Pixels

CHANNELS = 3


def arena_bytes(slots: int, preprocessing: Preprocessing) -> int:
    """Size of an arena with so many inputs."""
    return slots * preprocessing.crop_height * preprocessing.crop_width * CHANNELS


def open_arena(size: int) -> int:
    """New shared memory; its descriptor is passed to the workers. The caller closes it."""
    descriptor = os.memfd_create("similis-pixels", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, size)
    return descriptor


class Arena:
    """An arena as a worker sees it: numbered slots, each one input of the backbone."""

    def __init__(self, descriptor: int, preprocessing: Preprocessing) -> None:
        shape = (-1, preprocessing.crop_height, preprocessing.crop_width, CHANNELS)
        self._slots: Pixels = np.frombuffer(mmap.mmap(descriptor, 0), np.uint8).reshape(shape)

    def write(self, slot: int, pixels: Pixels) -> None:
        """Puts pixels [height, width, 3] into a slot."""
        self._slots[slot] = pixels

    def read(self, slots: list[int]) -> Pixels:
        """Pixels [n, height, width, 3] of slots, copied."""
        return self._slots[slots]

    def read_into(self, slots: list[int], target: Pixels) -> None:
        """Copies slots into `target` [n, height, width, 3]."""
        np.take(self._slots, slots, axis=0, out=target)
