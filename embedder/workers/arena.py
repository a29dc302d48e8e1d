"""Shared memory through which decoders pass pixels to the engine, without sending them."""

import mmap
import os

import numpy as np

from embedder.decoding.preprocessing import Preprocessing
from embedder.engines.engine import Pixels

CHANNELS = 3


def arena_bytes(slots: int, preprocessing: Preprocessing) -> int:
    """Return the size of an arena with this many slots."""
    return slots * preprocessing.crop_height * preprocessing.crop_width * CHANNELS


def open_arena(size: int) -> int:
    """Allocate shared memory and return its file descriptor, which workers inherit. The caller closes it."""
    descriptor = os.memfd_create("similis-pixels", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, size)
    return descriptor


class Arena:
    """The shared memory in a worker: numbered slots, each with room for one input of the backbone."""

    def __init__(self, descriptor: int, preprocessing: Preprocessing) -> None:
        shape = (-1, preprocessing.crop_height, preprocessing.crop_width, CHANNELS)
        self._slots: Pixels = np.frombuffer(mmap.mmap(descriptor, 0), np.uint8).reshape(shape)

    def write(self, slot: int, pixels: Pixels) -> None:
        """Copy pixels [height, width, 3] into a slot."""
        self._slots[slot] = pixels

    def read_into(self, slots: list[int], target: Pixels) -> None:
        """Copy slots into `target` [n, height, width, 3]."""
        np.take(self._slots, slots, axis=0, out=target)
