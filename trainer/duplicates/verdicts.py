"""The verdicts of earlier comparisons of miniatures. A pair is known by what its miniatures are, not by its images."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from catalog.duplicates.miniatures import Miniature

Codes = npt.NDArray[np.uint64]

KEY_BYTES = 8
# Change this when pairs are compared in another way, so that earlier verdicts are not used.
METHOD = b"1"
STORED = np.dtype([("code", "<u8"), ("key", "<u8"), ("verdict", "u1")])
# Odd, and with bits all over: the fractional part of the golden ratio (Knuth, "Sorting and Searching", 6.4).
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class Verdict(IntEnum):
    """What came of a comparison. DIFFERENT: from the usual starts. DIFFERENT_FROM_AFAR: from all starts."""

    DIFFERENT = 0
    ALIKE = 1
    DIFFERENT_FROM_AFAR = 2


@dataclass(frozen=True)
class Known:
    """What earlier searches compared. verdicts: by key. codes: of the pairs of images, sorted."""

    verdicts: Mapping[int, Verdict] = field(default_factory=dict)
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


def to_bytes(verdicts: Mapping[tuple[int, int], Verdict]) -> bytes:
    """Return verdicts as they are stored. verdicts: by code and key."""
    return np.array([(*pair, verdict) for pair, verdict in verdicts.items()], dtype=STORED).tobytes()


def from_bytes(stored: bytes) -> Known:
    """Return stored verdicts."""
    rows = np.frombuffer(stored, STORED)
    verdicts = zip(rows["key"].tolist(), rows["verdict"].tolist(), strict=True)
    return Known({key: Verdict(verdict) for key, verdict in verdicts}, np.sort(rows["code"]))
