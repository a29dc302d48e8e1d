"""BMPs with any masks show the photograph."""

import struct

import numpy as np
import pytest

from embedder.backbones.builtin import PREPROCESSING
from embedder.decoding.decoder import Decoder
from embedder.decoding.header import prepare_pillow
from embedder.decoding.image_error import ImageError
from tests.unit.embedder.decoding.photographs import photograph

DECODER = Decoder(prepare_pillow(), 50_000_000, PREPROCESSING)
PIXELS = np.asarray(photograph().resize((101, 60)))
SHORT, LONG = 40, 108
MASKS = {
    "rgb_from_the_lowest_bit": (32, (0xFF, 0xFF00, 0xFF0000, 0)),
    "10_bits_each": (32, (0x3FF00000, 0xFFC00, 0x3FF, 0)),
    "4_bits_each": (16, (0xF00, 0xF0, 0xF, 0)),
    "4_bits_each_and_alpha": (16, (0xF00, 0xF0, 0xF, 0xF000)),
    "8_bits_and_alpha_first": (32, (0xFF00, 0xFF0000, 0xFF000000, 0xFF)),
}


def bmp(bits: int, masks: tuple[int, ...], *, header: int, from_top: bool, alpha: float = 1.0) -> bytes:
    samples = [*(PIXELS / 255).transpose(2, 0, 1), np.full(PIXELS.shape[:2], alpha)]
    pixels = np.zeros(PIXELS.shape[:2], np.uint32)
    for mask, channel in zip(masks, samples, strict=True):
        lowest = (mask & -mask) or 1
        pixels |= np.round(channel * (mask // lowest)).astype(np.uint32) * np.uint32(lowest)
    rows = pixels.astype("<u2" if bits == 16 else "<u4")
    padded = np.pad(rows, ((0, 0), (0, 1 if bits == 16 else 0)))
    body = (padded if from_top else padded[::-1]).tobytes()
    height, width, _ = PIXELS.shape
    info = struct.pack(
        "<IiiHHIIiiII", header, width, -height if from_top else height, 1, bits, 3, len(body), 0, 0, 0, 0
    )
    info = (info + struct.pack("<4I", *masks)[: 12 if header == SHORT else 16]).ljust(header, b"\0")
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(body), 0, 0, 14 + len(info)) + info + body


@pytest.mark.parametrize("from_top", [True, False])
@pytest.mark.parametrize("header", [SHORT, LONG])
@pytest.mark.parametrize("name", MASKS)
def test_any_masks_are_read(name: str, header: int, from_top: bool) -> None:
    bits, masks = MASKS[name]
    found = np.asarray(DECODER.decode(bmp(bits, masks, header=header, from_top=from_top)).image)
    assert np.abs(found.astype(int) - PIXELS).max() <= (9 if bits == 16 else 1)


def test_transparent_pixels_become_white() -> None:
    bits, masks = MASKS["8_bits_and_alpha_first"]
    assert (np.asarray(DECODER.decode(bmp(bits, masks, header=LONG, from_top=True, alpha=0)).image) == 255).all()


def test_a_file_without_its_end_or_its_masks_is_damaged() -> None:
    bits, masks = MASKS["10_bits_each"]
    whole = bmp(bits, masks, header=SHORT, from_top=False)
    for damaged in (whole[:-100], whole[:54] + bytes(4) + whole[58:]):
        with pytest.raises(ImageError, match="could not be decoded"):
            DECODER.decode(damaged)


def test_the_limit_on_pixels_applies() -> None:
    bits, masks = MASKS["10_bits_each"]
    with pytest.raises(ImageError, match="megapixels"):
        Decoder(prepare_pillow(), 1000, PREPROCESSING).decode(bmp(bits, masks, header=SHORT, from_top=False))
