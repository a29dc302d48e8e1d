"""A backbone on the GPU without the service: the bare forward pass, and decode and forward side by side."""

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from bench.parts.measuring_process import Answer, answer_commands
from bench.parts.sample_images import images_of
from embedder.backbones.source import BackboneSource
from embedder.backbones.vision_model import load_vision_model
from embedder.decoding.decoder import Decoder
from embedder.decoding.header import prepare_pillow
from embedder.decoding.inputs import prepare_inputs
from embedder.engines.cuda_engine import CudaEngine
from embedder.engines.engine import Pixels

BATCHES = (1, 8, 32, 64, 128, 256)


class CudaLoop:
    """The same decoder and engine as the service, with as many decoding processes."""

    def __init__(self, source: BackboneSource, max_batch: int, decoders: int, folder: str) -> None:
        self._source = source
        self._images = images_of(Path(folder) if folder else None)
        self._max_batch = max_batch
        self._engine = CudaEngine(source, max_batch)
        self._decoders = ProcessPoolExecutor(decoders, get_context("spawn"), _prepare, (source.to_json(),))

    def bound(self, seconds: float) -> Answer:
        """Images a second of the plain bf16 forward pass on pixels that are on the device, at each batch size."""
        model = load_vision_model(self._source).cuda()
        model.set_precision(torch.bfloat16)
        shape = (self._source.preprocessing.crop_height, self._source.preprocessing.crop_width, 3)
        rates = {}
        for batch in BATCHES:
            pixels = torch.zeros((batch, *shape), dtype=torch.uint8, device="cuda")
            rates[batch] = _rate(lambda pixels=pixels: model(pixels), batch, seconds / len(BATCHES))
        return {"rates": rates, "best": max(rates.values()), "best_batch": max(rates, key=lambda batch: rates[batch])}

    def single(self, seconds: float) -> Answer:
        """Milliseconds of single images, decoded and embedded in this process."""
        end = time.perf_counter() + seconds
        times: list[float] = []
        while (began := time.perf_counter()) < end:
            pixels = _fit(self._source, self._images[len(times) % len(self._images)])
            self._engine.start(lambda target, pixels=pixels: np.copyto(target[0], pixels), 1).collect()
            times.append((time.perf_counter() - began) * 1000)
        return {"milliseconds": times}

    def decoded(self, seconds: float) -> Answer:
        """From decoded images in host memory to vectors in host memory, with two batches under way."""
        pixels = np.stack([_fit(self._source, image) for image in self._images[:16]])
        batch = np.resize(pixels, (self._max_batch, *pixels.shape[1:]))
        return self._pipelined(lambda: batch, seconds)

    def loop(self, seconds: float) -> Answer:
        """Decoding in processes of its own, overlapped with the forward pass."""
        chunks = [self._images[start::8] for start in range(8)]
        ahead = [self._decoders.submit(_decode, chunk) for chunk in chunks * 4]
        ready: list[Pixels] = []

        def next_batch() -> Pixels:
            nonlocal ready
            while sum(map(len, ready)) < self._max_batch:
                done = ahead.pop(0)
                ahead.append(self._decoders.submit(_decode, chunks[len(ahead) % 8]))
                ready.append(done.result())
            joined = np.concatenate(ready)
            ready = [joined[self._max_batch :]]
            return joined[: self._max_batch]

        return self._pipelined(next_batch, seconds)

    def _pipelined(self, next_batch: "object", seconds: float) -> Answer:
        start = time.perf_counter()
        count = 0
        pending = None
        while time.perf_counter() < start + seconds:
            batch: Pixels = next_batch()  # type: ignore[operator]
            begun = self._engine.start(lambda target, batch=batch: np.copyto(target, batch), len(batch))
            if pending is not None:
                count += len(pending.collect())
            pending = begun
        if pending is not None:
            count += len(pending.collect())
        return {"images": count, "seconds": time.perf_counter() - start}


_DECODER: list[Decoder] = []


def _prepare(source: str) -> None:
    _DECODER.append(Decoder(prepare_pillow(), 50_000_000, BackboneSource.from_json(source).preprocessing))


def _decode(images: list[bytes]) -> Pixels:
    decoder = _DECODER[0]
    return np.stack([prepare_inputs(decoder, image, views=0, seed=0)[0] for image in images])


def _fit(source: BackboneSource, image: bytes) -> Pixels:
    return prepare_inputs(Decoder(prepare_pillow(), 50_000_000, source.preprocessing), image, views=0, seed=0)[0]


def _rate(forward: "object", batch: int, seconds: float) -> float:
    with torch.inference_mode():
        for _ in range(3):
            forward()  # type: ignore[operator]
        torch.cuda.synchronize()
        start = time.perf_counter()
        count = 0
        while time.perf_counter() < start + seconds:
            for _ in range(4):
                forward()  # type: ignore[operator]
            torch.cuda.synchronize()
            count += 4 * batch
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    cuda = CudaLoop(BackboneSource.from_json(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    answer_commands({"bound": cuda.bound, "single": cuda.single, "decoded": cuda.decoded, "loop": cuda.loop})
