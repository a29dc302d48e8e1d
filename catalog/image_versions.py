"""Image versions: the HTTP validators (RFC 9110, 8.8) of the bytes that were embedded, for conditional requests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from catalog.jobs import LeaseLost
from catalog.postgres.database import Database

OF_IMAGES = """
SELECT image_id, etag, last_modified, refreshed_by FROM image_versions
WHERE collection_id = $1 AND backbone = $2 AND image_id = ANY($3)
"""

SAVE = """
INSERT INTO image_versions (collection_id, image_id, backbone, etag, last_modified, refreshed_by)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (collection_id, image_id) DO UPDATE
SET backbone = excluded.backbone, etag = excluded.etag, last_modified = excluded.last_modified,
    refreshed_by = excluded.refreshed_by
"""


@dataclass(frozen=True)
class ImageVersion:
    """The validators of a version as its host sent them; None for one that it did not send."""

    etag: str | None = None
    last_modified: str | None = None

    def __bool__(self) -> bool:
        """Return whether there is any validator, so that a conditional request is possible."""
        return self.etag is not None or self.last_modified is not None


UNKNOWN = ImageVersion()


@dataclass(frozen=True)
class StoredVersion:
    """The version that an image's stored vector was made of. refreshed_by: the last refresh job that checked it."""

    version: ImageVersion
    refreshed_by: int | None


class ImageVersions:
    """The versions in the database. Every method raises as `Database.connection` does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_images(self, collection_id: int, backbone: str, ids: Sequence[int]) -> Mapping[int, StoredVersion]:
        """Return the known versions of images by image id. backbone: checksum of the one that embedded them."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(OF_IMAGES, collection_id, backbone, ids)
        return {
            row["image_id"]: StoredVersion(ImageVersion(row["etag"], row["last_modified"]), row["refreshed_by"])
            for row in rows
        }

    async def save(
        self, collection_id: int, backbone: str, versions: Mapping[int, ImageVersion], *, refreshed_by: int | None
    ) -> None:
        """Save which version each image's vector was made of. Raises LeaseLost if the collection is gone."""
        rows = [
            (collection_id, image, backbone, version.etag, version.last_modified, refreshed_by)
            for image, version in versions.items()
        ]
        try:
            async with self._database.connection() as connection:
                await connection.executemany(SAVE, rows)
        except asyncpg.ForeignKeyViolationError:
            raise LeaseLost("The collection has been deleted.") from None
