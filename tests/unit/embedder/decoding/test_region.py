"""A region is cut from the upright image in full resolution."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from embedder.backbones.builtin import PREPROCESSING, builtin_source
from embedder.canary import cosine
from embedder.decoding import decoder as module
from embedder.decoding.decoder import DecodedImage, Decoder
from embedder.decoding.header import prepare_pillow
from embedder.decoding.inputs import prepare_inputs
from embedder.decoding.orientation import TRANSPOSITIONS
from embedder.decoding.resize import resize_and_crop
from embedder.engines.engine import Pixels, Vectors
from embedder.engines.torch_engine import TorchEngine
from servicekit.image_region import Region
from tests.unit.embedder.decoding.photographs import NAMES, encoded, photograph

SMALL = replace(PREPROCESSING, resize_height=56, resize_width=56, crop_height=56, crop_width=56)
DECODER = Decoder(prepare_pillow(), 50_000_000, SMALL)
OPTIONS = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "method": 0},
    "PNG": {"compress_level": 1},
}
INVERSE = {6: 8, 8: 6}
# Neither a square nor in the middle, so that a wrong turn shows.
REGION = Region(0.1, 0.5, 0.4, 0.3)
# Twenty megapixels in 16 tiles.
SIDE, COLUMNS = 1120, 4


def stored(upright: Image.Image, image_format: str, orientation: int) -> bytes:
    """A photograph that a camera stored in another orientation."""
    transposition = TRANSPOSITIONS.get(INVERSE.get(orientation, orientation))
    metadata = Image.Exif()
    metadata[0x0112] = orientation
    image = upright if transposition is None else upright.transpose(transposition)
    return encoded(image, image_format, exif=metadata.tobytes(), **OPTIONS.get(image_format, {}))


def expected(upright: Image.Image, region: Region) -> Image.Image:
    return upright.crop(region.box(upright.size))


def difference(decoded: DecodedImage, part: Image.Image) -> float:
    """The mean difference of a pixel of the backbone's input."""
    found = resize_and_crop(decoded.image, SMALL, decoded.full_size)
    return float(np.abs(found.astype(np.int16) - resize_and_crop(part, SMALL)).mean())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_region_is_one_of_the_upright_image(image_format: str, orientation: int) -> None:
    upright = photograph().resize((200, 120))
    decoded = DECODER.decode(stored(upright, image_format, orientation), REGION)
    assert decoded.full_size == (80, 36)
    assert difference(decoded, expected(upright, REGION)) < 4


@pytest.mark.parametrize(("image_format", "orientation"), [("JPEG", 1), ("JPEG", 6), ("PNG", 6), ("JPEG2000", 1)])
def test_a_region_of_a_large_image_is_reduced_only_as_far_as_its_own_size_allows(
    image_format: str, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BAND_PIXELS", 100_000)
    upright = photograph("coffee.png").resize((1200, 800))
    data = encoded(upright, image_format) if orientation == 1 else stored(upright, image_format, orientation)
    tiny, large = Region(0.5, 0.5, 0.1, 0.15), Region(0.25, 0.1, 0.7, 0.9)
    assert DECODER.decode(data, tiny).image.size == (120, 120)
    decoded = DECODER.decode(data, large)
    assert decoded.full_size == (840, 720)
    assert decoded.image.height < 400
    for region in (tiny, large):
        assert difference(DECODER.decode(data, region), expected(upright, region)) < 4


def test_the_whole_image_as_a_region_is_the_image() -> None:
    data = stored(photograph(), "JPEG", 6)
    found, whole = DECODER.decode(data, Region(0, 0, 1, 1)), DECODER.decode(data)
    assert found.full_size == whole.full_size
    assert found.image.tobytes() == whole.image.tobytes()


def test_a_region_of_16_bits_keeps_the_grey_values_of_the_whole_image() -> None:
    grey = np.zeros((100, 100), np.uint16)
    grey[:, 50:] = 60_000
    grey[60:, :50] = 200
    dark = DECODER.decode(encoded(Image.fromarray(grey), "PNG"), Region(0, 0, 0.5, 1))
    assert np.asarray(dark.image).max() <= 1


def test_a_region_keeps_transparency_and_palette() -> None:
    clear = photograph().resize((200, 120)).convert("P")
    data = encoded(clear, "PNG", transparency=clear.getpixel((30, 70)))
    decoded = DECODER.decode(data, REGION)
    assert decoded.image.getpixel((10, 10)) == (255, 255, 255)


def test_a_region_of_a_jpeg_without_its_end_is_cut_from_what_is_there() -> None:
    data = encoded(photograph(), "JPEG", quality=90)
    decoded = DECODER.decode(data[:-200], REGION)
    assert decoded.truncated
    assert difference(decoded, expected(photograph(), REGION)) < 4


def test_a_region_of_a_jpeg_that_needs_too_much_memory_is_cut_from_half_the_resolution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upright = photograph("coffee.png").resize((1200, 800))
    data, load = stored(upright, "JPEG", 6), JpegImagePlugin.JpegImageFile.load

    def fail_in_full_resolution(image: JpegImagePlugin.JpegImageFile) -> object:
        if max(image.size) == 1200:
            raise MemoryError
        return load(image)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", fail_in_full_resolution)
    decoded = DECODER.decode(data, Region(0.5, 0.5, 0.1, 0.15))
    assert (decoded.image.size, decoded.full_size) == ((60, 60), (120, 120))
    assert difference(decoded, expected(upright, Region(0.5, 0.5, 0.1, 0.15))) < 6


def test_a_region_of_less_than_a_pixel_is_one_pixel() -> None:
    data = encoded(photograph(), "JPEG")
    inputs = prepare_inputs(DECODER, data, views=0, seed=0, region=Region(0.999999, 0, 1e-6, 1e-6))
    assert inputs.pixels[0].shape == (56, 56, 3)


@cache
def tiles() -> list[Image.Image]:
    """Return the details of a scan: different photographs of equal size."""
    return [photograph(name).resize((SIDE, SIDE)) for name in NAMES]


def vectors(pixels: list[Pixels]) -> Vectors:
    return TorchEngine(builtin_source(), threads=1).embed(np.stack(pixels))


def test_a_detail_of_a_20_megapixel_scan_is_found_where_the_whole_picture_is_not() -> None:
    scan = Image.new("RGB", (SIDE * COLUMNS, SIDE * COLUMNS))
    for place in range(COLUMNS**2):
        scan.paste(tiles()[place % len(NAMES)], (place % COLUMNS * SIDE, place // COLUMNS * SIDE))
    data = encoded(scan, "JPEG", quality=85)
    decoder = Decoder(prepare_pillow(), 50_000_000, PREPROCESSING)
    gallery = vectors([resize_and_crop(tile, PREPROCESSING) for tile in tiles()])
    part = 1 / COLUMNS
    regions = [Region(place % COLUMNS * part, place // COLUMNS * part, part, part) for place in range(len(NAMES))]
    details = vectors([prepare_inputs(decoder, data, 0, 0, region).pixels[0] for region in regions])
    whole = vectors([prepare_inputs(decoder, data, 0, 0).pixels[0]])[0]
    for place, detail in enumerate(details):
        scores = [cosine(detail, one) for one in gallery]
        assert int(np.argmax(scores)) == place
        assert scores[place] > 0.95
        assert cosine(whole, gallery[place]) < 0.7
