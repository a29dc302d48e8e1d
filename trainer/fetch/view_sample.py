"""The sample of images that are also embedded as augmented views."""

import hashlib

VIEWS = 4
MAX_VIEWED = 2000


class ViewSample:
    """About MAX_VIEWED of `total` images, chosen by a hash of their ids.

    The choice is the same each time. When the collection grows, the new sample is part of the old one and new images.
    """

    def __init__(self, total: int) -> None:
        self._share = min(MAX_VIEWED / max(total, 1), 1.0)

    def views(self, image_id: int) -> int:
        """Return how many views of an image to embed: VIEWS or 0."""
        digest = hashlib.blake2b(image_id.to_bytes(8), digest_size=8).digest()
        return VIEWS if int.from_bytes(digest) < self._share * 2**64 else 0
