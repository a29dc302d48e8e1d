"""Thumbnails of images of all kinds: small, upright, and in colours that browsers show."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFile

from gateway.thumbnails import shrinking
from gateway.thumbnails.shrinking import NotShrinkable, shrink

ORIENTATION = 0x0112
TURNED_RIGHT = 6


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def shrunk(data: bytes, side: int = 64) -> Image.Image:
    with Image.open(io.BytesIO(shrink(data, side))) as image:
        assert image.format == "JPEG"
        return image.convert("RGB")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000"])
def test_the_longer_side_has_no_more_pixels_than_wanted(form: str) -> None:
    assert shrunk(encoded(Image.new("RGB", (300, 150), "red"), form)).size == (64, 32)


def test_a_smaller_image_is_not_enlarged() -> None:
    assert shrunk(encoded(Image.new("RGB", (30, 15)), "PNG")).size == (30, 15)


def test_an_image_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = TURNED_RIGHT
    assert shrunk(encoded(Image.new("RGB", (300, 150)), "JPEG", exif=exif)).size == (32, 64)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode: str) -> None:
    image = Image.new("RGBA", (100, 100), (0, 0, 0, 0)).convert(mode)
    options = {"transparency": 0} if mode == "P" else {}
    assert shrunk(encoded(image, "PNG", **options)).getpixel((9, 9)) == (255, 255, 255)


def test_the_values_of_a_16_bit_image_are_spread_over_what_can_be_shown() -> None:
    # A scan of 12 bits.
    ramp = np.linspace(0, 4095, 64 * 64).astype(np.uint16).reshape(64, 64)
    found = np.asarray(shrunk(encoded(Image.fromarray(ramp), "TIFF")))
    assert found.min() < 5
    assert found.max() > 250


def test_a_file_that_lacks_its_end_shows_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (200, 200, 3), dtype=np.uint8))
    assert shrunk(encoded(noise, "JPEG")[:-2000]).size == (64, 64)


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(NotShrinkable) as refused:
        shrink(b"<html>", 64)
    assert refused.value.code == "not_an_image"


def test_an_image_with_too_many_pixels_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shrinking, "MAX_PIXELS", 100)
    with pytest.raises(NotShrinkable) as refused:
        shrink(encoded(Image.new("RGB", (11, 10)), "PNG"), 64)
    assert refused.value.code == "image_too_large"
