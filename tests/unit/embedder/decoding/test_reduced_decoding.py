"""Reduced decoding against the plain path, as the real backbone feels it, on photographs of all sizes."""

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
from PIL import Image

from embedder.backbones.builtin import PREPROCESSING, builtin_source
from embedder.canary import cosine
from embedder.decoding.decode import Decoder
from embedder.decoding.header import prepare_pillow
from embedder.decoding.inputs import inputs_of
from embedder.engines.torch_engine import TorchEngine
from tests.unit.embedder.photographs import NAMES, encoded, photograph

MIN_COSINE = 0.995
MAX_PIXELS = 50_000_000
# JPEG is reduced by its decoder (`draft`), JPEG 2000 too, what others give is reduced before it is resized.
FORMATS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 90},
    "PNG": {"compress_level": 1},
    "WEBP": {"quality": 90, "method": 0},
    "JPEG2000": {"quality_mode": "rates", "quality_layers": [10]},
}


def photographs() -> list[Image.Image]:
    """All that packages ship, each with what it shows in its own detail."""
    folder = Path(sklearn.datasets.__file__).parent / "images"
    found = [photograph(name) for name in (*NAMES, "hubble_deep_field.jpg")]
    for path in sorted(folder.glob("*.jpg")):
        with Image.open(path) as image:
            found.append(image.convert("RGB"))
    return found


def collage(images: list[Image.Image], columns: int) -> Image.Image:
    """Photographs beside each other in a large one: detail down to the pixel, as enlarging would not give it."""
    side = 400
    rows = -(-len(images) // columns)
    large = Image.new("RGB", (columns * side, rows * side))
    for number, image in enumerate(images):
        large.paste(image, (number % columns * side, number // columns * side))
    return large


@cache
def large_photographs() -> list[Image.Image]:
    """The photographs and larger images, which are reduced by 2 to 4."""
    small = photographs()
    enlarged = [
        image.resize((image.width * times, image.height * times), Image.Resampling.BICUBIC)
        for image, times in zip(small[:5], (2, 5, 3, 3, 4), strict=True)
    ]
    return [*small, *enlarged, collage(small, 3), collage(small * 2, 5)]


def plain(data: bytes) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """Pixels by the shortest way: decode all, resize all, cut."""
    with Image.open(io.BytesIO(data)) as image:
        whole = image.convert("RGB")
    width, height = PREPROCESSING.resized(whole.width, whole.height)
    resized = whole.resize((width, height), Image.Resampling(PREPROCESSING.resample))
    left, top = (width - PREPROCESSING.crop_width) // 2, (height - PREPROCESSING.crop_height) // 2
    return np.asarray(resized.crop((left, top, left + PREPROCESSING.crop_width, top + PREPROCESSING.crop_height)))


@pytest.mark.parametrize("image_format", FORMATS)
def test_the_vector_of_an_image_that_was_reduced_while_decoding_is_that_of_the_whole(image_format: str) -> None:
    decoder = Decoder(prepare_pillow(), MAX_PIXELS, PREPROCESSING)
    files = [encoded(image, image_format, **FORMATS[image_format]) for image in large_photographs()]
    decoded = [decoder.decode(data) for data in files]
    assert [(one.width, one.height) for one in decoded] == [image.size for image in large_photographs()]
    assert {1, 2, 4} <= {one.width // one.image.width for one in decoded}
    engine = TorchEngine(builtin_source(), threads=1)
    reduced = engine.embed(np.stack([inputs_of(decoder, data, views=0, seed=0)[0] for data in files]))
    expected = engine.embed(np.stack([plain(data) for data in files]))
    cosines = [cosine(a, b) for a, b in zip(reduced, expected, strict=True)]
    assert min(cosines) >= MIN_COSINE, np.round(cosines, 4)
