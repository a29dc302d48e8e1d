"""Photographs that scikit-image ships, in any format."""

import io
from functools import cache
from pathlib import Path
from typing import Any

import skimage
from PIL import Image

NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "ihc.png", "retina.jpg")


@cache
def photograph(name: str = "astronaut.png") -> Image.Image:
    """Return a photograph in RGB, without its metadata. Callers share it, so do not change it."""
    with Image.open(Path(skimage.__file__).parent / "data" / name) as image:
        plain = image.convert("RGB")
    # One is in Adobe RGB. Pillow would write its profile into some formats and not into others.
    plain.info.clear()
    return plain


def encoded(image: Image.Image, image_format: str, **options: Any) -> bytes:
    """Return the file that Pillow writes with these options."""
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()
