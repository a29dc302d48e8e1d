"""Numbers for objects: a repository URL says which object an image shows."""

import hashlib

from catalog.images import Image


def object_number(repo_url: str) -> int:
    """Return a number from 0 to 2^63 - 1 for a repository URL, evenly spread and the same in every process."""
    return int.from_bytes(hashlib.blake2b(repo_url.encode(), digest_size=8).digest()) >> 1


def object_of(image: Image, spanning: int | None) -> int:
    """Return the number of the object that an image shows.

    An image without a repository URL is an object of its own, as is one with the URL that spans most of the collection,
    which is given by its number `spanning`.
    """
    number = object_number(image.repo_url)
    if image.repo_url and number != spanning:
        return number
    return object_number(f"image {image.id}")
