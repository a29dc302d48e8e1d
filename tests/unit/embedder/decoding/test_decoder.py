"""A supported image is decoded to the right pixels, and everything else costs one ImageError."""

import contextlib
import struct
import subprocess
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile, PngImagePlugin

from embedder.backbones.builtin import PREPROCESSING
from embedder.decoding import decoder as module
from embedder.decoding.decoder import Decoder
from embedder.decoding.formats import png_chunks
from embedder.decoding.header import FORMATS, HEIF, prepare_pillow
from embedder.decoding.image_error import ImageError
from embedder.decoding.inputs import prepare_inputs
from embedder.decoding.resize import resize_and_crop
from tests.unit.embedder.decoding import hostile_files
from tests.unit.embedder.decoding.formats.png_files import chunk
from tests.unit.embedder.decoding.photographs import encoded, photograph, small_photograph

MAX_PIXELS = 50_000_000
# What a worker does for an image of a finetune.
WITH_LIMITED_MEMORY = """
import sys
from embedder.backbones.builtin import PREPROCESSING
from embedder.config import EmbedderSettings
from embedder.decoding.decoder import Decoder
from embedder.decoding.header import prepare_pillow
from embedder.decoding.inputs import prepare_inputs
from embedder.workers.memory import limit_memory

decoder = Decoder(prepare_pillow(), 50_000_000, PREPROCESSING)
data = sys.stdin.buffer.read()
limit_memory(EmbedderSettings.model_fields["decode_memory_bytes"].default)
sys.stdout.write(str(len(prepare_inputs(decoder, data, 16, 1).pixels)))
"""


@pytest.fixture
def decoder() -> Decoder:
    return Decoder(prepare_pillow(), MAX_PIXELS, PREPROCESSING)


def pixels(decoder: Decoder, data: bytes) -> NDArray[np.int16]:
    return prepare_inputs(decoder, data, views=0, seed=0).pixels[0].astype(np.int16)


def difference(decoder: Decoder, data: bytes, expected: Image.Image) -> float:
    return float(np.abs(pixels(decoder, data) - resize_and_crop(expected, PREPROCESSING).astype(np.int16)).mean())


@pytest.mark.parametrize("image_format", [*FORMATS, HEIF])
def test_every_supported_format_is_decoded(decoder: Decoder, image_format: str) -> None:
    assert image_format in decoder.formats
    lossy = {"JPEG": {"quality": 95}, "WEBP": {"quality": 95}, "AVIF": {"quality": 95}, "HEIF": {"quality": 95}}
    data = encoded(small_photograph(), image_format, **lossy.get(image_format, {}))
    assert difference(decoder, data, small_photograph()) < (8 if image_format == "GIF" else 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_become_white(decoder: Decoder, mode: str) -> None:
    clear = Image.new("RGBA", (300, 300), (0, 0, 0, 0)).convert(mode)
    if mode == "P":
        clear.info["transparency"] = clear.getpixel((0, 0))
    assert (pixels(decoder, encoded(clear, "PNG")) == 255).all()


def test_a_transparent_colour_becomes_white(decoder: Decoder) -> None:
    data = encoded(Image.new("RGB", (300, 300), (10, 20, 30)), "PNG", transparency=(10, 20, 30))
    assert (pixels(decoder, data) == 255).all()


def test_16_bit_greyscale_is_scaled_to_8_bits(decoder: Decoder) -> None:
    grey = photograph().convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    for image_format in ("PNG", "TIFF"):
        assert difference(decoder, encoded(deep, image_format), grey.convert("RGB")) < 1


def test_floating_point_greyscale_is_scaled_to_8_bits(decoder: Decoder) -> None:
    grey = photograph().convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.float32) / 255)
    assert difference(decoder, encoded(deep, "TIFF"), grey.convert("RGB")) < 1


def test_greyscale_without_a_finite_pixel_is_a_decode_error(decoder: Decoder) -> None:
    with pytest.raises(ImageError) as refused:
        decoder.decode(encoded(Image.fromarray(np.full((8, 8), np.nan, np.float32)), "TIFF"))
    assert refused.value.code == "decode_error"


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
def test_cmyk_keeps_its_colours(decoder: Decoder, image_format: str) -> None:
    data = encoded(photograph().convert("CMYK"), image_format, **({"quality": 95} if image_format == "JPEG" else {}))
    assert difference(decoder, data, photograph()) < 8


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr"])
def test_other_modes_are_converted_to_rgb(decoder: Decoder, mode: str) -> None:
    image = photograph().convert(mode)
    data = encoded(image, "TIFF" if mode == "YCbCr" else "PNG")
    assert difference(decoder, data, image.convert("RGB")) < 3


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "TIFF", "PNG"])
def test_only_the_first_frame_is_decoded(decoder: Decoder, image_format: str) -> None:
    frames = [Image.new("RGB", (300, 300), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = encoded(frames[0], image_format, save_all=True, append_images=frames[1:], **options)
    assert (pixels(decoder, data)[100, 100] == (255, 0, 0)).all()


def test_what_the_first_frame_of_a_gif_leaves_out_is_white(decoder: Decoder) -> None:
    small = small_photograph().resize((50, 40)).quantize(16)
    data = bytearray(encoded(small, "GIF"))
    data[6:10] = struct.pack("<HH", 100, 80)
    place = data.index(b"," + struct.pack("<HHHH", 0, 0, 50, 40)) + 1
    data[place : place + 4] = struct.pack("<HH", 20, 30)
    found = np.asarray(decoder.decode(bytes(data)).image)
    expected = np.full((80, 100, 3), 255, np.uint8)
    expected[30:70, 20:70] = np.asarray(small.convert("RGB"))
    assert (found == expected).all()


@pytest.mark.parametrize(("bits", "grey"), [(1, 0), (2, 1), (4, 5)])
def test_a_transparent_grey_of_few_bits_becomes_white(decoder: Decoder, bits: int, grey: int) -> None:
    row = bytes([0, int(f"{grey:0{bits}b}" * (8 // bits), 2)])
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8 // bits, 1, bits, 0, 0, 0, 0))
    parts = [header, chunk(b"tRNS", struct.pack(">H", grey)), chunk(b"IDAT", zlib.compress(row)), chunk(b"IEND", b"")]
    opaque = b"".join([png_chunks.SIGNATURE, parts[0], *parts[2:]])
    assert (np.asarray(decoder.decode(opaque).image) == grey * 255 // (2**bits - 1)).all()
    assert (np.asarray(decoder.decode(png_chunks.SIGNATURE + b"".join(parts)).image) == 255).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (7, 5000), (223, 225)])
def test_any_aspect_ratio_is_accepted(decoder: Decoder, size: tuple[int, int]) -> None:
    data = encoded(Image.new("RGB", size, (200, 100, 50)), "PNG")
    assert (pixels(decoder, data) == (200, 100, 50)).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_large_images_are_reduced_in_bands_without_seams(
    decoder: Decoder, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BAND_PIXELS", 400_000)
    image = photograph("coffee.png").resize((1401, 1003)).convert(mode)
    assert image.width * image.height > 3 * module.BAND_PIXELS
    data = encoded(image, "BMP" if mode == "RGB" else "PNG", compress_level=1)
    assert difference(decoder, data, image.convert("RGB")) < 2


@pytest.mark.parametrize("image_format", ["PNG", "GIF", "JPEG"])
def test_an_image_with_a_long_comment_has_views(decoder: Decoder, image_format: str) -> None:
    comment = b"a" * (65_000 if image_format == "JPEG" else 100_000)
    if image_format == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("comment", comment.decode())
        data = encoded(small_photograph(), "PNG", pnginfo=text)
    else:
        data = encoded(small_photograph(), image_format, comment=comment)
    assert len(prepare_inputs(decoder, data, views=16, seed=1).pixels) == 17


def test_a_panorama_of_the_largest_size_has_views_within_the_memory_limit() -> None:
    data = encoded(Image.new("RGB", (100_000, 500)), "PNG")
    ended = subprocess.run(
        [sys.executable, "-c", WITH_LIMITED_MEMORY], input=data, capture_output=True, check=True, timeout=60
    )
    assert ended.stdout == b"17"


@pytest.mark.parametrize("size", [(679, 678), (678, 681), (1345, 677)])
@pytest.mark.parametrize("resolutions", [1, 2, 6])
def test_jpeg_2000_is_decoded_at_any_size_and_number_of_resolutions(size: tuple[int, int], resolutions: int) -> None:
    small = replace(PREPROCESSING, resize_height=42, resize_width=42, crop_height=42, crop_width=42)
    image = photograph("chelsea.png").resize(size)
    data = encoded(image, "JPEG2000", num_resolutions=resolutions)
    found = prepare_inputs(Decoder(prepare_pillow(), MAX_PIXELS, small), data, views=0, seed=0).pixels[0]
    assert np.abs(found.astype(np.int16) - resize_and_crop(image, small)).mean() < 3


@pytest.mark.parametrize("name", hostile_files.NOT_AN_IMAGE)
def test_other_data_is_not_an_image(decoder: Decoder, name: str) -> None:
    with pytest.raises(ImageError) as refused:
        decoder.decode(hostile_files.NOT_AN_IMAGE[name]())
    assert refused.value.code == "not_an_image"


@pytest.mark.parametrize("name", hostile_files.TOO_LARGE)
def test_an_image_that_is_too_large_is_refused(decoder: Decoder, name: str) -> None:
    with pytest.raises(ImageError) as refused:
        decoder.decode(hostile_files.TOO_LARGE[name]())
    assert refused.value.code == "image_too_large"


@pytest.mark.parametrize("name", hostile_files.DAMAGED)
def test_a_damaged_image_is_a_decode_error(decoder: Decoder, name: str) -> None:
    with pytest.raises(ImageError) as refused:
        decoder.decode(hostile_files.DAMAGED[name]())
    assert refused.value.code in ("decode_error", "not_an_image")
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("name", hostile_files.NOISY)
def test_random_bytes_raise_only_image_error(decoder: Decoder, name: str) -> None:
    with contextlib.suppress(ImageError):
        assert decoder.decode(hostile_files.NOISY[name]()).image.mode == "RGB"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (struct.error, "decode_error"),
        (RecursionError, "decode_error"),
        (AssertionError, "decode_error"),
        (MemoryError, "image_too_large"),
    ],
)
@pytest.mark.parametrize("image_format", ["PNG", "JPEG2000"])
def test_every_error_of_a_decoder_becomes_an_image_error(
    decoder: Decoder, error: type[Exception], code: str, image_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: ImageFile.ImageFile) -> None:
        raise error

    data = encoded(photograph().resize((50, 50)), image_format)
    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(ImageError) as refused:
        decoder.decode(data)
    assert refused.value.code == code


def test_the_limit_on_pixels_is_exact() -> None:
    decoder = Decoder(prepare_pillow(), 10_000, PREPROCESSING)
    assert decoder.decode(encoded(Image.new("RGB", (100, 100)), "PNG")).image.size == (100, 100)
    with pytest.raises(ImageError, match="73 × 137 pixels"):
        decoder.decode(encoded(Image.new("RGB", (73, 137)), "PNG"))


def test_decoding_the_same_bytes_twice_returns_the_same_pixels(decoder: Decoder) -> None:
    data = encoded(photograph(), "JPEG")
    assert decoder.decode(data).image.tobytes() == decoder.decode(data).image.tobytes()
