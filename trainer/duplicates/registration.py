"""Registration: places one miniature on another, and measures how well they agree where they overlap.

A copy shows the same picture at another place, size and angle. Gauss-Newton steps find the similarity transform that
gives the highest correlation of the overlap (the ECC criterion of Evangelidis and Psarakis, 2008), first on halved
miniatures, then on whole ones. Many pairs are registered at a time, because each alone is too small for numpy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from catalog.duplicates.miniatures import SIDE

Floats = npt.NDArray[np.float32]
# Grey values [height, width]; no side is longer than SIDE.
Pixels = npt.NDArray[np.uint8]

STEPS = 6
# The overlap must be this share of the smaller picture.
LEAST_OVERLAP = 0.45
# A step is cut to so much of scale and turn, and so much of the side.
LONGEST_STEP = 0.15
# Details are compared in windows of this many pixels to each side of their middle.
WINDOW = 3
# Below this standard deviation of the grey values, 0 to 1, there is nothing to place a picture by.
LEAST_CONTRAST = 0.02
# Pixels at the edges, which are blurred with what a copy may have around it.
MARGIN = 2
# A window differs if its correlation is below this, after adding a little to both variances: nothing differs in an even
# area. If more than this share of the windows differ, something was moved or replaced, and it is no copy.
WINDOW_AGREES, EVEN_VARIANCE, MOST_DIFFERENT = 0.5, 0.02, 0.02


@dataclass(frozen=True)
class Start:
    """Where registration begins. scale: of the second picture's pixels to the first's. degrees: anticlockwise."""

    scale: float = 1.0
    degrees: float = 0.0


@dataclass(frozen=True)
class Canvas:
    """Pictures in the middle of squares. grey: [n, side, side], 0 to 1; the mean outside. inside: 1 or 0."""

    grey: Floats
    inside: Floats

    @classmethod
    def of(cls, pictures: Sequence[Pixels]) -> "Canvas":
        """Return a canvas of these pictures."""
        grey, inside = np.zeros((2, len(pictures), SIDE, SIDE), np.float32)
        for place, pixels in enumerate(pictures):
            height, width = pixels.shape
            top, left = (SIDE - height) // 2, (SIDE - width) // 2
            grey[place, top : top + height, left : left + width] = pixels / np.float32(255)
            inside[place, top : top + height, left : left + width] = 1
        mean = grey.sum((1, 2)) / inside.sum((1, 2))
        return cls(_smoothed(grey + (1 - inside) * mean[:, np.newaxis, np.newaxis]), inside)

    def __getitem__(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> "Canvas":
        return Canvas(self.grey[rows], self.inside[rows])

    @property
    def side(self) -> int:
        """The side of the squares, in pixels."""
        side: int = self.grey.shape[1]
        return side

    @property
    def has_contrast(self) -> npt.NDArray[np.bool_]:
        """Whether each picture has something to place it by [n]. A blank page has not."""
        count = self.inside.sum((1, 2))
        mean = (self.grey * self.inside).sum((1, 2)) / count
        differences = (self.grey - mean[:, np.newaxis, np.newaxis]) * self.inside
        found: npt.NDArray[np.bool_] = (differences**2).sum((1, 2)) >= count * LEAST_CONTRAST**2
        return found

    def halved(self) -> "Canvas":
        """Return the same pictures at half the size."""
        return Canvas(_halved(self.grey), (_halved(self.inside) > 0.99).astype(np.float32))


def agreement(first: Canvas, second: Canvas, starts: Sequence[Start], finish: int = 1) -> Floats:
    """Return how well the details of each pair agree [n], at most 1; -1 if it cannot be placed.

    The starts are tried on halved pictures. finish: how many of them, the best ones of each pair, are tried further.
    """
    if not len(first.grey):
        return np.zeros(0, np.float32)
    small_first, small_second = first.halved(), second.halved()
    tried = [_placed(small_first, small_second, _begun(start, len(first.grey))) for start in starts]
    places = np.stack([place for place, _ in tried])
    order = np.argsort(-np.stack([score for _, score in tried]), axis=0)
    best = np.full(len(first.grey), -1, np.float32)
    columns = np.arange(len(first.grey))
    for rank in range(min(finish, len(starts))):
        place = places[order[rank], columns] * np.array([1, 1, 2, 2], np.float32)
        place, score = _placed(first, second, place)
        best = np.maximum(best, np.where(score > 0, _agreement_of_details(first, second, place), -1))
    return best


def _begun(start: Start, count: int) -> Floats:
    turn = np.deg2rad(start.degrees)
    place = (start.scale * np.cos(turn) - 1, start.scale * np.sin(turn), 0, 0)
    return np.tile(np.array(place, np.float32), (count, 1))


def _placed(first: Canvas, second: Canvas, place: Floats) -> tuple[Floats, Floats]:
    """Improve where the second pictures lie on the first ones, and return that and the correlations [n].

    place: [n, 4]. The point (x, y) of a first picture, from its middle, lies at ((1 + a) x - b y + c,
    b x + (1 + a) y + d) of the second one, for a, b, c and d. A correlation is -1 if the overlap is too small.
    """
    side, count = first.side, len(first.grey)
    across, down = _grid(side)
    channels = np.stack([second.grey, *_gradients(second.grey), second.inside], axis=1)
    grey, inside = first.grey.reshape(count, -1), first.inside.reshape(count, -1)
    limit = np.array([LONGEST_STEP, LONGEST_STEP, side / 8, side / 8], np.float32)
    best, found = np.full(count, -1, np.float32), place
    for step in range(STEPS + 1):
        sampled, weights = _sampled(channels, place, side)
        weights = weights * inside
        number = np.maximum(weights.sum(1, keepdims=True), 1)
        one, _ = _normalised(grey, weights, number)
        other, length = _normalised(sampled[:, 0], weights, number)
        scale = (1 + place[:, 0]) ** 2 + place[:, 1] ** 2
        smaller = np.minimum(inside.sum(1), second.inside.sum((1, 2)) / np.maximum(scale, 1e-3))
        score = np.where(weights.sum(1) >= LEAST_OVERLAP * smaller, (one * other).sum(1), -1)
        better = score > best
        best, found = np.where(better, score, best), np.where(better[:, np.newaxis], place, found)
        if step == STEPS:
            break
        right, below = sampled[:, 1], sampled[:, 2]
        slopes = np.stack([right * across + below * down, below * across - right * down, right, below], axis=1)
        slopes *= weights[:, np.newaxis]
        slopes -= slopes.sum(2, keepdims=True) / number[:, np.newaxis] * weights[:, np.newaxis]
        slopes /= length[:, np.newaxis]
        slopes -= (slopes * other[:, np.newaxis]).sum(2, keepdims=True) * other[:, np.newaxis]
        place = place + np.clip(_step(slopes, one - other), -limit, limit)
    return found, best


def _step(slopes: Floats, difference: Floats) -> Floats:
    """Return the Gauss-Newton step [n, 4] that makes the difference [n, pixels] smallest. slopes: [n, 4, pixels]."""
    moment = slopes @ slopes.transpose(0, 2, 1)
    damping = 2.5e-5 * np.trace(moment, axis1=1, axis2=2) + 1e-9
    moment += damping[:, np.newaxis, np.newaxis] * np.eye(4, dtype=np.float32)
    found: Floats = np.linalg.solve(moment, slopes @ difference[:, :, np.newaxis])[:, :, 0]
    return found


def _agreement_of_details(first: Canvas, second: Canvas, place: Floats) -> Floats:
    """Return the correlation [n] of what differs from its surroundings, within the overlap; -1 if a part disagrees.

    Two photographs of one motif often have the same light and dark areas, so that their plain correlation is high.
    """
    side, count = first.side, len(first.grey)
    sampled, weights = _sampled(np.stack([second.grey, _inner(second.inside)], axis=1), place, side)
    weights *= _inner(first.inside).reshape(count, -1)
    number = np.maximum(weights.sum(1, keepdims=True), 1)
    one, other = (_normalised(grey, weights, number)[0] for grey in (first.grey.reshape(count, -1), sampled[:, 0]))
    # Of unit variance, so that the small number below means the same for all.
    one, other, weights = (
        (part * size).reshape(count, side, side)
        for part, size in ((one, np.sqrt(number)), (other, np.sqrt(number)), (weights, np.float32(1)))
    )
    inside = np.maximum(_windows(weights), 1e-3)
    counted = (weights > 0) & (inside >= (2 * WINDOW + 1) ** 2 / 2)
    means = [_windows(part) / inside for part in (one, other)]
    both = _windows(one * other) / inside - means[0] * means[1]
    each = [
        np.maximum(_windows(part * part) / inside - mean * mean, 0)
        for part, mean in zip((one, other), means, strict=True)
    ]
    agreeing = (both + EVEN_VARIANCE) / np.sqrt((each[0] + EVEN_VARIANCE) * (each[1] + EVEN_VARIANCE))
    different = ((agreeing < WINDOW_AGREES) & counted).sum((1, 2)) > MOST_DIFFERENT * counted.sum((1, 2))
    sums = [(part * counted).sum((1, 2)) for part in (both, *each)]
    found: Floats = np.where(different, -1, sums[0] / np.sqrt(sums[1] * sums[2] + 1e-9))
    return found


def _grid(side: int) -> tuple[Floats, Floats]:
    """Return the positions of the pixels from the middle, across and down, [1, side * side] each."""
    along = np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)
    return np.tile(along, side)[np.newaxis], np.repeat(along, side)[np.newaxis]


def _sampled(channels: Floats, place: Floats, side: int) -> tuple[Floats, Floats]:
    """Return what lies under each pixel of the first pictures, interpolated, and whether it is inside the second ones.

    channels: [n, c, side, side]; the last one is 1 inside. Returns [n, c, pixels] and [n, pixels].
    """
    across, down = _grid(side)
    middle, (a, b, c, d) = (side - 1) / 2, (place[:, column : column + 1] for column in range(4))
    x, y = (1 + a) * across - b * down + c + middle, b * across + (1 + a) * down + d + middle
    inside = (x >= 0) & (x <= side - 1) & (y >= 0) & (y <= side - 1)
    left, top = np.clip(np.floor(x), 0, side - 2), np.clip(np.floor(y), 0, side - 2)
    right, below = np.clip(x - left, 0, 1)[:, np.newaxis], np.clip(y - top, 0, 1)[:, np.newaxis]
    flat = channels.reshape(*channels.shape[:2], -1)
    position = (top * side + left).astype(np.intp)[:, np.newaxis]

    def at(offset: int) -> Floats:
        found: Floats = np.take_along_axis(flat, position + offset, axis=2)
        return found

    upper = at(0) + (at(1) - at(0)) * right
    lower = at(side) + (at(side + 1) - at(side)) * right
    found: Floats = upper + (lower - upper) * below
    return found, (inside & (found[:, -1] > 0.99)).astype(np.float32)


def _normalised(values: Floats, weights: Floats, number: Floats) -> tuple[Floats, Floats]:
    """Return values [n, pixels] with mean 0 and length 1, and the lengths that they had [n, 1]."""
    centred = (values - (values * weights).sum(1, keepdims=True) / number) * weights
    length = np.sqrt((centred * centred).sum(1, keepdims=True)) + np.float32(1e-6)
    return centred / length, length


def _gradients(grey: Floats) -> tuple[Floats, Floats]:
    across, down = np.zeros_like(grey), np.zeros_like(grey)
    across[:, :, 1:-1] = (grey[:, :, 2:] - grey[:, :, :-2]) / 2
    down[:, 1:-1] = (grey[:, 2:] - grey[:, :-2]) / 2
    return across, down


def _smoothed(grey: Floats) -> Floats:
    """Return pictures whose finest details are blurred, as interpolation between their pixels blurs them."""
    wide = np.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]
    found: Floats = (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / np.float32(16)
    return found


def _inner(inside: Floats) -> Floats:
    """Return the insides without their margins, which are blurred with what a copy may have around it."""
    found = inside
    for _ in range(MARGIN):
        wide = np.pad(found, ((0, 0), (1, 1), (1, 1)))
        found = wide[:, :-2, 1:-1] * wide[:, 2:, 1:-1] * wide[:, 1:-1, :-2] * wide[:, 1:-1, 2:] * found
    return found


def _halved(values: Floats) -> Floats:
    count, side, _ = values.shape
    found: Floats = values.reshape(count, side // 2, 2, side // 2, 2).mean((2, 4))
    return found


def _windows(values: Floats) -> Floats:
    """Return the sums of values [n, side, side] around each pixel."""
    size, before = 2 * WINDOW + 1, (WINDOW + 1, WINDOW)
    rows = np.cumsum(np.pad(values, ((0, 0), before, (0, 0))), axis=1)
    rows = rows[:, size:] - rows[:, :-size]
    columns = np.cumsum(np.pad(rows, ((0, 0), (0, 0), before)), axis=2)
    found: Floats = columns[:, :, size:] - columns[:, :, :-size]
    return found
