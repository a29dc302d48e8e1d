"""The verdicts of earlier comparisons of miniatures. A pair is identified by the miniatures themselves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from catalog.duplicates.miniatures import Miniature

Codes = npt.NDArray[np.uint64]

KEY_BYTES = 8
# Change this when pairs are compared in another way, so that earlier verdicts are not used.
METHOD = b"1"
STORED = np.dtype([("code", "<u8"), ("key", "<u8"), ("alike", "?")])
# For hashing: 2 to the power of 64 divided by the golden ratio (Knuth, "Sorting and Searching", 6.4).
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Known:
    """What earlier searches compared. alike: whether two miniatures are, by key. codes: of pairs of images, sorted."""

    alike: Mapping[int, bool] = field(default_factory=dict)
    codes: Codes = field(default_factory=lambda: np.zeros(0, np.uint64))

    def has(self, codes: Codes) -> npt.NDArray[np.bool_]:
        """Return which of these pairs were compared [n]. Their miniatures may have changed since."""
        if not len(self.codes):
            return np.zeros(len(codes), dtype=bool)
        places = np.minimum(np.searchsorted(self.codes, codes), len(self.codes) - 1)
        found: npt.NDArray[np.bool_] = self.codes[places] == codes
        return found


def codes_of(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> Codes:
    """Return the codes of pairs of images, by their ids."""
    return first.astype(np.uint64) * MULTIPLIER + second.astype(np.uint64)


def key_of(first: Miniature, second: Miniature) -> int:
    """Return the key of a pair of miniatures."""
    digest = blake2b(digest_size=KEY_BYTES, person=METHOD)
    for each in (first, second):
        digest.update(bytes([each.width, len(each.pixels) // each.width]))
        digest.update(each.pixels)
    return int.from_bytes(digest.digest(), "little")


def to_bytes(alike: Mapping[tuple[int, int], bool]) -> bytes:
    """Return verdicts as they are stored. alike: by code and key."""
    return np.array([(*pair, verdict) for pair, verdict in alike.items()], dtype=STORED).tobytes()


def from_bytes(stored: bytes) -> Known:
    """Return stored verdicts."""
    rows = np.frombuffer(stored, STORED)
    return Known(dict(zip(rows["key"].tolist(), rows["alike"].tolist(), strict=True)), np.sort(rows["code"]))
