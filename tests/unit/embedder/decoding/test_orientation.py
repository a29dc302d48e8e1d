"""Images are turned upright, and no metadata, however odd, costs the image or the worker."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from embedder.backbones.builtin import PREPROCESSING
from embedder.decoding.decoder import Decoder
from embedder.decoding.header import prepare_pillow
from embedder.decoding.inputs import prepare_inputs
from embedder.decoding.orientation import SIDEWAYS, TRANSPOSITIONS
from embedder.decoding.resize import resize_and_crop
from tests.hostile_images.exif import exif_blocks
from tests.unit.embedder.decoding.odd_exif import ODDITIES, UNREADABLE, exif, odd_exif
from tests.unit.embedder.decoding.photographs import encoded, photograph

# A small input, so that the images can be small too.
SMALL = replace(PREPROCESSING, resize_height=56, resize_width=56, crop_height=56, crop_width=56)
DECODER = Decoder(prepare_pillow(), 50_000_000, SMALL)
OPTIONS = {"JPEG": {"quality": 95}, "WEBP": {"quality": 95}, "PNG": {"compress_level": 1}}
INVERSE = {6: 8, 8: 6}
UPRIGHT = photograph().resize((200, 120))


def stored(image_format: str, orientation: int, metadata: bytes) -> bytes:
    """A photograph that a camera stored in another orientation."""
    transposition = TRANSPOSITIONS.get(INVERSE.get(orientation, orientation))
    image = UPRIGHT if transposition is None else UPRIGHT.transpose(transposition)
    assert (image.size != UPRIGHT.size) == (orientation in SIDEWAYS)
    return encoded(image, image_format, exif=metadata, **OPTIONS.get(image_format, {}))


def difference_to_upright(data: bytes) -> float:
    """The mean difference of a pixel, after views were made of the image too."""
    whole, _, _ = prepare_inputs(DECODER, data, views=2, seed=1).pixels
    assert DECODER.decode(data).full_size == UPRIGHT.size
    return float(np.abs(whole.astype(np.int16) - resize_and_crop(UPRIGHT, SMALL)).mean())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_is_turned_upright(image_format: str, orientation: int) -> None:
    metadata = Image.Exif()
    metadata[0x0112] = orientation
    assert difference_to_upright(stored(image_format, orientation, metadata.tobytes())) < 3


@pytest.mark.parametrize("oddity", ODDITIES)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_an_image_with_odd_metadata_is_turned_upright(image_format: str, oddity: str) -> None:
    assert difference_to_upright(stored(image_format, 6, odd_exif(6)[oddity])) < 3


@pytest.mark.parametrize("oddity", ODDITIES)
def test_a_large_image_with_odd_metadata_is_reduced_and_turned_upright(oddity: str) -> None:
    large = UPRIGHT.resize((400, 240)).transpose(Image.Transpose.ROTATE_90)
    data = encoded(large, "JPEG", exif=odd_exif(6)[oddity])
    decoded = DECODER.decode(data)
    assert decoded.full_size == (400, 240)
    assert decoded.image.size == (200, 120)


@pytest.mark.parametrize("metadata", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_an_image_with_an_unreadable_orientation_is_not_turned(image_format: str, metadata: bytes) -> None:
    assert difference_to_upright(stored(image_format, 1, metadata)) < 3


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_no_tag_of_any_type_count_and_value_keeps_an_image_from_being_turned(image_format: str) -> None:
    tiny = replace(PREPROCESSING, resize_height=8, resize_width=8, crop_height=8, crop_width=8)
    decoder = Decoder(prepare_pillow(), 50_000_000, tiny)
    upright = UPRIGHT.resize((30, 20))
    expected = resize_and_crop(upright, tiny).astype(np.int16)
    options = {**OPTIONS, "WEBP": {"quality": 95, "method": 0}}[image_format]
    for name, orientation, block in exif_blocks(seed=1, count=400):
        transposition = TRANSPOSITIONS.get(INVERSE.get(orientation, orientation))
        image = upright if transposition is None else upright.transpose(transposition)
        whole = prepare_inputs(decoder, encoded(image, image_format, exif=block, **options), views=1, seed=1).pixels[0]
        assert np.abs(whole - expected).mean() < 12, (name, orientation)


@pytest.mark.parametrize("error", [RecursionError, MemoryError, AssertionError])
def test_an_error_in_the_metadata_does_not_fail_the_image(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = stored("PNG", 1, exif(orientation=1))

    def fail(_: Image.Image) -> Image.Exif:
        raise error

    monkeypatch.setattr(Image.Image, "getexif", fail)
    assert difference_to_upright(data) < 3
