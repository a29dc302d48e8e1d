"""Miniatures: small grey pictures of embedded images. The search for duplicates compares them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg
import numpy as np
import numpy.typing as npt

from catalog.jobs import LeaseLost
from catalog.postgres.database import Database

# The longer side, in pixels.
SIDE = 32

SAVE = """
INSERT INTO image_miniatures (collection_id, image_id, width, pixels) VALUES ($1, $2, $3, $4)
ON CONFLICT (collection_id, image_id) DO UPDATE SET width = excluded.width, pixels = excluded.pixels
"""

REMOVE = "DELETE FROM image_miniatures WHERE collection_id = $1 AND image_id = ANY($2)"

OF_IMAGES = "SELECT image_id, width, pixels FROM image_miniatures WHERE collection_id = $1 AND image_id = ANY($2)"

COUNT = "SELECT count(*) FROM image_miniatures WHERE collection_id = $1"

VERDICTS = "SELECT verdicts FROM miniature_verdicts WHERE collection_id = $1"

SAVE_VERDICTS = """
INSERT INTO miniature_verdicts (collection_id, verdicts) VALUES ($1, $2)
ON CONFLICT (collection_id) DO UPDATE SET verdicts = excluded.verdicts
"""


@dataclass(frozen=True)
class Miniature:
    """A grey picture of an image. pixels: a byte for each, row by row. No side is longer than SIDE."""

    width: int
    pixels: bytes

    @property
    def is_valid(self) -> bool:
        """Whether the pixels are full rows, and neither too few nor too many."""
        if not 1 <= self.width <= SIDE or not self.pixels:
            return False
        return len(self.pixels) % self.width == 0 and len(self.pixels) // self.width <= SIDE

    @property
    def grey(self) -> npt.NDArray[np.uint8]:
        """The grey values [height, width]."""
        return np.frombuffer(self.pixels, np.uint8).reshape(-1, self.width)


class Miniatures:
    """The miniatures in the database. Every method raises as `Database.connection` does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, collection_id: int, miniatures: Mapping[int, Miniature | None]) -> None:
        """Save the miniature of each image; None removes an old one. Raises LeaseLost if the collection is gone."""
        rows = [(collection_id, image, new.width, new.pixels) for image, new in miniatures.items() if new is not None]
        gone = [image for image, new in miniatures.items() if new is None]
        try:
            async with self._database.connection() as connection:
                if gone:
                    await connection.execute(REMOVE, collection_id, gone)
                await connection.executemany(SAVE, rows)
        except asyncpg.ForeignKeyViolationError:
            raise LeaseLost("The collection has been deleted.") from None

    async def count(self, collection_id: int) -> int:
        """Return how many images of a collection have one."""
        async with self._database.connection() as connection:
            number: int = await connection.fetchval(COUNT, collection_id)
        return number

    async def of_images(self, collection_id: int, ids: Sequence[int]) -> dict[int, Miniature]:
        """Return the miniatures of these images, by image id. Images of an older release have none."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(OF_IMAGES, collection_id, ids)
        return {row["image_id"]: Miniature(row["width"], row["pixels"]) for row in rows}

    async def verdicts(self, collection_id: int) -> bytes:
        """Return what came of earlier comparisons in a collection, as it was saved; empty if nothing was."""
        async with self._database.connection() as connection:
            found: bytes | None = await connection.fetchval(VERDICTS, collection_id)
        return found or b""

    async def save_verdicts(self, collection_id: int, verdicts: bytes) -> None:
        """Save what came of comparisons, in place of earlier ones. Raises LeaseLost if the collection is gone."""
        try:
            async with self._database.connection() as connection:
                await connection.execute(SAVE_VERDICTS, collection_id, verdicts)
        except asyncpg.ForeignKeyViolationError:
            raise LeaseLost("The collection has been deleted.") from None
