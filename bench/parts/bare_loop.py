"""Decodes and infers in this process, with the same decoder and engine as the service, and nothing else."""

import sys
import time
from pathlib import Path

import numpy as np

from bench.parts.measuring_process import Answer, answer_commands
from bench.parts.sample_images import images_of
from embedder.backbones.source import BackboneSource
from embedder.decoding.decoder import Decoder
from embedder.decoding.header import prepare_pillow
from embedder.decoding.inputs import prepare_inputs
from embedder.engines.engine import Engine


class BareLoop:
    """`kind`: "openvino", or "torch" for torch as it comes. Images are numbered from `offset` in steps of one."""

    def __init__(self, kind: str, source: BackboneSource, model: str, threads: int, folder: str) -> None:
        self._images = images_of(Path(folder) if folder else None)
        self._decoder = Decoder(prepare_pillow(), 50_000_000, source.preprocessing)
        self._engine = _engine(kind, source, Path(model), threads)
        self._one = self._decoded(0)[np.newaxis]
        self._engine.embed(self._one)

    def _decoded(self, index: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
        image = self._images[index % len(self._images)]
        return prepare_inputs(self._decoder, image, views=0, seed=0)[0]

    def loop(self, seconds: float) -> Answer:
        """Images decoded and embedded, one after the other."""
        start = time.perf_counter()
        count = 0
        while (now := time.perf_counter()) < start + seconds:
            self._engine.embed(self._decoded(count)[np.newaxis])
            count += 1
        return {"images": count, "seconds": now - start}

    def single(self, seconds: float) -> Answer:
        """Milliseconds of single images."""
        end = time.perf_counter() + seconds
        times = []
        index = 0
        while (began := time.perf_counter()) < end:
            self._engine.embed(self._decoded(index)[np.newaxis])
            times.append((time.perf_counter() - began) * 1000)
            index += 1
        return {"milliseconds": times}

    def forward(self, seconds: float, batch: int) -> Answer:
        """Images through the engine alone, in batches."""
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
