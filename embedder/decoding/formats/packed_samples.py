"""Samples of any number of bits that follow one another without a gap, in rows of whole bytes (TIFF 6.0, section 3)."""

import numpy as np

from embedder.decoding.sample_range import Samples

# Longer ones have a byte order.
MAX_BITS = 23
# Bits that are unpacked at a time. Each takes a byte.
BAND_BITS = 16_000_000


def row_bytes(values: int, bits: int) -> int:
    """Return how many bytes a row of as many values takes."""
    return -(-values * bits // 8)


def unpacked(encoded: bytes | memoryview, shape: tuple[int, int, int], bits: int, *, lsb_first: bool) -> Samples:
    """Return samples [height, width, channels] as unsigned integers.

    bits: of a sample, up to `MAX_BITS`. lsb_first: whether the first bit of a byte is its lowest. Raises ValueError if
    bytes are missing.
    """
    height, width, channels = shape
    size = row_bytes(width * channels, bits)
    rows = np.frombuffer(encoded, np.uint8, height * size).reshape(height, size)
    samples = np.zeros((height, width * channels), np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32)
    band_rows = max(1, BAND_BITS // (8 * size))
    for top in range(0, height, band_rows):
        band = rows[top : top + band_rows]
        ones = np.unpackbits(band, axis=1, count=width * channels * bits, bitorder="little" if lsb_first else "big")
        found = samples[top : top + band_rows]
        for bit in range(bits):
            found <<= 1
            found |= ones[:, bit::bits]
    return samples.reshape(shape)
