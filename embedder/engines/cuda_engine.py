"""Torch on CUDA: half precision, channels last, CUDA graphs on bucketed batches, copies beside compute."""

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
from embedder.engines.batch_engine import Pending
from embedder.engines.engine import EngineBroken, EngineError, Pixels, Vectors

# Batches that are prepared, computed and collected at the same time.
RING = 3
WARM_UPS = 3
GOOD_HALF_COSINE, MIN_HALF_COSINE = 0.999, 0.99
MILLISECOND = 1e-3


def bucket_sizes(max_batch: int) -> list[int]:
    """Batch sizes that are captured: powers of two below `max_batch`, and itself."""
    sizes = [1]
    while sizes[-1] * 2 < max_batch:
        sizes.append(sizes[-1] * 2)
    return sizes if max_batch == 1 else [*sizes, max_batch]


def bucket_of(count: int, sizes: list[int]) -> int:
    """The smallest of the sizes that holds `count` inputs."""
    return next(size for size in sizes if size >= count)


def halving_when_out_of_memory(forward: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """The forward pass; where memory does not suffice, once more in two halves. Raises EngineError if that fails."""
    try:
        return forward(pixels)
    except torch.OutOfMemoryError:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    middle = (len(pixels) + 1) // 2
    try:
        return torch.cat([forward(part) for part in (pixels[:middle], pixels[middle:]) if len(part)])
    except torch.OutOfMemoryError:
        raise EngineError("the device has too little memory for half a batch") from None


@contextmanager
def broken_by_device_errors() -> Iterator[None]:
    """Raises EngineBroken for an error of the device itself: after one CUDA refuses all further work of the process."""
    try:
        yield
    except torch.AcceleratorError as error:
        raise EngineBroken(f"the device failed: {str(error).splitlines()[0]}") from error


@dataclass
class _Place:
    """Where one batch under way lives: pinned pixels, the device's copy of them, pinned vectors, and its events."""

    pixels: Tensor
    on_device: Tensor
    vectors: Tensor
    copy_began: torch.cuda.Event
    copied: torch.cuda.Event
    done: torch.cuda.Event


@dataclass
class _Captured:
    """A CUDA graph with the tensors that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    pixels: Tensor
    vectors: Tensor


class CudaEngine:
    """A backbone on one GPU. float16 where its vectors equal those of float32 (cosine 0.999), else bfloat16."""

    name = "torch"

    def __init__(self, source: BackboneSource, canary: Pixels, max_batch: int, index: int = 0) -> None:
        """canary: pixels [height, width, 3] of an image with even areas, as photographs have and noise has not."""
        if not torch.cuda.is_available():
            raise EngineError("no CUDA device is usable")
        self.device = f"cuda:{index}"
        self.max_batch = max_batch
        torch.cuda.set_device(index)
        torch.backends.cudnn.benchmark = True
        self._shape = (source.preprocessing.crop_height, source.preprocessing.crop_width, 3)
        self._model = half_precision(load_vision_model(source), self._probe(canary), torch.device(self.device))
        self._copying: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._computing: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._places = [self._place(source.dimension) for _ in range(RING)]
        self._next = 0
        self._captured = self._capture()

    def begin(self, fill: Callable[[Pixels], None], count: int) -> Pending:
        """See `BatchEngine`. The place of the batch before the last but one is used again: collect it first."""
        with broken_by_device_errors():
            return self._begun(fill, count)

    def _begun(self, fill: Callable[[Pixels], None], count: int) -> Pending:
        place = self._places[self._next]
        self._next = (self._next + 1) % RING
        place.done.synchronize()
        fill(place.pixels[:count].numpy())
        with torch.cuda.stream(self._copying):
            place.copy_began.record()
            place.on_device[:count].copy_(place.pixels[:count], non_blocking=True)
            place.copied.record()
        with torch.cuda.stream(self._computing), torch.inference_mode():
            self._computing.wait_event(place.copied)
            vectors = self._forward(place.on_device, count)
            place.vectors[:count].copy_(vectors, non_blocking=True)
            place.done.record()
        pending = Pending(lambda: self._collected(pending, place, count))
        return pending

    def _collected(self, pending: Pending, place: _Place, count: int) -> Vectors:
        with broken_by_device_errors():
            place.done.synchronize()
        pending.copy_seconds = place.copy_began.elapsed_time(place.copied) * MILLISECOND
        pending.forward_seconds = place.copied.elapsed_time(place.done) * MILLISECOND
        vectors: Vectors = place.vectors[:count].numpy().copy()
        return vectors

    def _forward(self, pixels: Tensor, count: int) -> Tensor:
        sizes = sorted(self._captured)
        if not sizes or count > sizes[-1]:
            return halving_when_out_of_memory(self._model, pixels[:count])
        captured = self._captured[bucket_of(count, sizes)]
        captured.pixels[:count].copy_(pixels[:count], non_blocking=True)
        captured.graph.replay()
        return captured.vectors[:count]

    def _capture(self) -> dict[int, _Captured]:
        """Graphs by batch size, largest first so that all fit into the memory of the first one.

        A size for which the memory does not suffice is left out; such batches run as they come, in halves.
        """
        captured: dict[int, _Captured] = {}
        pool = torch.cuda.graph_pool_handle()
        for size in reversed(bucket_sizes(self.max_batch)):
            try:
                captured[size] = self._captured_at(size, pool)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
        return captured

    def _captured_at(self, size: int, pool: "torch.cuda._POOL_HANDLE") -> _Captured:
        pixels = torch.zeros((size, *self._shape), dtype=torch.uint8, device=self.device)
        with torch.cuda.stream(self._computing), torch.inference_mode():
            for _ in range(WARM_UPS):
                self._model(pixels)
        self._computing.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.graph(graph, pool=pool, stream=self._computing):
            vectors = self._model(pixels)
        return _Captured(graph, pixels, vectors)

    def _place(self, dimension: int) -> _Place:
        size = (self.max_batch, *self._shape)
        return _Place(
            pixels=torch.empty(size, dtype=torch.uint8, pin_memory=True),
            on_device=torch.empty(size, dtype=torch.uint8, device=self.device),
            vectors=torch.empty((self.max_batch, dimension), pin_memory=True),
            copy_began=_event(),
            copied=_event(),
            done=_event(),
        )

    def _probe(self, canary: Pixels) -> Tensor:
        noise = np.random.default_rng(0).integers(0, 256, (3, *self._shape), dtype=np.uint8)
        return torch.from_numpy(np.concatenate([canary[np.newaxis], noise]))


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def half_precision(model: PixelsToVectors, probe: Tensor, device: torch.device) -> nn.Module:
    """The model on `device` in channels last: float16 if that keeps its vectors of `probe`, else the closer of both.

    Normalisation stays in float32. Raises EngineError when neither keeps a cosine of 0.99.
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
        raise EngineError(f"half precision changes the vectors: cosine {closest:.4f}")
    return best
