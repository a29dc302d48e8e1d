"""Batches for a device, as far as they can be shown without one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from embedder.backbones.builtin import builtin_source
from embedder.backbones.folder import folder_source
from embedder.backbones.vision_model import load_vision_model
from embedder.config import EmbedderSettings
from embedder.engines.cuda_engine import (
    CudaEngine,
    broken_by_device_errors,
    bucket_of,
    bucket_sizes,
    half_precision,
)
from embedder.engines.cuda_engine import halving_when_out_of_memory as halving
from embedder.engines.engine import EngineBroken, EngineError
from embedder.hardware import HardwareError, plan_hardware
from tests.unit.embedder.backbones.checkpoints import save_checkpoint


@pytest.mark.parametrize(("most", "sizes"), [(1, [1]), (2, [1, 2]), (8, [1, 2, 4, 8]), (48, [1, 2, 4, 8, 16, 32, 48])])
def test_buckets_reach_from_one_to_the_largest_batch(most: int, sizes: list[int]) -> None:
    assert bucket_sizes(most) == sizes
    assert all(bucket_of(count, sizes) >= count for count in range(1, most + 1))


class Device:
    """A forward pass on a device whose memory holds `capacity` images."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.batches: list[int] = []

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(pixels))
        if len(pixels) > self.capacity:
            raise torch.OutOfMemoryError
        return pixels * 2


def test_a_batch_that_does_not_fit_is_halved_once() -> None:
    device = Device(5)
    pixels = torch.arange(9.0)
    assert torch.equal(halving(device.forward, pixels), pixels * 2)
    assert device.batches == [9, 5, 4]


def test_a_half_that_does_not_fit_either_is_an_error() -> None:
    device = Device(3)
    with pytest.raises(EngineError, match="memory"):
        halving(device.forward, torch.arange(9.0))
    assert device.batches == [9, 5]


def test_an_error_of_the_device_breaks_the_engine_and_lack_of_memory_does_not() -> None:
    with pytest.raises(EngineBroken, match="illegal memory access"), broken_by_device_errors():
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nmore")
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
        # The model that was given still computes in full.
        assert torch.equal(model(probe), expected)
    assert next(half.parameters()).dtype in (torch.float16, torch.bfloat16)
    assert found.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(expected, found).min() > 0.99


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_without_a_gpu_cuda_is_refused_in_words() -> None:
    with pytest.raises(EngineError, match="no CUDA device"):
        CudaEngine(builtin_source(), np.zeros((224, 224, 3), np.uint8), 8)
    with pytest.raises(HardwareError, match="SIMILIS_DEVICE"):
        plan_hardware(EmbedderSettings(device="cuda"), cuda=False)


def test_a_gpu_is_taken_in_stages_and_a_processor_is_not() -> None:
    gpu = plan_hardware(EmbedderSettings(), cuda=True, cores=16)
    assert (gpu.device, gpu.engine, gpu.staged, gpu.workers) == ("cuda", "torch", True, 15)
    processor = plan_hardware(EmbedderSettings(), cuda=False, cores=16)
    assert (processor.device, processor.engine, processor.staged) == ("cpu", "openvino", False)
    assert (processor.workers, processor.threads) == (8, 2)


def test_a_batch_has_room_for_an_image_and_its_views() -> None:
    hardware = plan_hardware(EmbedderSettings(max_batch=4, max_views=16), cuda=False, cores=2)
    assert hardware.max_batch == 17
    assert hardware.slots >= hardware.max_batch
