"""Torch on CUDA: half precision, channels last, one CUDA graph for each batch size, copies that overlap compute."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from embedder.backbones.source import BackboneSource
from embedder.backbones.vision_model import PixelsToVectors, load_vision_model
from embedder.canary import cosine
from embedder.engines.batch_engine import PendingBatch
from embedder.engines.engine import EngineBroken, EngineError, Pixels, Vectors

# One batch is prepared, one computed and one collected at the same time.
BUFFERS = 3
WARM_UPS = 3
GOOD_HALF_COSINE, MIN_HALF_COSINE = 0.999, 0.99
MILLISECOND = 1e-3


def bucket_sizes(max_batch: int) -> list[int]:
    """Return the batch sizes to capture: the powers of two below `max_batch`, and `max_batch` itself."""
    sizes = [1]
    while sizes[-1] * 2 < max_batch:
        sizes.append(sizes[-1] * 2)
    return sizes if max_batch == 1 else [*sizes, max_batch]


def bucket_of(count: int, sizes: list[int]) -> int:
    """Return the smallest of the ascending `sizes` that holds `count` inputs."""
    return next(size for size in sizes if size >= count)


def halving_when_out_of_memory(forward: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """Run the forward pass, in two halves if memory runs out. Raises EngineError if a half does not fit either."""
    try:
        return forward(pixels)
    except torch.OutOfMemoryError:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    middle = (len(pixels) + 1) // 2
    try:
        return torch.cat([forward(part) for part in (pixels[:middle], pixels[middle:]) if len(part)])
    except torch.OutOfMemoryError:
        raise EngineError(
            "the device has too little memory for half a batch: set SIMILIS_MAX_BATCH to a smaller number"
        ) from None


@contextmanager
def broken_by_device_errors() -> Iterator[None]:
    """Raise EngineBroken for an error of the device, after which CUDA refuses all work of this process."""
    try:
        yield
    except torch.AcceleratorError as error:
        raise EngineBroken(f"the device failed: {str(error).splitlines()[0]}") from error


@dataclass
class _Buffers:
    """The memory of one batch: pinned pixels, their copy on the device, pinned vectors; and its events."""

    pixels: Tensor
    on_device: Tensor
    vectors: Tensor
    copy_started: torch.cuda.Event
    copied: torch.cuda.Event
    done: torch.cuda.Event


@dataclass
class _CapturedGraph:
    """A CUDA graph, and the tensors that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    pixels: Tensor
    vectors: Tensor


class CudaEngine:
    """Runs a backbone on one GPU, in float16 if that preserves its vectors (cosine 0.999), and else in bfloat16."""

    name = "torch"

    def __init__(self, source: BackboneSource, canary: Pixels, max_batch: int, index: int = 0) -> None:
        """canary: pixels [height, width, 3] of an image with uniform areas, which noise lacks. Raises EngineError."""
        if not torch.cuda.is_available():
            raise EngineError("torch finds no usable CUDA device")
        self.device = f"cuda:{index}"
        self.max_batch = max_batch
        torch.cuda.set_device(index)
        torch.backends.cudnn.benchmark = True
        self._shape = (source.preprocessing.crop_height, source.preprocessing.crop_width, 3)
        self._model = half_precision(load_vision_model(source), self._probe(canary), torch.device(self.device))
        self._copying: torch.cuda.Stream = torch.cuda.Stream()
        self._computing: torch.cuda.Stream = torch.cuda.Stream()
        self._buffers = [self._allocate(source.dimension) for _ in range(BUFFERS)]
        self._next = 0
        self._graphs = self._capture()

    def start(self, fill: Callable[[Pixels], None], count: int) -> PendingBatch:
        """See `BatchEngine`. Collect a batch before you start the third one after it, which reuses its buffers."""
        with broken_by_device_errors():
            return self._start(fill, count)

    def _start(self, fill: Callable[[Pixels], None], count: int) -> PendingBatch:
        buffers = self._buffers[self._next]
        self._next = (self._next + 1) % BUFFERS
        buffers.done.synchronize()
        fill(buffers.pixels[:count].numpy())
        with torch.cuda.stream(self._copying):
            buffers.copy_started.record()
            buffers.on_device[:count].copy_(buffers.pixels[:count], non_blocking=True)
            buffers.copied.record()
        with torch.cuda.stream(self._computing), torch.inference_mode():
            self._computing.wait_event(buffers.copied)
            vectors = self._forward(buffers.on_device, count)
            buffers.vectors[:count].copy_(vectors, non_blocking=True)
            buffers.done.record()
        pending = PendingBatch(lambda: self._collect(pending, buffers, count))
        return pending

    def _collect(self, pending: PendingBatch, buffers: _Buffers, count: int) -> Vectors:
        with broken_by_device_errors():
            buffers.done.synchronize()
        pending.copy_seconds = buffers.copy_started.elapsed_time(buffers.copied) * MILLISECOND
        pending.forward_seconds = buffers.copied.elapsed_time(buffers.done) * MILLISECOND
        vectors: Vectors = buffers.vectors[:count].numpy().copy()
        return vectors

    def _forward(self, pixels: Tensor, count: int) -> Tensor:
        sizes = sorted(self._graphs)
        if not sizes or count > sizes[-1]:
            return halving_when_out_of_memory(self._model, pixels[:count])
        captured = self._graphs[bucket_of(count, sizes)]
        captured.pixels[:count].copy_(pixels[:count], non_blocking=True)
        captured.graph.replay()
        return captured.vectors[:count]

    def _capture(self) -> dict[int, _CapturedGraph]:
        """Return graphs by batch size, captured from the largest down so that all share the memory of the largest.

        A size that does not fit into memory has no graph. Its batches run eagerly, in halves if necessary.
        """
        captured: dict[int, _CapturedGraph] = {}
        pool = torch.cuda.graph_pool_handle()
        for size in reversed(bucket_sizes(self.max_batch)):
            try:
                captured[size] = self._capture_one(size, pool)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
        return captured

    def _capture_one(self, size: int, pool: "torch.cuda._POOL_HANDLE") -> _CapturedGraph:
        pixels = torch.zeros((size, *self._shape), dtype=torch.uint8, device=self.device)
        with torch.cuda.stream(self._computing), torch.inference_mode():
            for _ in range(WARM_UPS):
                self._model(pixels)
        self._computing.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.graph(graph, pool=pool, stream=self._computing):
            vectors = self._model(pixels)
        return _CapturedGraph(graph, pixels, vectors)

    def _allocate(self, dimension: int) -> _Buffers:
        size = (self.max_batch, *self._shape)
        return _Buffers(
            pixels=torch.empty(size, dtype=torch.uint8, pin_memory=True),
            on_device=torch.empty(size, dtype=torch.uint8, device=self.device),
            vectors=torch.empty((self.max_batch, dimension), pin_memory=True),
            copy_started=torch.cuda.Event(enable_timing=True),
            copied=torch.cuda.Event(enable_timing=True),
            done=torch.cuda.Event(enable_timing=True),
        )

    def _probe(self, canary: Pixels) -> Tensor:
        noise = np.random.default_rng(0).integers(0, 256, (3, *self._shape), dtype=np.uint8)
        return torch.from_numpy(np.concatenate([canary[np.newaxis], noise]))


def half_precision(model: PixelsToVectors, probe: Tensor, device: torch.device) -> nn.Module:
    """Move the model to `device` and return it in float16 if that preserves its vectors of `probe` (cosine 0.999).

    Else return whichever of float16 and bfloat16 is closer. Normalisation stays in float32. Raises EngineError if the
    cosine of neither reaches 0.99.
    """
    model, probe = model.to(device), probe.to(device)
    best, closest = model, -1.0
    with torch.inference_mode():
        expected = model(probe).cpu().numpy()
        for dtype in (torch.float16, torch.bfloat16):
            candidate = copy.deepcopy(model)
            candidate.set_precision(dtype)
            found = candidate(probe).cpu().numpy()
            worst = min(cosine(a, b) for a, b in zip(expected, found, strict=True))
            if worst > closest:
                best, closest = candidate, worst
            if worst >= GOOD_HALF_COSINE:
                break
    if closest < MIN_HALF_COSINE:
        raise EngineError(f"half precision changes the vectors of this backbone: cosine {closest:.4f}")
    return best
