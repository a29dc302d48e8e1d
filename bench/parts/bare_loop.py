"""Decode and infer in this process, with the decoder and engine of the service and nothing else.

Started by `bench/embedder.py`: `python -m bench.parts.bare_loop openvino|torch SOURCE MODEL THREADS FOLDER`.
"""

import sys
import time
from pathlib import Path

import numpy as np

from bench.parts.measuring_process import Answer, answer_commands
from bench.parts.sample_images import sample_images
from embedder.backbones.source import BackboneSource
from embedder.decoding.decoder import Decoder
from embedder.decoding.header import prepare_pillow
from embedder.decoding.inputs import prepare_inputs
from embedder.engines.engine import Engine, Pixels


class BareLoop:
    """kind: "openvino" for the engine of the service, "torch" for plain torch."""

    def __init__(self, kind: str, source: BackboneSource, model: str, threads: int, folder: str) -> None:
        self._images = sample_images(folder)
        self._decoder = Decoder(prepare_pillow(), 50_000_000, source.preprocessing)
        self._engine = _engine(kind, source, Path(model), threads)
        self._one = self._decode(0)[np.newaxis]
        self._engine.embed(self._one)

    def _decode(self, index: int) -> Pixels:
        image = self._images[index % len(self._images)]
        return prepare_inputs(self._decoder, image, views=0, seed=0).pixels[0]

    def loop(self, seconds: float) -> Answer:
        """Decode and embed one image after the other, and return their number."""
        start = time.perf_counter()
        count = 0
        while (now := time.perf_counter()) < start + seconds:
            self._engine.embed(self._decode(count)[np.newaxis])
            count += 1
        return {"images": count, "seconds": now - start}

    def single(self, seconds: float) -> Answer:
        """Decode and embed one image after the other, and return the milliseconds of each."""
        end = time.perf_counter() + seconds
        times: list[float] = []
        while (started := time.perf_counter()) < end:
            self._engine.embed(self._decode(len(times))[np.newaxis])
            times.append((time.perf_counter() - started) * 1000)
        return {"milliseconds": times}

    def forward(self, seconds: float, batch: int) -> Answer:
        """Run the engine alone, in batches, and return the number of images."""
        pixels = np.repeat(self._one, batch, axis=0)
        start = time.perf_counter()
        count = 0
        while (now := time.perf_counter()) < start + seconds:
            self._engine.embed(pixels)
            count += batch
        return {"images": count, "seconds": now - start}


def _engine(kind: str, source: BackboneSource, model: Path, threads: int) -> Engine:
    if kind == "torch":
        from embedder.engines.torch_engine import TorchEngine

        return TorchEngine(source, threads=threads)
    from embedder.engines.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(model, threads=threads, all_threads=threads)


if __name__ == "__main__":
    bare = BareLoop(sys.argv[1], BackboneSource.from_json(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5])
    answer_commands({"loop": bare.loop, "single": bare.single, "forward": bare.forward})
