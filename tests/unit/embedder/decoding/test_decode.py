"""Decoding: right pixels for what is an image, one error for what is not."""

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from embedder.backbones.builtin import PREPROCESSING
from embedder.decoding.decode import Decoder
from embedder.decoding.fit import fit
from embedder.decoding.header import FORMATS, HEIF, prepare_pillow
from embedder.decoding.image_error import ImageError
from embedder.decoding.inputs import inputs_of
from tests.unit.embedder import hostile_files
from tests.unit.embedder.photographs import encoded, photograph

MAX_PIXELS = 50_000_000


@pytest.fixture
def decoder() -> Decoder:
    return Decoder(prepare_pillow(), MAX_PIXELS, PREPROCESSING)


def pixels(decoder: Decoder, data: bytes) -> "np.ndarray[tuple[int, ...], np.dtype[np.int16]]":
    return inputs_of(decoder, data, views=0, seed=0)[0].astype(np.int16)


def difference(decoder: Decoder, data: bytes, expected: Image.Image) -> float:
    return float(np.abs(pixels(decoder, data) - fit(expected, PREPROCESSING).astype(np.int16)).mean())


@pytest.mark.parametrize("image_format", [*FORMATS, HEIF])
def test_every_format_of_the_list_gives_the_photograph(decoder: Decoder, image_format: str) -> None:
    if image_format == HEIF:
        assert HEIF in decoder.formats
    lossy = {"JPEG": {"quality": 95}, "WEBP": {"quality": 95}, "AVIF": {"quality": 95}, "HEIF": {"quality": 95}}
    data = encoded(photograph(), image_format, **lossy.get(image_format, {}))
    assert difference(decoder, data, photograph()) < (8 if image_format == "GIF" else 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_honoured(decoder: Decoder, image_format: str, orientation: int) -> None:
    upright = photograph().resize((500, 300))
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(inverse[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if image_format in ("JPEG", "WEBP") else {}
    assert difference(decoder, encoded(stored, image_format, exif=exif, **options), upright) < 3


def test_damaged_exif_does_not_cost_the_image(decoder: Decoder) -> None:
    data = encoded(photograph(), "JPEG", quality=95, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert difference(decoder, data, photograph()) < 3


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_white(decoder: Decoder, mode: str) -> None:
    clear = Image.new("RGBA", (300, 300), (0, 0, 0, 0)).convert(mode)
    if mode == "P":
        clear.info["transparency"] = clear.getpixel((0, 0))
    assert (pixels(decoder, encoded(clear, "PNG")) == 255).all()


def test_a_transparent_colour_is_white(decoder: Decoder) -> None:
    data = encoded(Image.new("RGB", (300, 300), (10, 20, 30)), "PNG", transparency=(10, 20, 30))
    assert (pixels(decoder, data) == 255).all()


def test_sixteen_bit_greyscale_is_scaled_not_saturated(decoder: Decoder) -> None:
    grey = photograph().convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    for image_format in ("PNG", "TIFF"):
        assert difference(decoder, encoded(deep, image_format), grey.convert("RGB")) < 1


def test_floating_point_greyscale_is_scaled(decoder: Decoder) -> None:
    grey = photograph().convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.float32) / 255)
    assert difference(decoder, encoded(deep, "TIFF"), grey.convert("RGB")) < 1


@pytest.mark.parametrize(("image_format", "limit"), [("JPEG", 8), ("TIFF", 8)])
def test_cmyk_keeps_its_colours(decoder: Decoder, image_format: str, limit: float) -> None:
    data = encoded(photograph().convert("CMYK"), image_format, **({"quality": 95} if image_format == "JPEG" else {}))
    assert difference(decoder, data, photograph()) < limit


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr"])
def test_other_modes_give_what_pillow_shows(decoder: Decoder, mode: str) -> None:
    image = photograph().convert(mode)
    data = encoded(image, "TIFF") if mode == "YCbCr" else encoded(image, "PNG")
    assert difference(decoder, data, image.convert("RGB")) < 3


def test_only_the_first_frame_is_read(decoder: Decoder) -> None:
    frames = [Image.new("RGB", (300, 300), colour) for colour in ("red", "lime", "blue")]
    for image_format in ("GIF", "WEBP", "TIFF", "PNG"):
        options = {"lossless": True} if image_format == "WEBP" else {}
        data = encoded(frames[0], image_format, save_all=True, append_images=frames[1:], **options)
        assert (pixels(decoder, data)[100, 100] == (255, 0, 0)).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (7, 5000), (223, 225)])
def test_any_proportions_give_an_input(decoder: Decoder, size: tuple[int, int]) -> None:
    data = encoded(Image.new("RGB", size, (200, 100, 50)), "PNG")
    assert (pixels(decoder, data) == (200, 100, 50)).all()


def test_large_images_are_reduced_band_by_band_without_a_seam(decoder: Decoder) -> None:
    large = photograph("coffee.png").resize((3601, 2803))
    for mode in ("RGB", "RGBA", "L", "P"):
        image = large.convert(mode)
        data = encoded(image, "BMP" if mode == "RGB" else "PNG", compress_level=1)
        assert difference(decoder, data, image.convert("RGB")) < 2


@pytest.mark.parametrize("size", [(905, 904), (904, 907), (1793, 903)])
@pytest.mark.parametrize("resolutions", [1, 2, 6])
def test_a_jpeg_2000_is_read_whatever_its_size_and_resolutions(size: tuple[int, int], resolutions: int) -> None:
    small = replace(PREPROCESSING, resize_height=56, resize_width=56, crop_height=56, crop_width=56)
    image = photograph("coffee.png").resize(size)
    data = encoded(image, "JPEG2000", num_resolutions=resolutions)
    found = inputs_of(Decoder(prepare_pillow(), MAX_PIXELS, small), data, views=0, seed=0)[0]
    assert np.abs(found.astype(np.int16) - fit(image, small)).mean() < 4


@pytest.mark.parametrize("name", hostile_files.NO_IMAGE)
def test_what_is_no_image_is_named_so(decoder: Decoder, name: str) -> None:
    with pytest.raises(ImageError) as refused:
        decoder.decode(hostile_files.NO_IMAGE[name]())
    assert refused.value.code == "not_an_image"


@pytest.mark.parametrize("name", hostile_files.TOO_LARGE)
def test_size_is_refused_by_the_header(decoder: Decoder, name: str) -> None:
    with pytest.raises(ImageError) as refused:
        decoder.decode(hostile_files.TOO_LARGE[name]())
    assert refused.value.code == "image_too_large"


@pytest.mark.parametrize("name", hostile_files.DAMAGED)
def test_damage_is_a_decode_error(decoder: Decoder, name: str) -> None:
    with pytest.raises(ImageError) as refused:
        decoder.decode(hostile_files.DAMAGED[name]())
    assert refused.value.code in ("decode_error", "not_an_image")
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("name", hostile_files.NOISY)
def test_noise_gives_an_image_or_an_error_and_nothing_else(decoder: Decoder, name: str) -> None:
    with contextlib.suppress(ImageError):
        assert decoder.decode(hostile_files.NOISY[name]()).image.mode == "RGB"


def test_an_image_at_the_limit_is_read_and_one_pixel_more_is_not() -> None:
    decoder = Decoder(prepare_pillow(), 10_000, PREPROCESSING)
    assert decoder.decode(encoded(Image.new("RGB", (100, 100)), "PNG")).image.size == (100, 100)
    with pytest.raises(ImageError, match="73 × 137 pixels"):
        decoder.decode(encoded(Image.new("RGB", (73, 137)), "PNG"))


def test_a_decoder_leaves_the_data_alone(decoder: Decoder) -> None:
    data = encoded(photograph(), "JPEG")
    first = decoder.decode(data).image.tobytes()
    assert decoder.decode(io.BytesIO(data).getvalue()).image.tobytes() == first
