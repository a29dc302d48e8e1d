"""Which images are embedded with augmented views: a bounded sample, the same whoever asks."""

import hashlib

VIEWS = 4
MAX_VIEWED = 2000


class ViewSample:
    """Some MAX_VIEWED of `total` images, by a hash of their ids: what a larger total keeps is part of a smaller's."""

    def __init__(self, total: int) -> None:
        self._share = min(MAX_VIEWED / max(total, 1), 1.0)

    def views(self, image_id: int) -> int:
        """How many views of an image are wanted: VIEWS or none."""
        digest = hashlib.blake2b(image_id.to_bytes(8), digest_size=8).digest()
        return VIEWS if int.from_bytes(digest) < self._share * 2**64 else 0
