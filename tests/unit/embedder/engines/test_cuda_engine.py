"""The parts of the CUDA engine that work without a GPU."""

import numpy as np
import pytest
import torch

from embedder.backbones.builtin import builtin_source
from embedder.engines.cuda_engine import (
    CudaEngine,
    broken_by_device_errors,
    bucket_of,
    bucket_sizes,
    halving_when_out_of_memory,
)
from embedder.engines.engine import EngineBroken, EngineError


@pytest.mark.parametrize(
    ("max_batch", "sizes"), [(1, [1]), (2, [1, 2]), (8, [1, 2, 4, 8]), (48, [1, 2, 4, 8, 16, 32, 48])]
)
def test_every_batch_has_a_bucket(max_batch: int, sizes: list[int]) -> None:
    assert bucket_sizes(max_batch) == sizes
    assert all(bucket_of(count, sizes) >= count for count in range(1, max_batch + 1))


class SmallDevice:
    """A device whose memory holds `capacity` images."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.batches: list[int] = []

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(pixels))
        if len(pixels) > self.capacity:
            raise torch.OutOfMemoryError
        return pixels * 2


def test_a_batch_that_does_not_fit_is_halved_once() -> None:
    device = SmallDevice(5)
    pixels = torch.arange(9.0)
    assert torch.equal(halving_when_out_of_memory(device.forward, pixels), pixels * 2)
    assert device.batches == [9, 5, 4]


def test_a_half_that_does_not_fit_is_an_error() -> None:
    device = SmallDevice(3)
    with pytest.raises(EngineError, match="SIMILIS_MAX_BATCH"):
        halving_when_out_of_memory(device.forward, torch.arange(9.0))
    assert device.batches == [9, 5]


def test_an_error_of_the_device_breaks_the_engine() -> None:
    with pytest.raises(EngineBroken, match="illegal memory access"), broken_by_device_errors():
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nmore")


def test_running_out_of_memory_does_not_break_the_engine() -> None:
    with pytest.raises(torch.OutOfMemoryError), broken_by_device_errors():
        raise torch.OutOfMemoryError


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_the_engine_is_refused() -> None:
    with pytest.raises(EngineError, match="no usable CUDA device"):
        CudaEngine(builtin_source(), np.zeros((224, 224, 3), np.uint8), 8)
