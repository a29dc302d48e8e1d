"""A part of an image, as clients name it."""

import math
from typing import NamedTuple

# Sums of fractions such as 0.7 + 0.1 + 0.2 may exceed 1 by rounding.
TOLERANCE = 1e-6

# Left, top, right and bottom in pixels, without the last column and row.
Box = tuple[int, int, int, int]


class Region(NamedTuple):
    """A rectangle as fractions, 0 to 1, of the width and height of the upright image. x, y: its upper left corner."""

    x: float
    y: float
    width: float
    height: float

    def problem(self) -> str | None:
        """Return what is wrong with it, as a sentence for the caller; None if it is a part of an image."""
        if not all(math.isfinite(value) and 0 <= value <= 1 for value in self):
            return "Its x, y, width and height must be between 0 and 1, as fractions of the image."
        if self.width == 0 or self.height == 0:
            return "Its width and height must be greater than 0."
        if self.x + self.width > 1 + TOLERANCE:
            return "It exceeds the right edge of the image: x + width must be at most 1."
        if self.y + self.height > 1 + TOLERANCE:
            return "It exceeds the lower edge of the image: y + height must be at most 1."
        return None

    def box(self, size: tuple[int, int]) -> Box:
        """Return its pixels in an upright image of this width and height: at least one."""
        left, right = _pixels(self.x, self.width, size[0])
        top, bottom = _pixels(self.y, self.height, size[1])
        return left, top, right, bottom


def _pixels(start: float, length: float, side: int) -> tuple[int, int]:
    first = min(round(start * side), side - 1)
    return first, min(max(round((start + length) * side), first + 1), side)
