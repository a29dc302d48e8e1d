"""Augmented views of an image, for training: crop, flip, rotation, colour jitter, blur, JPEG compression."""

import io
import math
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

# Turning and colouring an image takes several copies of it.
MAX_PIXELS = 8_000_000
CROP_AREA = (0.2, 1.0)
CROP_ASPECT = (3 / 4, 4 / 3)
ROTATION_DEGREES = 35.0
COLOUR_STRENGTH = 0.4
JPEG_QUALITY = (10, 60)
# In pixels, for an image of 224 pixels.
BLUR_RADIUS = (0.5, 3.0)


def middle_of(image: Image.Image) -> Image.Image:
    """Return the middle of a panorama that is too large to be copied several times, and any other image as it is.

    Only a panorama is larger, because others were reduced. Its vector is made of its middle as well.
    """
    excess = image.width * image.height / MAX_PIXELS
    if excess <= 1:
        return image
    sizes = (image.width / excess, image.height) if image.width > image.height else (image.width, image.height / excess)
    width, height = (max(1, int(size)) for size in sizes)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def augmented_views(image: Image.Image, count: int, seed: int) -> Iterator[Image.Image]:
    """Yield `count` augmented views of an RGB image, so that only one needs memory at a time.

    Equal images and seeds have equal views, and a view does not depend on `count`.
    """
    return (_view(image, np.random.default_rng((seed, index))) for index in range(count))


def _view(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    view = _rotated(image, rng) if rng.random() < 0.5 else image
    view = _cropped(view, rng)
    if rng.random() < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.6:
        view = _coloured(view, rng)
    if rng.random() < 0.25:
        view = view.convert("L").convert("RGB")
    if rng.random() < 0.35:
        view = view.filter(ImageFilter.GaussianBlur(max(view.size) / 224 * rng.uniform(*BLUR_RADIUS)))
    if rng.random() < 0.4:
        view = _as_jpeg(view, int(rng.integers(*JPEG_QUALITY)))
    return view


def _cropped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    area = image.width * image.height * rng.uniform(*CROP_AREA)
    aspect = math.exp(rng.uniform(math.log(CROP_ASPECT[0]), math.log(CROP_ASPECT[1]))) * image.width / image.height
    width = min(image.width, max(1, round(math.sqrt(area * aspect))))
    height = min(image.height, max(1, round(math.sqrt(area / aspect))))
    left = int(rng.integers(0, image.width - width + 1))
    top = int(rng.integers(0, image.height - height + 1))
    return image.crop((left, top, left + width, top + height))


def _rotated(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    angle = rng.uniform(-ROTATION_DEGREES, ROTATION_DEGREES)
    return image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=(127, 127, 127))


def _coloured(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhancer(image).enhance(1 + rng.uniform(-COLOUR_STRENGTH, COLOUR_STRENGTH))
    return image


def _as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=quality)
    with Image.open(encoded, formats=("JPEG",)) as decoded:
        return decoded.convert("RGB")
