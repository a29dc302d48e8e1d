"""The range of samples of more than 8 bits: which values become black and white, by the file's tags or its values."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.decoding.image_error import ImageError

Samples = NDArray[Any]
# The white of the depths that cameras and scanners store in wider samples: 8, 10, 12, 14 and 16 bits.
INTEGER_WHITES = (2**8 - 1, 2**10 - 1, 2**12 - 1, 2**14 - 1, 2**16 - 1)
# The white of floating-point images: of their own, and of 8-bit and 16-bit ones that were converted.
FLOAT_WHITES = (1.0, 255.0, 65535.0)
# Floats up to this one are light that is brighter than white, and not a dark image in the range of an 8-bit one.
BRIGHTEST_FLOAT = 16.0
# Floats below zero by less than this share of white come from resizing with sharp filters.
UNDERSHOOT = 0.1
# Floats further from zero mark pixels without a value, such as the lowest number of 32 bits.
UNLIKELY_FLOAT = 1e30
# Up to this share of samples at the highest number there is are defects of a sensor, or scale bars that were drawn
# into the image, if no sample comes near them.
MARKED_SHARE = 0.05
# Percentiles are taken of about this many samples.
SAMPLED = 1_000_000


@dataclass(frozen=True)
class SampleRange:
    """The samples that become 0 and 255. White is below black if the file says that zero is white."""

    black: float
    white: float

    @property
    def inverted(self) -> "SampleRange":
        """The range with black and white exchanged."""
        return SampleRange(self.white, self.black)

    def to_8_bits(self, samples: Samples) -> NDArray[np.uint8]:
        """Return the samples as 0 to 255. What is outside the range is clipped; what is no number becomes black."""
        span = self.white - self.black or 1.0
        scaled = (samples.astype(np.float32) - np.float32(self.black)) * np.float32(255.0 / span)
        np.nan_to_num(scaled, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
        return np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled).astype(np.uint8)


@dataclass(frozen=True)
class Extent:
    """The lowest and the highest finite sample of an image.

    usual_high: the 99th percentile of floats, the highest of integers without marks.
    """

    low: float
    high: float
    usual_high: float


def extent_of(parts: Callable[[], Iterable[Samples]], size: int, no_data: float | None = None) -> Extent:
    """Return the extent of an image that is given in parts.

    size: about how many samples it has. no_data: the sample that stands for no value, by the file's tags. Raises
    ImageError if no sample is finite.
    """
    lows, highs, sampled, below_top, marks = [], [], [], [0.0], 0
    step = max(1, size // SAMPLED)
    for part in _valued(parts(), no_data):
        lows.append(float(part.min()))
        highs.append(float(part.max()))
        if part.dtype.kind == "f":
            sampled.append(part[::step])
        else:
            top = np.iinfo(part.dtype).max
            others = part[part < top] if highs[-1] == top else part
            marks += part.size - others.size
            below_top.append(float(others.max(initial=0)))
    if not lows:
        raise ImageError("decode_error", "The image could not be decoded: none of its pixels is a finite number.")
    if sampled:
        usual_high = float(np.percentile(np.concatenate(sampled), 99))
    else:
        usual_high = max(below_top) if marks <= MARKED_SHARE * size else max(highs)
    return Extent(min(lows), max(highs), usual_high)


def _valued(parts: Iterable[Samples], no_data: float | None) -> Iterator[Samples]:
    """Yield the samples [n] of each part that have a finite value, without the parts that have none."""
    for part in parts:
        samples = part[np.abs(part) < UNLIKELY_FLOAT] if part.dtype.kind == "f" else part.ravel()
        if no_data is not None:
            samples = samples[samples != no_data]
        if samples.size:
            yield samples


def range_of(extent: Extent, sample_type: np.dtype[Any], *, bits: int, declared: float = 0.0) -> SampleRange:
    """Return the range of samples with this extent.

    bits: of a sample in the file. declared: the highest value by the file's tags, which may be less than there is.
    """
    if sample_type.kind == "f":
        return _float_range(extent, declared)
    if extent.low < 0:
        return SampleRange(extent.low, extent.high)
    largest = 2.0 ** (bits - (sample_type.kind == "i")) - 1
    if bits < 16:
        return SampleRange(0, largest)
    declared_high = min(declared, largest)
    if extent.high == largest and max(extent.usual_high, declared_high) <= INTEGER_WHITES[-2]:
        high = max(extent.usual_high, declared_high)
    else:
        high = max(extent.high, declared_high)
    for white in INTEGER_WHITES:
        if high <= white < largest:
            return SampleRange(0, white)
    # An image of 32 bits uses all of them, or else its values have a scale of their own.
    return SampleRange(0, largest if bits == 16 or high > largest / 4 else high)


def _float_range(extent: Extent, declared: float) -> SampleRange:
    high = max(extent.usual_high, declared if np.isfinite(declared) else 0.0)
    if extent.low < -UNDERSHOOT * high:
        return SampleRange(extent.low, extent.high)
    if 1 < high < BRIGHTEST_FLOAT:
        return SampleRange(0, high)
    return SampleRange(0, next((white for white in FLOAT_WHITES if high <= white), extent.high))
