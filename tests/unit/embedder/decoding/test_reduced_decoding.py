"""Reducing an image while it is decoded does not change its vector."""

import io
from functools import cache
from typing import Any

import numpy as np
import pytest
from PIL import Image

from embedder.backbones.builtin import PREPROCESSING, builtin_source
from embedder.canary import cosine
from embedder.decoding.decoder import Decoder
from embedder.decoding.header import prepare_pillow
from embedder.decoding.resize import resize_and_crop
from embedder.engines.engine import Pixels
from embedder.engines.torch_engine import TorchEngine
from tests.unit.embedder.decoding.photographs import NAMES, encoded, photograph

MIN_COSINE = 0.995
MAX_PIXELS = 50_000_000
# The decoders of JPEG and JPEG 2000 reduce while they decode; images of other formats are reduced afterwards.
FORMATS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 90},
    "PNG": {"compress_level": 1},
    "WEBP": {"quality": 90, "method": 0},
    "JPEG2000": {"quality_mode": "rates", "quality_layers": [10]},
}


def collage(side: int, columns: int) -> Image.Image:
    """Return a large square image with detail down to the pixel, which enlarged photographs lack."""
    large = Image.new("RGB", (columns * side, columns * side))
    for number in range(columns**2):
        image, start = photograph(NAMES[number % len(NAMES)]), number // len(NAMES) * 37
        part = image.crop((start, start, start + side, start + side))
        large.paste(part, (number % columns * side, number // columns * side))
    return large


@cache
def images() -> list[Image.Image]:
    """Return images that are reduced by 1, 2, 3 and 4. Their sides are just long enough for that."""
    return [
        photograph("coffee.png"),
        photograph("astronaut.png").resize((896, 896)),
        collage(350, 4),
        photograph("motorcycle_left.png").crop((100, 0, 600, 500)).resize((1792, 1792)),
    ]


def decoded_plainly(data: bytes) -> Pixels:
    """Return the input without any reduction: decode, resize, crop."""
    with Image.open(io.BytesIO(data)) as image:
        whole = image.convert("RGB")
    width, height = PREPROCESSING.resized(whole.width, whole.height)
    resized = whole.resize((width, height), Image.Resampling(PREPROCESSING.resample))
    left, top = (width - PREPROCESSING.crop_width) // 2, (height - PREPROCESSING.crop_height) // 2
    return np.asarray(resized.crop((left, top, left + PREPROCESSING.crop_width, top + PREPROCESSING.crop_height)))


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_reduced_image_has_the_vector_of_the_whole_image(image_format: str) -> None:
    decoder = Decoder(prepare_pillow(), MAX_PIXELS, PREPROCESSING)
    files = [encoded(image, image_format, **FORMATS[image_format]) for image in images()]
    decoded = [decoder.decode(data) for data in files]
    assert [one.full_size for one in decoded] == [image.size for image in images()]
    assert {1, 2, 4} <= {one.full_size[0] // one.image.width for one in decoded}
    engine = TorchEngine(builtin_source(), threads=1)
    reduced = engine.embed(np.stack([resize_and_crop(one.image, PREPROCESSING, one.full_size) for one in decoded]))
    expected = engine.embed(np.stack([decoded_plainly(data) for data in files]))
    cosines = [cosine(a, b) for a, b in zip(reduced, expected, strict=True)]
    assert min(cosines) >= MIN_COSINE, np.round(cosines, 4)
