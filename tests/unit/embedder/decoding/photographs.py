"""Photographs that scikit-image ships, in any format."""

import io
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "ihc.png", "retina.jpg")


def folder_of(package: str) -> Path:
    """Return the folder of a package without importing it, which takes seconds."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


@cache
def photograph(name: str = "astronaut.png") -> Image.Image:
    """Return a photograph in RGB, without its metadata. Callers share it, so do not change it."""
    with Image.open(folder_of("skimage") / "data" / name) as image:
        plain = image.convert("RGB")
    # One is in Adobe RGB. Pillow would write its profile into some formats and not into others.
    plain.info.clear()
    return plain


@cache
def small_photograph() -> Image.Image:
    """Return a photograph that is encoded and decoded quickly. Callers share it, so do not change it."""
    return photograph().resize((320, 240))


@cache
def small_file(image_format: str) -> bytes:
    """Return a small photograph in a format, with the default options."""
    return encoded(small_photograph(), image_format)


def encoded(image: Image.Image, image_format: str, **options: Any) -> bytes:
    """Return the file that Pillow writes with these options."""
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()
