"""Reducing an image while it is decoded does not change its vector."""

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


def photographs() -> list[Image.Image]:
    """Return photographs in their own size."""
    folder = Path(sklearn.datasets.__file__).parent / "images"
    images = [photograph(name) for name in (*NAMES, "hubble_deep_field.jpg")]
    for path in sorted(folder.glob("*.jpg")):
        with Image.open(path) as image:
            images.append(image.convert("RGB"))
    return images


def enlarged(image: Image.Image, times: int) -> Image.Image:
    return image.resize((image.width * times, image.height * times), Image.Resampling.BICUBIC)


def collage(images: list[Image.Image], columns: int) -> Image.Image:
    """Return a large image with detail down to the pixel, which enlarged photographs lack."""
    side = 400
    rows = -(-len(images) // columns)
    large = Image.new("RGB", (columns * side, rows * side))
    for number, image in enumerate(images):
        large.paste(image, (number % columns * side, number // columns * side))
    return large


@cache
def images_of_all_sizes() -> list[Image.Image]:
    """Return photographs, and larger images that are reduced by 2 to 4."""
    small = photographs()
    return [*small, enlarged(small[0], 2), enlarged(small[4], 4), collage(small, 3), collage(small * 2, 5)]


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
    files = [encoded(image, image_format, **FORMATS[image_format]) for image in images_of_all_sizes()]
    decoded = [decoder.decode(data) for data in files]
    assert [one.full_size for one in decoded] == [image.size for image in images_of_all_sizes()]
    assert {1, 2, 4} <= {one.full_size[0] // one.image.width for one in decoded}
    engine = TorchEngine(builtin_source(), threads=1)
    reduced = engine.embed(np.stack([resize_and_crop(one.image, PREPROCESSING, one.full_size) for one in decoded]))
    expected = engine.embed(np.stack([decoded_plainly(data) for data in files]))
    cosines = [cosine(a, b) for a, b in zip(reduced, expected, strict=True)]
    assert min(cosines) >= MIN_COSINE, np.round(cosines, 4)
