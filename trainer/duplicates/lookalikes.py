"""Look-alikes: near pairs whose miniatures show two different pictures of one motif, not the same picture twice."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from catalog.duplicates.miniatures import Miniature
from trainer.duplicates.near_pairs import Pairs
from trainer.duplicates.registration import Canvas, Start, agreement
from trainer.duplicates.verdicts import Codes, Known, codes_of, key_of

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
# The time is bounded: a search compares LEAST_PAIRS pairs, or PAIRS_OF_IMAGE for each image if that is more. A share of
# them may be tried from the far starts.
PAIRS_OF_IMAGE = 0.2
LEAST_PAIRS = 5_000
FAR_SHARE = 0.25
AT_ONCE = 128


@dataclass
class Lookalikes:
    """Compares the near pairs of a search. ids: of the images, by position. known: what earlier searches compared.

    verdicts: whether the pairs that were compared, or were known, are alike, by code and key.
    """

    pairs: Pairs
    ids: npt.NDArray[np.int64]
    known: Known = field(default_factory=Known)
    verdicts: dict[tuple[int, int], bool] = field(init=False, default_factory=dict)
    _codes: Codes = field(init=False)
    _kept: npt.NDArray[np.bool_] = field(init=False)
    _order: Rows = field(init=False)
    # How many pairs may still be compared from the far starts.
    _far: int = field(init=False)

    def __post_init__(self) -> None:
        scores = self.pairs.scores
        self._kept = scores >= COPY
        self._codes = codes_of(self.ids[self.pairs.first], self.ids[self.pairs.second])
        most = max(LEAST_PAIRS, round(PAIRS_OF_IMAGE * len(self.ids)))
        # First the pairs with a verdict, which cost nothing. Then those above COPY, which would be reported otherwise,
        # the least similar ones first.
        order = np.lexsort((np.abs(scores - COPY), ~self._kept, ~self.known.has(self._codes)))
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
        shown: list[tuple[Miniature, Miniature]] = []
        rows, keys = [], list[tuple[int, int]]()
        for row, first, second in zip(part.tolist(), self.pairs.first[part], self.pairs.second[part], strict=True):
            one, other = miniatures.get(int(first)), miniatures.get(int(second))
            if one is None or other is None:
                continue
            key = int(self._codes[row]), key_of(one, other)
            verdict = self.known.alike.get(key[1])
            if verdict is None:
                rows.append(row)
                keys.append(key)
                shown.append((one, other))
                continue
            self.verdicts[key] = verdict
            self._kept[row] = verdict
        if shown:
            self._compare(np.array(rows), keys, shown)

    def _compare(
        self, rows: Rows, keys: Sequence[tuple[int, int]], shown: Sequence[tuple[Miniature, Miniature]]
    ) -> None:
        one, other = (Canvas.of([pair[place].grey for pair in shown]) for place in range(2))
        comparable = one.has_contrast & other.has_contrast
        one, other, rows = one[comparable], other[comparable], rows[comparable]
        found = alike(one, other)
        far = np.flatnonzero(~found & (self.pairs.scores[rows] >= COPY))[: self._far]
        self._far -= len(far)
        found[far] = alike(one[far], other[far], far=True)
        self._kept[rows] = found
        compared = np.flatnonzero(comparable).tolist()
        self.verdicts |= {keys[place]: each for place, each in zip(compared, found.tolist(), strict=True)}

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
