"""The verdicts of earlier comparisons of miniatures. A pair is known by what its miniatures are, not by its images."""

from collections.abc import Mapping
from enum import IntEnum
from hashlib import blake2b

import numpy as np

from catalog.duplicates.miniatures import Miniature

KEY_BYTES = 8
# Change this when pairs are compared in another way, so that earlier verdicts are not used.
METHOD = b"1"
STORED = np.dtype([("key", "<u8"), ("verdict", "u1")])


class Verdict(IntEnum):
    """What came of a comparison. DIFFERENT: from the usual starts. DIFFERENT_FROM_AFAR: from all starts."""

    DIFFERENT = 0
    ALIKE = 1
    DIFFERENT_FROM_AFAR = 2


def key_of(first: Miniature, second: Miniature) -> int:
    """Return the key of a pair."""
    digest = blake2b(digest_size=KEY_BYTES, person=METHOD)
    for each in (first, second):
        digest.update(bytes([each.width]))
        digest.update(each.pixels)
        digest.update(bytes([len(each.pixels) // each.width]))
    return int.from_bytes(digest.digest(), "little")


def to_bytes(verdicts: Mapping[int, Verdict]) -> bytes:
    """Return verdicts as they are stored, by key."""
    return np.array(list(verdicts.items()), dtype=STORED).tobytes()


def from_bytes(stored: bytes) -> dict[int, Verdict]:
    """Return stored verdicts, by key."""
    rows = np.frombuffer(stored, STORED)
    return {key: Verdict(verdict) for key, verdict in zip(rows["key"].tolist(), rows["verdict"].tolist(), strict=True)}
