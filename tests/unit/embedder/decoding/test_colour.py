"""Colours are those of the profile in the file, where that can be seen."""

import io
import struct
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageCms

from embedder.backbones.builtin import PREPROCESSING
from embedder.decoding.colour import KEPT_TRANSFORMS, ColourConverter
from embedder.decoding.decoder import Decoder
from embedder.decoding.header import prepare_pillow
from embedder.decoding.profiles import ADOBE_RGB_COLOURS, ADOBE_RGB_EXPONENT, adobe_rgb, matrix_profile
from tests.unit.embedder.decoding.formats.png_files import chunk, with_chunks
from tests.unit.embedder.decoding.odd_exif import odd_exif
from tests.unit.embedder.decoding.photographs import encoded, photograph

DECODER = Decoder(prepare_pillow(), 50_000_000, PREPROCESSING)
SRGB = ImageCms.createProfile("sRGB")
DISPLAY_P3_COLOURS = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
PROPHOTO_COLOURS = (0.3457, 0.3585, 0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001)
PROFILES = {
    "adobe_rgb": adobe_rgb(),
    "display_p3": matrix_profile(DISPLAY_P3_COLOURS, 2.2),
    "prophoto_rgb": matrix_profile(PROPHOTO_COLOURS, 1.8),
}
LOSSLESS = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}}
# Of the 8 bits in which a wide gamut has less room for each colour.
ROUNDING = 1.5


@cache
def original() -> Image.Image:
    return photograph("coffee.png").resize((300, 300))


def in_profile(profile: bytes, mode: str = "RGB") -> Image.Image:
    """Return the photograph with the values that it has in a profile."""
    target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    found = ImageCms.profileToProfile(original(), SRGB, target, ImageCms.Intent.RELATIVE_COLORIMETRIC, mode)
    assert found is not None
    found.info.clear()
    return found


def difference(data: bytes, expected: Image.Image) -> float:
    found = np.asarray(DECODER.decode(data).image).astype(np.int16)
    return float(np.abs(found - np.asarray(expected.convert("RGB"))).mean())


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("image_format", LOSSLESS)
def test_a_wide_gamut_is_converted_to_srgb(name: str, image_format: str) -> None:
    image = in_profile(PROFILES[name])
    plain = encoded(image, image_format, **LOSSLESS[image_format])
    tagged = encoded(image, image_format, icc_profile=PROFILES[name], **LOSSLESS[image_format])
    assert difference(plain, original()) > 3
    assert difference(tagged, original()) < ROUNDING


@pytest.mark.parametrize("name", PROFILES)
def test_a_wide_gamut_in_jpeg_is_converted_to_srgb(name: str) -> None:
    data = encoded(in_profile(PROFILES[name]), "JPEG", quality=95, subsampling=0, icc_profile=PROFILES[name])
    assert difference(data, original()) < 4


def test_a_profile_of_srgb_changes_no_pixel() -> None:
    profile = ImageCms.ImageCmsProfile(SRGB).tobytes()
    assert difference(encoded(original(), "PNG", icc_profile=profile), original()) == 0


def test_a_large_image_is_converted_once_it_is_reduced() -> None:
    profile = PROFILES["prophoto_rgb"]
    image = in_profile(profile).resize((2000, 2000))
    found = DECODER.decode(encoded(image, "PNG", icc_profile=profile, compress_level=1)).image
    expected = original().resize(found.size)
    assert found.width < 1000
    assert np.abs(np.asarray(found).astype(np.int16) - np.asarray(expected)).mean() < 4


@pytest.mark.parametrize("profile", [b"", b"no profile", bytes(5000), adobe_rgb()[:300]])
def test_a_damaged_profile_is_ignored(profile: bytes) -> None:
    assert difference(encoded(original(), "PNG", icc_profile=profile), original()) == 0


def test_a_profile_for_another_kind_of_image_is_ignored() -> None:
    assert difference(encoded(original(), "PNG", icc_profile=grey_profile(1.0)), original()) == 0
    assert difference(encoded(original(), "PNG", icc_profile=swapped_cmyk_profile()), original()) == 0


def test_a_grey_profile_is_honoured() -> None:
    profile = grey_profile(1.0)
    dark, bright = (
        DECODER.decode(encoded(Image.new("L", (300, 300), 55), "PNG", **options)).image.getpixel((0, 0))
        for options in ({}, {"icc_profile": profile})
    )
    assert dark == (55, 55, 55)
    # sRGB of linear light of 55 / 255.
    assert bright == pytest.approx((128, 128, 128), abs=2)


def test_cmyk_with_a_profile_has_the_colours_of_the_profile() -> None:
    cmyk = Image.new("CMYK", (300, 300), (255, 0, 0, 0))
    plain = DECODER.decode(encoded(cmyk, "TIFF")).image.getpixel((0, 0))
    swapped = DECODER.decode(encoded(cmyk, "TIFF", icc_profile=swapped_cmyk_profile())).image.getpixel((0, 0))
    assert plain == (0, 255, 255)
    # In this profile the first ink is yellow.
    assert isinstance(swapped, tuple)
    assert swapped[2] < 60 < 200 < min(swapped[:2])


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_lab_is_converted_to_srgb(compression: str) -> None:
    lab = in_profile(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(), "LAB")
    assert difference(encoded(lab, "TIFF", compression=compression), original()) < 2


def test_the_gamma_of_a_png_is_honoured() -> None:
    grey = encoded(Image.new("RGB", (300, 300), (55, 55, 55)), "PNG")
    linear = with_chunks(grey, chunk(b"gAMA", struct.pack(">I", 100_000)))
    assert DECODER.decode(linear).image.getpixel((0, 0)) == pytest.approx((128, 128, 128), abs=2)
    usual = with_chunks(grey, chunk(b"gAMA", struct.pack(">I", 45_455)))
    named = with_chunks(grey, chunk(b"sRGB", b"\0"), chunk(b"gAMA", struct.pack(">I", 100_000)))
    absurd = with_chunks(grey, chunk(b"gAMA", struct.pack(">I", 0)))
    for data in (usual, named, absurd):
        assert DECODER.decode(data).image.getpixel((0, 0)) == (55, 55, 55)


def test_the_primaries_of_a_png_are_honoured() -> None:
    values = (round(value * 100_000) for value in ADOBE_RGB_COLOURS)
    gamma = chunk(b"gAMA", struct.pack(">I", round(100_000 / ADOBE_RGB_EXPONENT)))
    plain = encoded(in_profile(adobe_rgb()), "PNG")
    assert difference(with_chunks(plain, chunk(b"cHRM", struct.pack(">8I", *values)), gamma), original()) < ROUNDING


def test_adobe_rgb_is_known_by_the_exif_of_cameras() -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    image = in_profile(adobe_rgb())
    plain, tagged = (encoded(image, "JPEG", quality=95, subsampling=0, **more) for more in ({}, {"exif": exif}))
    assert difference(tagged, original()) < difference(plain, original()) / 2


def test_odd_exif_changes_no_colour() -> None:
    for block in odd_exif(1).values():
        data = encoded(original(), "PNG", exif=block + b"R03\0")
        assert difference(data, original()) == 0


def test_few_transforms_are_kept() -> None:
    colours = ColourConverter()
    for step in range(2 * KEPT_TRANSFORMS):
        colours.to_srgb(original(), matrix_profile(ADOBE_RGB_COLOURS, 1.5 + step / 10), grey=False)
    assert len(colours._transforms) == KEPT_TRANSFORMS


def profile(space: bytes, pcs: bytes, kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Return an ICC profile (ICC.1:2022)."""
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, tag in tags.items():
        padded = tag + bytes(-len(tag) % 4)
        table += name + struct.pack(">II", start + len(body), len(tag))
        body += padded
    head = struct.pack(">I4xI4s4s4s", start + len(body), 0x02400000, kind, space, pcs) + bytes(12) + b"acsp"
    return (head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)).ljust(128, b"\0") + table + body


def grey_profile(exponent: float) -> bytes:
    curve = b"curv" + struct.pack(">IIHH", 0, 1, round(exponent * 256), 0)
    return profile(
        b"GRAY", b"XYZ ", b"mntr", {b"kTRC": curve, b"wtpt": b"XYZ " + struct.pack(">I3i", 0, 63190, 65536, 54061)}
    )


def swapped_cmyk_profile() -> bytes:
    """Return a profile of a printer whose first ink is yellow and whose third is cyan, as 16 colours in CIELAB."""
    identity = struct.pack(">2H", 0, 65535)
    to_lab = ImageCms.buildTransform(SRGB, ImageCms.createProfile("LAB"), "RGB", "LAB")
    corners = [(y, m, c, k) for y in (0, 1) for m in (0, 1) for c in (0, 1) for k in (0, 1)]
    table = b""
    for yellow, magenta, cyan, black in corners:
        rgb = tuple(255 * (1 - ink) * (1 - black) for ink in (cyan, magenta, yellow))
        lab = ImageCms.applyTransform(Image.new("RGB", (1, 1), rgb), to_lab)
        assert lab is not None
        lightness, a, b = lab.tobytes()
        # In version 2 the largest lightness is 0xFF00, and a and b have their zero at 0x8000.
        table += struct.pack(">3H", lightness << 8, (a ^ 128) << 8, (b ^ 128) << 8)
    matrix = struct.pack(">9i", *(65536 * (place % 4 == 0) for place in range(9)))
    lut = b"mft2" + struct.pack(">IBBBx", 0, 4, 3, 2) + matrix + struct.pack(">HH", 2, 2)
    return profile(b"CMYK", b"Lab ", b"prtr", {b"A2B0": lut + identity * 4 + table + identity * 3})


@pytest.mark.parametrize("gamma", [1, 1000, 10_000_000, 2**32 - 1])
def test_a_gamma_that_no_image_has_is_ignored(gamma: int) -> None:
    plain = encoded(original(), "PNG")
    assert difference(with_chunks(plain, chunk(b"gAMA", struct.pack(">I", gamma))), original()) < ROUNDING
