"""The ids of the points of a generation: image ids, scattered.

Qdrant adds points to its graph in the order of their ids. Neighbouring rows of a content have neighbouring image ids
and often show nearly the same. If points are added in that order, such groups lose their links to the rest of the
graph, and a search never reaches them. Scattered ids mix all images.
"""

from collections.abc import Sequence

import numpy as np

# Image ids have 63 bits. The 64th marks a scattered id: the points of older generations have the image ids themselves.
SCATTERED = 1 << 63
MASK = SCATTERED - 1
# `number ^ number >> SHIFT` is its own inverse, because SHIFT is more than half of the bits. A product with an odd
# factor modulo a power of two can be inverted, too. The factors are those of MurmurHash3's finalizer, cut to 63 bits.
SHIFT = 32
FACTORS = (0x7F51AFD7ED558CCD, 0x44CEB9FE1A85EC53)
INVERSES = tuple(pow(factor, -1, SCATTERED) for factor in reversed(FACTORS))


def point_id(image_id: int) -> int:
    """Return the id of the point that stands for an image. image_id: from 0 to 2**63 - 1."""
    return SCATTERED | _mixed(image_id, FACTORS)


def image_id(point: int) -> int:
    """Return the id of the image that a point stands for."""
    return point if point < SCATTERED else _mixed(point & MASK, INVERSES)


def image_ids(points: Sequence[int]) -> list[int]:
    """Return what `image_id` returns for each of the points."""
    numbers = np.array(points, dtype=np.uint64)
    mixed = numbers & np.uint64(MASK)
    mixed ^= mixed >> np.uint64(SHIFT)
    for factor in INVERSES:
        mixed = mixed * np.uint64(factor) & np.uint64(MASK)
        mixed ^= mixed >> np.uint64(SHIFT)
    found: list[int] = np.where(numbers < np.uint64(SCATTERED), numbers, mixed).tolist()
    return found


def _mixed(number: int, factors: tuple[int, ...]) -> int:
    """Return another number of 63 bits, a different one for each number."""
    number ^= number >> SHIFT
    for factor in factors:
        number = number * factor & MASK
        number ^= number >> SHIFT
    return number
