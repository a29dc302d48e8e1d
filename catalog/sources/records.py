"""Records: what was read from a source, one for each record of a repository or each manifest, with its images."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass

from catalog.postgres.database import Connection, Database
from catalog.sources.readings import Reading, set_checkpoint
from servicekit.process.fault_points import FaultPoint

BATCH_ROWS = 2000
SORT_SECONDS = 600.0

UPSERT = """
INSERT INTO source_records (collection_id, identifier, reading_id, etag, last_modified, failure_reason, failure_detail)
SELECT $1, w.identifier, $2, w.etag, w.last_modified, w.reason, w.detail
FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
     WITH ORDINALITY AS w(identifier, etag, last_modified, reason, detail, place)
ORDER BY w.place
ON CONFLICT (collection_id, identifier) DO UPDATE SET reading_id = excluded.reading_id, etag = excluded.etag,
    last_modified = excluded.last_modified, failure_reason = excluded.failure_reason,
    failure_detail = excluded.failure_detail
"""

DELETE_RECORDS = "DELETE FROM source_records WHERE collection_id = $1 AND identifier = ANY($2)"

DELETE_IMAGES = "DELETE FROM source_images WHERE collection_id = $1 AND identifier = ANY($2)"

INSERT_IMAGES = """
INSERT INTO source_images (collection_id, identifier, position, image_url, repo_url, label, attribution, rights)
SELECT $1, w.*
FROM unnest($2::text[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[]) AS w
"""

KNOWN = """
SELECT identifier, reading_id, etag, last_modified FROM source_records
WHERE collection_id = $1 AND identifier = ANY($2)
"""

COUNT = "SELECT count(*) FROM source_records WHERE collection_id = $1 AND reading_id = $2"

HAS_IMAGES = """
SELECT EXISTS (
    SELECT FROM source_records r JOIN source_images i USING (collection_id, identifier)
    WHERE r.collection_id = $1 AND r.reading_id = $2)
"""

DISCARD_ALL = "DELETE FROM source_records WHERE collection_id = $1"

DISCARD = "DELETE FROM source_records WHERE collection_id = $1 AND reading_id <> $2"

ROWS = """
SELECT i.image_url, i.repo_url FROM source_records r JOIN source_images i USING (collection_id, identifier)
WHERE r.collection_id = $1 ORDER BY r.ordinal, i.position
"""


# Of several records with an image, the first one counts.
DETAILS = """
SELECT DISTINCT ON (i.image_url) i.image_url, i.label, i.attribution, i.rights
FROM source_images i JOIN source_records r USING (collection_id, identifier)
WHERE i.collection_id = $1 AND md5(i.image_url) = ANY(SELECT md5(url) FROM unnest($2::text[]) AS url)
    AND i.image_url = ANY($2)
ORDER BY i.image_url, r.ordinal, i.position
"""


@dataclass(frozen=True)
class SourceImage:
    """An image of a record. label, attribution, rights: as the source says; None if it does not."""

    image_url: str
    repo_url: str
    label: str | None = None
    attribution: str | None = None
    rights: str | None = None


@dataclass(frozen=True)
class ImageDetails:
    """What a source says about an image. rights: an address of a licence, or text."""

    label: str | None
    attribution: str | None
    rights: str | None


@dataclass(frozen=True)
class RecordFailure:
    """Why a record has no images. reason: stable, in snake case. detail: a sentence for people."""

    reason: str
    detail: str


@dataclass(frozen=True)
class SourceRecord:
    """A record that was read. images: None: those that are stored stay. deleted: the source has deleted it.

    etag, last_modified: of the answer that it was read from, so that an unchanged one need not be read again.
    """

    identifier: str
    images: Sequence[SourceImage] | None = ()
    failure: RecordFailure | None = None
    deleted: bool = False
    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True)
class KnownRecord:
    """What is stored of a record. reading_id: the last reading that met it."""

    reading_id: int
    etag: str | None
    last_modified: str | None


class Records:
    """The records in the database. Every method raises as `Database.connection` does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, reading: Reading, records: Sequence[SourceRecord], checkpoint: Mapping[str, object]) -> None:
        """Store what was read, and where the reading continues, in one transaction. Raises LeaseLost."""
        # The last one counts if a record comes twice.
        distinct = {record.identifier: record for record in records}
        async with self._database.transaction() as connection:
            await set_checkpoint(connection, reading, checkpoint)
            await _delete(connection, reading, [one.identifier for one in distinct.values() if one.deleted])
            await _store(connection, reading, [one for one in distinct.values() if not one.deleted])
        FaultPoint.RECORDS_STORED.reach()

    async def known(self, collection_id: int, identifiers: Sequence[str]) -> dict[str, KnownRecord]:
        """Return what is stored of these records, by identifier."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(KNOWN, collection_id, identifiers)
        return {row["identifier"]: KnownRecord(row["reading_id"], row["etag"], row["last_modified"]) for row in rows}

    async def details(self, collection_id: int, image_urls: Sequence[str]) -> dict[str, ImageDetails]:
        """Return what a source says about images, by image URL. Images without a source are left out."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(DETAILS, collection_id, image_urls)
        return {row["image_url"]: ImageDetails(row["label"], row["attribution"], row["rights"]) for row in rows}

    async def count(self, reading: Reading) -> int:
        """Count the records that a reading has met and that are not deleted."""
        async with self._database.connection() as connection:
            found: int = await connection.fetchval(COUNT, reading.collection_id, reading.id)
        return found

    async def has_images(self, reading: Reading) -> bool:
        """Return whether the records that a reading has met have any image."""
        async with self._database.connection() as connection:
            found: bool = await connection.fetchval(HAS_IMAGES, reading.collection_id, reading.id)
        return found

    async def discard_others(self, reading: Reading) -> None:
        """Remove the records that a reading of everything has not met."""
        async with self._database.connection() as connection:
            await connection.execute(DISCARD, reading.collection_id, reading.id, timeout=SORT_SECONDS)

    async def discard_all(self, reading: Reading) -> None:
        """Remove all records of a collection, before a reading that asks for everything."""
        async with self._database.connection() as connection:
            await connection.execute(DISCARD_ALL, reading.collection_id, timeout=SORT_SECONDS)

    async def rows(self, collection_id: int) -> AsyncGenerator[list[tuple[str, str]]]:
        """Yield image URL and repository URL of all images in batches, in the order of the content."""
        async with self._database.transaction() as connection:
            cursor = await connection.cursor(ROWS, collection_id, timeout=SORT_SECONDS)
            while rows := await cursor.fetch(BATCH_ROWS):
                yield [(row["image_url"], row["repo_url"]) for row in rows]


async def _delete(connection: Connection, reading: Reading, identifiers: Sequence[str]) -> None:
    if identifiers:
        await connection.execute(DELETE_RECORDS, reading.collection_id, identifiers)


async def _store(connection: Connection, reading: Reading, records: Sequence[SourceRecord]) -> None:
    if not records:
        return
    await connection.execute(
        UPSERT,
        reading.collection_id,
        reading.id,
        [record.identifier for record in records],
        [record.etag for record in records],
        [record.last_modified for record in records],
        [record.failure and record.failure.reason for record in records],
        [record.failure and record.failure.detail for record in records],
    )
    replaced = [record.identifier for record in records if record.images is not None]
    await connection.execute(DELETE_IMAGES, reading.collection_id, replaced)
    images = [
        (record.identifier, position, image) for record in records for position, image in enumerate(record.images or ())
    ]
    await connection.execute(
        INSERT_IMAGES,
        reading.collection_id,
        [identifier for identifier, _, _ in images],
        [position for _, position, _ in images],
        [image.image_url for _, _, image in images],
        [image.repo_url for _, _, image in images],
        [image.label for _, _, image in images],
        [image.attribution for _, _, image in images],
        [image.rights for _, _, image in images],
    )
