"""Look-alikes: near pairs whose miniatures show two different pictures of one motif, not the same picture twice."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from catalog.duplicates.miniatures import Miniature
from trainer.duplicates.near_pairs import Pairs
from trainer.duplicates.registration import Canvas, Start, agreement

Rows = npt.NDArray[np.intp]

# Two images are copies if their similarity in the comparison space is at least COPY. If their miniatures can be
# compared, it must be at least NEAR, and the miniatures must agree by at least ALIKE. See docs/decisions/0016.
NEAR, COPY = 0.35, 0.45
ALIKE = 0.93
# Most copies are found from the first start. The others are for crops; the last ones, for which only pairs above COPY
# are worth the time, for small crops and quarter turns. FINISHED of these are tried further.
STARTS = ((Start(),), (Start(0.78), Start(1.28)))
FAR_STARTS = (Start(0.62), Start(1.6), *(Start(1, degrees) for degrees in (25, -25, 90, -90, 180)))
FINISHED = 2
# So many pairs are compared for each image on average, and at least so many. From the far starts, so many of them are.
# This bounds the time.
PAIRS_OF_IMAGE = 0.2
LEAST_PAIRS = 20_000
FAR_SHARE = 0.25
AT_ONCE = 128


@dataclass
class Lookalikes:
    """Compares the near pairs of a search. count: of the images."""

    pairs: Pairs
    count: int
    _kept: npt.NDArray[np.bool_] = field(init=False)
    _order: Rows = field(init=False)
    # How many pairs may still be compared from the far starts.
    _far: int = field(init=False)

    def __post_init__(self) -> None:
        scores = self.pairs.scores
        self._kept = scores >= COPY
        most = max(LEAST_PAIRS, round(PAIRS_OF_IMAGE * self.count))
        # Those above COPY first, because they would be reported otherwise, and of these the least similar ones.
        order = np.lexsort((np.abs(scores - COPY), ~self._kept))
        self._order, self._far = order[:most], round(most * FAR_SHARE)

    def parts(self) -> Iterator[Rows]:
        """Yield the pairs to compare, some at a time."""
        for start in range(0, len(self._order), AT_ONCE):
            yield self._order[start : start + AT_ONCE]

    def images_of(self, part: Rows) -> list[int]:
        """Return the positions of the images of some pairs."""
        positions: list[int] = np.unique(np.concatenate([self.pairs.first[part], self.pairs.second[part]])).tolist()
        return positions

    def compare(self, part: Rows, miniatures: Mapping[int, Miniature]) -> None:
        """Compare some pairs. miniatures: by the positions of their images. A pair without both is left as it is."""
        first, second = self.pairs.first[part].tolist(), self.pairs.second[part].tolist()
        both = [place for place in range(len(part)) if first[place] in miniatures and second[place] in miniatures]
        if not both:
            return
        one = Canvas.of([miniatures[first[place]].grey for place in both])
        other = Canvas.of([miniatures[second[place]].grey for place in both])
        comparable = one.has_contrast & other.has_contrast
        rows = part[both][comparable]
        found = alike(one[comparable], other[comparable])
        far = np.flatnonzero(~found & (self.pairs.scores[rows] >= COPY))[: self._far]
        self._far -= len(far)
        found[far] = alike(one[comparable][far], other[comparable][far], far=True)
        self._kept[rows] = found

    def copies(self) -> Pairs:
        """Return the pairs that are no look-alikes."""
        pairs, kept = self.pairs, self._kept
        return Pairs(pairs.first[kept], pairs.second[kept], pairs.scores[kept])


def alike(first: Canvas, second: Canvas, *, far: bool = False) -> npt.NDArray[np.bool_]:
    """Return which pairs show the same picture [n]. far: try the far starts, not the usual ones."""
    if far:
        return agreement(first, second, FAR_STARTS, FINISHED) >= ALIKE
    found = np.zeros(len(first.grey), dtype=bool)
    for starts in STARTS:
        open_ = np.flatnonzero(~found)
        found[open_] = agreement(first[open_], second[open_], starts) >= ALIKE
    return found
