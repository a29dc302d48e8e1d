"""A backbone on the GPU without the service: the forward pass alone, and with decoding beside it.

Started by `bench/embedder.py`: `python -m bench.parts.cuda_loop SOURCE MAX_BATCH DECODERS FOLDER`.
"""

import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import torch

from bench.parts.measuring_process import Answer, answer_commands
from bench.parts.sample_images import sample_images
from embedder.backbones.source import BackboneSource
from embedder.backbones.vision_model import load_vision_model
from embedder.canary import canary_image
from embedder.decoding.decoder import Decoder
from embedder.decoding.header import prepare_pillow
from embedder.decoding.inputs import prepare_inputs
from embedder.engines.batch_engine import PendingBatch
from embedder.engines.cuda_engine import CudaEngine
from embedder.engines.engine import Pixels

BATCH_SIZES = (1, 8, 32, 64, 128, 256)
CHUNKS = 8


class CudaLoop:
    """The decoder and engine of the service, with as many decoding processes."""

    def __init__(self, source: BackboneSource, max_batch: int, decoders: int, folder: str) -> None:
        self._source = source
        self._images = sample_images(folder)
        self._max_batch = max_batch
        self._decoder = Decoder(prepare_pillow(), 50_000_000, source.preprocessing)
        self._engine = CudaEngine(source, self._decode(canary_image()), max_batch)
        self._decoders = ProcessPoolExecutor(decoders, get_context("spawn"), _prepare, (source.to_json(),))

    def bound(self, seconds: float) -> Answer:
        """Run the plain bfloat16 forward pass on pixels on the device, and return images a second by batch size."""
        model = load_vision_model(self._source).cuda()
        model.set_precision(torch.bfloat16)
        shape = (self._source.preprocessing.crop_height, self._source.preprocessing.crop_width, 3)
        rates = {}
        for size in BATCH_SIZES:
            pixels = torch.zeros((size, *shape), dtype=torch.uint8, device="cuda")
            rates[size] = _images_per_second(model, pixels, seconds / len(BATCH_SIZES))
        return {"rates": rates, "best": max(rates.values()), "best_batch": max(rates, key=lambda size: rates[size])}

    def single(self, seconds: float) -> Answer:
        """Decode and embed one image after the other in this process, and return the milliseconds of each."""
        end = time.perf_counter() + seconds
        times: list[float] = []
        while (started := time.perf_counter()) < end:
            pixels = self._decode(self._images[len(times) % len(self._images)])
            self._start(pixels[np.newaxis]).collect()
            times.append((time.perf_counter() - started) * 1000)
        return {"milliseconds": times}

    def decoded(self, seconds: float) -> Answer:
        """Embed batches of decoded images in host memory, two at a time, and return the number of images."""
        pixels = np.stack([self._decode(image) for image in self._images[:16]])
        batch = np.resize(pixels, (self._max_batch, *pixels.shape[1:]))
        return self._embed_batches(lambda: batch, seconds)

    def loop(self, seconds: float) -> Answer:
        """Decode in other processes while batches are embedded, and return the number of images."""
        chunks = [self._images[start::CHUNKS] for start in range(CHUNKS)]
        ahead = [self._decoders.submit(_decode_in_child, chunk) for chunk in chunks * 4]
        ready: list[Pixels] = []

        def next_batch() -> Pixels:
            nonlocal ready
            while sum(map(len, ready)) < self._max_batch:
                done = ahead.pop(0)
                ahead.append(self._decoders.submit(_decode_in_child, chunks[len(ahead) % CHUNKS]))
                ready.append(done.result())
            joined = np.concatenate(ready)
            ready = [joined[self._max_batch :]]
            return joined[: self._max_batch]

        return self._embed_batches(next_batch, seconds)

    def _embed_batches(self, next_batch: Callable[[], Pixels], seconds: float) -> Answer:
        start = time.perf_counter()
        count = 0
        pending = None
        while time.perf_counter() < start + seconds:
            started = self._start(next_batch())
            if pending is not None:
                count += len(pending.collect())
            pending = started
        if pending is not None:
            count += len(pending.collect())
        return {"images": count, "seconds": time.perf_counter() - start}

    def _start(self, batch: Pixels) -> PendingBatch:
        return self._engine.start(lambda target: np.copyto(target, batch), len(batch))

    def _decode(self, image: bytes) -> Pixels:
        return prepare_inputs(self._decoder, image, views=0, seed=0).pixels[0]


_DECODER: list[Decoder] = []


def _prepare(source: str) -> None:
    _DECODER.append(Decoder(prepare_pillow(), 50_000_000, BackboneSource.from_json(source).preprocessing))


def _decode_in_child(images: list[bytes]) -> Pixels:
    decoder = _DECODER[0]
    return np.stack([prepare_inputs(decoder, image, views=0, seed=0).pixels[0] for image in images])


def _images_per_second(model: torch.nn.Module, pixels: torch.Tensor, seconds: float) -> float:
    with torch.inference_mode():
        for _ in range(3):
            model(pixels)
        torch.cuda.synchronize()
        start = time.perf_counter()
        count = 0
        while time.perf_counter() < start + seconds:
            for _ in range(4):
                model(pixels)
            torch.cuda.synchronize()
            count += 4 * len(pixels)
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    cuda = CudaLoop(BackboneSource.from_json(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    answer_commands({"bound": cuda.bound, "single": cuda.single, "decoded": cuda.decoded, "loop": cuda.loop})
