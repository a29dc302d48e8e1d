"""Samples of more than 8 bits, and TIFFs that Pillow misreads, come out as the pixels that they mean."""

import io

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from embedder.backbones.builtin import PREPROCESSING, builtin_source
from embedder.canary import cosine
from embedder.decoding.decoder import Decoder
from embedder.decoding.header import prepare_pillow
from embedder.decoding.image_error import ImageError
from embedder.decoding.inputs import prepare_inputs
from embedder.decoding.resize import resize_and_crop
from embedder.engines.torch_engine import TorchEngine
from tests.unit.embedder.decoding.formats.png_files import chunk, png, with_chunks
from tests.unit.embedder.decoding.formats.tiff_files import strip_tiff, tiff
from tests.unit.embedder.decoding.formats.wide_images import scaled, wide_images
from tests.unit.embedder.decoding.photographs import encoded, photograph

DECODER = Decoder(prepare_pillow(), 50_000_000, PREPROCESSING)
MIN_COSINE = 0.99
ORIENTATION, MAX_SAMPLE_VALUE = 274, 281


def difference(data: bytes, expected: Image.Image) -> float:
    found = prepare_inputs(DECODER, data, views=0, seed=0).pixels[0].astype(np.int16)
    return float(np.abs(found - resize_and_crop(expected.convert("RGB"), PREPROCESSING)).mean())


def decoded(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(DECODER.decode(data).image)


@pytest.mark.parametrize("name", wide_images())
def test_every_layout_shows_the_photograph(name: str) -> None:
    data, expected = wide_images()[name]
    assert difference(data, expected) < 1


def test_the_vector_of_a_wide_image_is_that_of_the_8_bit_image() -> None:
    engine = TorchEngine(builtin_source(), threads=1)
    # The pixels of all are compared above.
    variants = dict(list(wide_images("coffee.png").items())[::4])
    expected = {id(image): resize_and_crop(image.convert("RGB"), PREPROCESSING) for _, image in variants.values()}
    plain = dict(zip(expected, engine.embed(np.stack(list(expected.values()))), strict=True))
    inputs = [prepare_inputs(DECODER, data, views=0, seed=0).pixels[0] for data, _ in variants.values()]
    vectors = engine.embed(np.stack(inputs))
    cosines = {
        name: cosine(vector, plain[id(image)])
        for (name, (_, image)), vector in zip(variants.items(), vectors, strict=True)
    }
    assert {name: value for name, value in cosines.items() if value < MIN_COSINE} == {}


def test_a_declared_maximum_keeps_a_dark_image_dark() -> None:
    dark = np.full((300, 300), 1000, np.uint16)
    assert (decoded(tiff(dark, photometric="minisblack")) == 249).all()
    whole = tiff(dark, photometric="minisblack", extratags=[(MAX_SAMPLE_VALUE, 3, 1, 65535, True)])
    assert (decoded(whole) == 4).all()
    twelve = tiff(dark, photometric="minisblack", extratags=[(MAX_SAMPLE_VALUE, 3, 1, 4095, True)])
    assert (decoded(twelve) == 62).all()


def test_the_significant_bits_of_a_png_keep_a_dark_image_dark() -> None:
    dark = encoded(Image.fromarray(np.full((300, 300), 1000, np.uint16)), "PNG")
    assert (decoded(dark) == 249).all()
    assert (decoded(with_chunks(dark, chunk(b"sBIT", b"\x0c"))) == 62).all()


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("kind", [2, 6, 4])
def test_a_colour_png_of_16_bits_may_use_only_the_lower_ones(bits: int, kind: int) -> None:
    image = photograph().resize((300, 300))
    opaque = np.full((300, 300), 2**bits - 1, np.uint16)
    shown = image.convert("L") if kind == 4 else image
    samples = scaled(np.asarray(shown), bits)
    if kind != 2:
        samples = np.dstack([samples, opaque])
    assert difference(png(samples, kind), shown) < 1


@pytest.mark.parametrize("kind", [0, 2])
def test_the_transparent_colour_of_a_png_of_16_bits_becomes_white(kind: int) -> None:
    shape = (300, 300) if kind == 0 else (300, 300, 3)
    samples = np.full(shape, 40_000, np.uint16)
    transparent = chunk(b"tRNS", b"\x9c\x40" * (1 if kind == 0 else 3))
    assert (decoded(png(samples, kind)) < 200).all()
    assert (decoded(with_chunks(png(samples, kind), transparent)) == 255).all()


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_tiff_that_pillow_misreads_is_turned_upright(orientation: int) -> None:
    image = photograph().resize((300, 200))
    stored = image if orientation == 1 else image.transpose(Image.Transpose.ROTATE_90)
    planes = np.ascontiguousarray(np.moveaxis(scaled(np.asarray(stored), 16), 2, 0))
    orientation_tag = (ORIENTATION, 3, 1, orientation, True)
    data = tiff(planes, photometric="rgb", planarconfig="separate", extratags=[orientation_tag])
    assert DECODER.decode(data).full_size == (300, 200)
    assert difference(data, image) < 1


def test_a_large_wide_tiff_is_reduced() -> None:
    image = photograph().resize((1103, 1001))
    data = tiff(scaled(np.asarray(image), 12), photometric="rgb", compression="zlib", tile=(512, 512))
    found = DECODER.decode(data)
    assert found.full_size == image.size
    assert found.image.width < 600
    assert difference(data, image) < 2


@pytest.mark.parametrize("associated", [True, False])
def test_transparent_samples_of_16_bits_become_white(associated: bool) -> None:
    samples = np.zeros((300, 300, 2), np.uint16)
    samples[150:, :, 1] = 65535
    kind = "assocalpha" if associated else "unassalpha"
    found = decoded(tiff(samples, photometric="minisblack", extrasamples=[kind]))
    assert (found[:150] == 255).all()
    assert (found[150:] == 0).all()


def test_an_old_palette_of_8_bits_is_not_black() -> None:
    data = bytearray(encoded(photograph().convert("P"), "TIFF"))
    with Image.open(io.BytesIO(bytes(data))) as image:
        assert isinstance(image, TiffImagePlugin.TiffImageFile)
        colours = image.tag_v2[TiffImagePlugin.COLORMAP]
    old = b"".join((value // 256).to_bytes(2, "little") for value in colours)
    new = b"".join(value.to_bytes(2, "little") for value in colours)
    assert bytes(data).count(new) == 1
    expected = photograph().convert("P").convert("RGB")
    assert difference(bytes(data).replace(new, old), expected) < 2


@pytest.mark.parametrize("divisor", [1, 257])
def test_a_palette_of_16_bits_is_looked_up(divisor: int) -> None:
    image = photograph().resize((300, 300)).convert("P")
    colours = np.array(image.getpalette(), np.uint16).reshape(-1, 3) * 257
    palette = np.zeros((3, 65536), np.uint16)
    palette[:, : len(colours)] = colours.T // divisor
    data = tiff(np.asarray(image).astype(np.uint16), photometric="palette", colormap=palette)
    assert difference(data, image) < 1


@pytest.mark.parametrize("kind", [2, 0])
def test_a_scale_bar_in_a_png_of_12_bits_does_not_darken_it(kind: int) -> None:
    image = photograph().resize((300, 300)).convert("L" if kind == 0 else "RGB")
    samples = scaled(np.asarray(image), 12)
    samples[0, :50] = 65535
    assert difference(png(samples, kind), image) < 1


def test_light_that_few_samples_show_keeps_a_dark_image_dark() -> None:
    samples = np.full((300, 300), 1000, np.uint16)
    samples[0, :20], samples[0, 20:40] = 65535, 40_000
    assert decoded(tiff(samples, photometric="minisblack"))[100, 100, 0] == 4


@pytest.mark.parametrize(("compression", "name"), [(50001, "WEBP"), (34712, "JPEG2000")])
def test_a_strip_can_be_an_image_file(compression: int, name: str) -> None:
    image = photograph().resize((300, 300))
    strip = encoded(image, name, **({"lossless": True} if name == "WEBP" else {}))
    assert difference(strip_tiff(strip, (300, 300, 3), 8, 2, compression), image) < 1
    with pytest.raises(ImageError, match="damaged"):
        decoded(strip_tiff(strip, (300, 299, 3), 8, 2, compression))


def test_a_compression_that_is_not_read_is_named() -> None:
    with pytest.raises(ImageError, match="TIFFs with LERC compression are not supported"):
        decoded(strip_tiff(b"Lerc2 ", (300, 300, 1), 8, 1, 34887))


def test_a_wide_tiff_has_the_limit_on_pixels_too() -> None:
    small = Decoder(prepare_pillow(), 10_000, PREPROCESSING)
    data = tiff(np.zeros((3, 101, 100), np.uint16), photometric="rgb", planarconfig="separate")
    with pytest.raises(ImageError) as refused:
        small.decode(data)
    assert refused.value.code == "image_too_large"


def test_a_kind_of_tiff_that_is_not_supported_is_named() -> None:
    data = tiff(np.zeros((64, 64, 3), np.complex64), photometric="rgb")
    with pytest.raises(ImageError, match="are not supported") as refused:
        DECODER.decode(data)
    assert refused.value.code == "decode_error"


def test_a_wide_tiff_without_its_end_is_a_decode_error() -> None:
    data = tiff(np.zeros((64, 64, 3), np.float32), photometric="rgb")
    with pytest.raises(ImageError) as refused:
        DECODER.decode(data[: len(data) // 2])
    assert refused.value.code == "decode_error"
