"""Crops of photographs, embedded with the built-in backbone: near copies as collections have them."""

import asyncio
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from bench.parts.hard_sets import HardSet
from bench.parts.photographs import SUFFIXES
from catalog.vectors.projection import Matrix, Projection
from embedder.backbones.builtin import builtin_source
from embedder.decoding.decoder import Decoder
from embedder.decoding.header import prepare_pillow
from embedder.decoding.inputs import prepare_inputs
from embedder.engines.model_cache import converted_model
from embedder.engines.openvino_engine import OpenVinoEngine
from trainer.learning.directions import DIMENSION, accumulate, principal_directions

CROPS = 10
# The part of a photograph's area that a crop keeps.
KEPT = (0.7, 0.95)
# Enough for the backbone's input. Full photographs would only take longer to encode and decode.
SIDE = 400
MAX_PIXELS = 50_000_000
BATCH = 32


def photograph_crops(folder: Path, scale: float) -> HardSet:
    """Return the vectors of CROPS crops of each photograph in a folder and its sub-folders, and of its mirror image.

    The mirror images double the number of vectors: Qdrant builds no graph for less than 10 MB of them. The vectors are
    mapped to DIMENSION dimensions by their PCA, as a finetune without training does.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    files = files[: max(2, round(len(files) * scale))]
    if not files:
        raise SystemExit(f"no photographs in {folder}")
    base = _embedded(files)
    moment = np.zeros((base.shape[1], base.shape[1]))
    accumulate(moment, base)
    tuned = Projection(principal_directions(moment, DIMENSION)).apply(base)
    return HardSet(tuned, np.repeat(np.arange(2 * len(files)), CROPS))


def _embedded(files: list[Path]) -> Matrix:
    source = builtin_source()
    decoder = Decoder(prepare_pillow(), MAX_PIXELS, source.preprocessing)
    with tempfile.TemporaryDirectory() as cache:
        model = asyncio.run(converted_model(source, Path(cache), dict(os.environ)))
        threads = len(os.sched_getaffinity(0))
        engine = OpenVinoEngine(model.model, threads=threads, all_threads=threads)
    vectors: list[Matrix] = []
    batch: list[np.ndarray] = []
    for crop in _crops(files):
        batch.append(prepare_inputs(decoder, crop, views=0, seed=0).pixels[0])
        if len(batch) == BATCH:
            vectors.append(engine.embed(np.stack(batch)))
            batch = []
    if batch:
        vectors.append(engine.embed(np.stack(batch)))
    return np.concatenate(vectors)


def _crops(files: list[Path]) -> Iterator[bytes]:
    random = np.random.default_rng(0)
    for path in files:
        with Image.open(path) as opened:
            photograph = opened.convert("RGB")
        photograph.thumbnail((SIDE, SIDE))
        for shown in (photograph, ImageOps.mirror(photograph)):
            for _ in range(CROPS):
                side = random.uniform(*KEPT) ** 0.5
                width, height = round(shown.width * side), round(shown.height * side)
                left = int(random.integers(0, shown.width - width + 1))
                top = int(random.integers(0, shown.height - height + 1))
                encoded = io.BytesIO()
                shown.crop((left, top, left + width, top + height)).save(encoded, "JPEG", quality=90)
                yield encoded.getvalue()
