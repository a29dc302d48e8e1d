"""Versions of images: what hosts call the bytes that were embedded (RFC 9110, 8.8), to ask for newer ones only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from catalog.jobs import LeaseLost
from catalog.postgres.database import Database

OF_IMAGES = """
SELECT image_id, etag, last_modified, refreshed_by FROM image_versions
WHERE collection_id = $1 AND backbone = $2 AND image_id = ANY($3)
"""

KEEP = """
INSERT INTO image_versions (collection_id, image_id, backbone, etag, last_modified, refreshed_by)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (collection_id, image_id) DO UPDATE
SET backbone = excluded.backbone, etag = excluded.etag, last_modified = excluded.last_modified,
    refreshed_by = excluded.refreshed_by
"""


@dataclass(frozen=True)
class ImageVersion:
    """The validators of one version, as its host sent them; None where it sent none."""

    etag: str | None = None
    last_modified: str | None = None

    def __bool__(self) -> bool:
        """Whether a host can be asked for a newer one."""
        return self.etag is not None or self.last_modified is not None


UNKNOWN = ImageVersion()


@dataclass(frozen=True)
class StoredVersion:
    """The version of an image whose vector is kept. refreshed_by: the newest refresh (job) that asked for it."""

    version: ImageVersion
    refreshed_by: int | None


class ImageVersions:
    """The versions of the database. Every method raises what `Database.connection` raises."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_images(self, collection_id: int, backbone: str, ids: Sequence[int]) -> Mapping[int, StoredVersion]:
        """The versions that a backbone's vectors of these images were made of, by image, where they are known."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(OF_IMAGES, collection_id, backbone, ids)
        return {
            row["image_id"]: StoredVersion(ImageVersion(row["etag"], row["last_modified"]), row["refreshed_by"])
            for row in rows
        }

    async def save(
        self, collection_id: int, backbone: str, versions: Mapping[int, ImageVersion], *, refreshed_by: int | None
    ) -> None:
        """Keeps which version each image's vector was made of. Raises LeaseLost if the collection is gone."""
        rows = [
            (collection_id, image, backbone, version.etag, version.last_modified, refreshed_by)
            for image, version in versions.items()
        ]
        try:
            async with self._database.connection() as connection:
                await connection.executemany(KEEP, rows)
        except asyncpg.ForeignKeyViolationError:
            raise LeaseLost("The collection was removed.") from None
