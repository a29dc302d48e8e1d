"""The parts of the CUDA engine that work without a GPU."""

from pathlib import Path

import numpy as np
import pytest
import torch

from embedder.backbones.builtin import builtin_source
from embedder.backbones.folder import folder_source
from embedder.backbones.vision_model import load_vision_model
from embedder.engines.cuda_engine import (
    CudaEngine,
    broken_by_device_errors,
    bucket_of,
    bucket_sizes,
    half_precision,
    halving_when_out_of_memory,
)
from embedder.engines.engine import EngineBroken, EngineError
from tests.unit.embedder.backbones.checkpoints import save_checkpoint


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


@pytest.mark.parametrize("kind", ["vit", "convnext"])
def test_half_precision_keeps_the_vectors(kind: str, tmp_path: Path) -> None:
    model = load_vision_model(folder_source(kind, save_checkpoint(kind, tmp_path)))
    probe = torch.randint(0, 256, (2, 56, 56, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = model(probe)
        half = half_precision(model, probe, torch.device("cpu"))
        found = half(probe)
        # The original model still computes in float32.
        assert torch.equal(model(probe), expected)
    assert next(half.parameters()).dtype in (torch.float16, torch.bfloat16)
    assert found.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(expected, found).min() > 0.99


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_the_engine_is_refused() -> None:
    with pytest.raises(EngineError, match="no usable CUDA device"):
        CudaEngine(builtin_source(), np.zeros((224, 224, 3), np.uint8), 8)
