"""One photograph in samples of more than 8 bits, in every layout that files have, with the image that it shows."""

from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from tests.unit.embedder.decoding.formats.tiff_files import Array, lzw_tiff, packed_tiff, tiff
from tests.unit.embedder.decoding.photographs import encoded, photograph

Variant = tuple[bytes, Image.Image]
DEPTHS = (8, 10, 12, 14, 16)
NO_DATA = (42113, "s", 0, "-9999", True)
PACKED_DEPTHS = (6, 10, 12, 14, 20)


@cache
def wide_images(name: str = "astronaut.png") -> dict[str, Variant]:
    """Return files by what is special about them, each with the image in 8 bits that it was made of."""
    colour = photograph(name).resize((300, 300))
    grey = colour.convert("L")
    return {
        **{key: (data, grey) for key, data in _grey(np.asarray(grey)).items()},
        **{key: (data, colour) for key, data in _colour(np.asarray(colour)).items()},
    }


def scaled(samples: Array, bits: int) -> Array:
    """Return 8-bit samples scaled to another depth, in 16 bits."""
    scaled_up: Array = np.round(samples / 255 * (2**bits - 1)).astype(np.uint16)
    return scaled_up


def _in_bits(samples: Array, bits: int) -> Array:
    scaled_up: Array = np.round(samples / 255 * (2**bits - 1)).astype(np.uint32)
    return scaled_up


def _with(samples: Array, row: int, value: float) -> Array:
    """Return the samples with another value in a part of a row."""
    changed = samples.copy()
    changed[row, :50] = value
    return changed


def _planes(samples: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(samples, 2, 0))


def _grey(grey: Array) -> dict[str, bytes]:
    float32, words = (grey / 255).astype(np.float32), grey.astype(np.uint32) * 0x01010101
    deep, twelve = scaled(grey, 16), scaled(grey, 12)
    opaque, opaque_twelve = np.full_like(deep, 65535), np.full_like(deep, 4095)
    white, black = {"photometric": "miniswhite"}, {"photometric": "minisblack"}
    alpha: dict[str, Any] = {**black, "extrasamples": ["unassalpha"]}
    return {
        **{f"grey_{bits}_bits_tiff": encoded(Image.fromarray(scaled(grey, bits)), "TIFF") for bits in DEPTHS},
        **{f"grey_{bits}_bits_png": encoded(Image.fromarray(scaled(grey, bits)), "PNG") for bits in DEPTHS},
        "grey_12_bits_big_endian": tiff(twelve, byteorder=">", **black),
        "zero_is_white_8_bits": tiff(255 - grey, **white),
        "zero_is_white_12_bits": tiff(4095 - twelve, **white),
        "zero_is_white_16_bits": tiff(65535 - deep, **white),
        "zero_is_white_16_bits_big_endian": tiff(65535 - deep, byteorder=">", **white),
        "zero_is_white_float": tiff(1 - float32, **white),
        "grey_float16": tiff(float32.astype(np.float16), **black),
        "grey_float32": tiff(float32, **black),
        "grey_float64": tiff(float32.astype(np.float64), **black),
        "grey_float_to_255": tiff(grey.astype(np.float32), **black),
        "grey_unsigned_32_bits": tiff(words, **black),
        "grey_unsigned_32_bits_big_endian": tiff(words, byteorder=">", **black),
        "grey_signed_32_bits": tiff((words // 2).astype(np.int32), **black),
        "grey_12_bits_in_32": tiff(twelve.astype(np.int32), **black),
        "grey_signed_16_bits": tiff((deep.astype(np.int32) - 32768).astype(np.int16), **black),
        "grey_signed_8_bits": tiff((grey.astype(np.int16) - 128).astype(np.int8), **black),
        "grey_16_bits_alpha": tiff(np.dstack([deep, opaque]), **alpha),
        "grey_16_bits_associated_alpha": tiff(np.dstack([deep, opaque]), **{**black, "extrasamples": ["assocalpha"]}),
        **{f"packed_grey_{bits}_bits": packed_tiff(_in_bits(grey[..., None], bits), bits, 1) for bits in PACKED_DEPTHS},
        "packed_zero_is_white": packed_tiff(4095 - _in_bits(grey[..., None], 12), 12, 0),
        "planes_of_grey_and_alpha": tiff(np.stack([grey, np.full_like(grey, 255)]), planarconfig="separate", **alpha),
        "grey_associated_alpha": tiff(
            np.dstack([grey, np.full_like(grey, 255)]), **{**black, "extrasamples": ["assocalpha"]}
        ),
        "scale_bar_in_12_bits": tiff(_with(twelve, 0, 65535), **black),
        "lowest_float_for_no_value": tiff(_with(float32, 0, float(np.finfo(np.float32).min)), **black),
        "no_value_by_its_tag": tiff(_with(float32, 0, -9999), extratags=[NO_DATA], **black),
        "no_signed_value_by_its_tag": tiff(_with(twelve.astype(np.int16), 0, -9999), extratags=[NO_DATA], **black),
        "grey_12_bits_alpha": tiff(np.dstack([twelve, opaque_twelve]), **alpha),
    }


def _colour(rgb: Array) -> dict[str, bytes]:
    floats, words = (rgb / 255).astype(np.float32), rgb.astype(np.uint32) * 0x01010101
    contiguous, separate = {"photometric": "rgb"}, {"photometric": "rgb", "planarconfig": "separate"}
    opaque = np.full(rgb.shape[:2], 4095, np.uint16)
    twelve = np.dstack([scaled(rgb, 12), opaque])
    return {
        **{f"rgb_{bits}_bits": tiff(scaled(rgb, bits), **contiguous) for bits in DEPTHS},
        **{f"rgb_{bits}_bits_planes": tiff(_planes(scaled(rgb, bits)), **separate) for bits in DEPTHS},
        "rgb_8_bits_real_planes": tiff(_planes(rgb), **separate),
        "rgb_16_bits_planes_deflate": tiff(_planes(scaled(rgb, 16)), compression="zlib", predictor=2, **separate),
        "rgb_12_bits_tiles": tiff(scaled(rgb, 12), tile=(64, 64), compression="zlib", **contiguous),
        "rgba_12_bits": tiff(twelve, extrasamples=["unassalpha"], **contiguous),
        "rgba_12_bits_planes": tiff(_planes(twelve), extrasamples=["unassalpha"], **separate),
        "rgb_float16": tiff(floats.astype(np.float16), **contiguous),
        "rgb_float32": tiff(floats, **contiguous),
        "rgb_float64": tiff(floats.astype(np.float64), **contiguous),
        "rgb_float_planes_big_endian": tiff(_planes(floats), byteorder=">", **separate),
        "rgb_unsigned_32_bits": tiff(words, **contiguous),
        **{f"packed_rgb_{bits}_bits": packed_tiff(_in_bits(rgb, bits), bits, 2) for bits in PACKED_DEPTHS},
        "rgb_signed_16_bits": tiff((scaled(rgb, 16).astype(np.int32) - 32768).astype(np.int16), **contiguous),
        "rgb_positive_signed_16_bits": tiff((scaled(rgb, 16) // 2).astype(np.int16), **contiguous),
        "scale_bar_in_rgb_of_12_bits": tiff(_with(scaled(rgb, 12), 0, 65535), **contiguous),
        "rgba_planes_associated": tiff(
            _planes(np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])), extrasamples=["assocalpha"], **separate
        ),
        "rgb_float_lzw": lzw_tiff(floats, 1),
        "rgb_float_lzw_predictor": lzw_tiff(floats, 3),
        "rgb_float64_lzw_predictor": lzw_tiff(floats.astype(np.float64), 3),
        "rgb_12_bits_lzw_predictor": lzw_tiff(scaled(rgb, 12), 2),
        "rgb_32_bits_lzw_predictor": lzw_tiff(words, 2),
    }
