"""The colour profile of an image: the one in its file, or one made of what else the file says about its colours."""

import struct
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

SRGB_GAMMA = 1 / 2.2
# A PNG's gamma that is closer to this one stands for the curve of sRGB.
GAMMA_TOLERANCE = 0.01
# Other gammas are mistakes of the program that wrote the file. 1 is linear light.
LIKELY_GAMMAS = (0.2, 2.5)
# White, red, green and blue, each as x and y.
SRGB_COLOURS = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
ADOBE_RGB_COLOURS = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
ADOBE_RGB_EXPONENT = 563 / 256
CHROMATICITY_TOLERANCE = 0.005
# The interoperability index of images in Adobe RGB (DCF 2.0), which many cameras write in place of a profile.
ADOBE_RGB_INDEX = "R03"
INTEROPERABILITY_INDEX = 1

# The white of ICC profiles, and the matrix by which white is adapted to it (ICC.1:2022, annex E).
D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
HEADER_BYTES, TABLE_ENTRY_BYTES = 128, 12

Vector = NDArray[np.float64]


def profile_of(image: Image.Image) -> bytes | None:
    """Return the ICC profile of a loaded image; None if it is in sRGB or says nothing.

    Damaged metadata says nothing, so it never costs the image.
    """
    try:
        profile = image.info.get("icc_profile")
        if profile:
            return profile if isinstance(profile, bytes) else None
        return _of_gamma(image) if "gamma" in image.info else _adobe_rgb(image)
    except Exception:
        return None


def _adobe_rgb(image: Image.Image) -> bytes | None:
    # Reading the directory takes longer than this search, and few images have the index.
    if ADOBE_RGB_INDEX.encode() not in image.info.get("exif", b""):
        return None
    index = image.getexif().get_ifd(ExifTags.IFD.Interop).get(INTEROPERABILITY_INDEX)
    return adobe_rgb() if index == ADOBE_RGB_INDEX else None


def _of_gamma(image: Image.Image) -> bytes | None:
    """Return the profile of what the chunks gAMA and cHRM of a PNG say; None if there is a chunk sRGB."""
    gamma = image.info["gamma"]
    if "srgb" in image.info or not LIKELY_GAMMAS[0] <= gamma <= LIKELY_GAMMAS[1]:
        return None
    colours = image.info.get("chromaticity", SRGB_COLOURS)
    is_srgb = np.allclose(colours, SRGB_COLOURS, rtol=0, atol=CHROMATICITY_TOLERANCE)
    if abs(gamma - SRGB_GAMMA) < GAMMA_TOLERANCE and is_srgb:
        return None
    return matrix_profile(colours, 1 / gamma)


@cache
def adobe_rgb() -> bytes:
    """Return the profile of Adobe RGB (1998)."""
    return matrix_profile(ADOBE_RGB_COLOURS, ADOBE_RGB_EXPONENT)


def matrix_profile(colours: tuple[float, ...], exponent: float) -> bytes:
    """Return the ICC profile of an RGB colour space.

    colours: the chromaticities of white, red, green and blue, each as x and y. exponent: of the curve from a sample to
    light. Raises ValueError, struct.error or LinAlgError if there is no such colour space.
    """
    white, *primaries = (_xyz(x, y) for x, y in zip(colours[::2], colours[1::2], strict=True))
    matrix = np.stack(primaries, axis=1)
    matrix = matrix * np.linalg.solve(matrix, white)
    adapted = np.linalg.solve(BRADFORD, np.diag((BRADFORD @ D50) / (BRADFORD @ white)) @ BRADFORD @ matrix)
    curve = b"curv" + struct.pack(">IIHH", 0, 1, round(exponent * 256), 0)
    tags = {b"wtpt": _xyz_tag(D50)}
    for letter, column in zip((b"r", b"g", b"b"), adapted.T, strict=True):
        tags |= {letter + b"XYZ": _xyz_tag(column), letter + b"TRC": curve}
    return _profile(tags)


def _xyz(x: float, y: float) -> Vector:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _xyz_tag(xyz: Vector) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(xyz)


def _fixed(values: Vector) -> bytes:
    """Return numbers as s15Fixed16."""
    return struct.pack(f">{len(values)}i", *(round(float(value) * 65536) for value in values))


def _profile(tags: dict[bytes, bytes]) -> bytes:
    start = HEADER_BYTES + 4 + TABLE_ENTRY_BYTES * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, tag in tags.items():
        table += name + struct.pack(">II", start + len(body), len(tag))
        body += tag
    kinds = struct.pack(">I4s4s4s", 0x02400000, b"mntr", b"RGB ", b"XYZ ") + bytes(12) + b"acsp"
    header = struct.pack(">I4x", start + len(body)) + kinds
    return (header.ljust(68, b"\0") + _fixed(D50)).ljust(HEADER_BYTES, b"\0") + table + body
