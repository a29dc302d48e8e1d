"""Readings of sources: their queue, what each has read so far, and how its result becomes the content."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from json import dumps, loads

import asyncpg

from catalog import collections, contents, jobs
from catalog.contents import StagedContent
from catalog.postgres.database import Connection
from catalog.postgres.leased_queue import LeasedQueue, lease_lost
from servicekit.errors import InvalidRequest

# The most that a statement may take which compares a million images with those before.
STORE_SECONDS = 600.0

CHECKPOINT = """
UPDATE source_readings SET checkpoint = $3 WHERE id = $1 AND token = $2 AND state = 'running' RETURNING id
"""

# clock_timestamp(), because now() is the start of the transaction, which may have waited for others.
FINISH = """
UPDATE source_readings SET state = 'done', phase = 'done', progress = 100, finished_at = clock_timestamp(),
    lease_until = NULL
WHERE id = $1 AND token = $2 AND state = 'running' RETURNING id
"""

RECORD = """
UPDATE sources SET last_read = clock_timestamp(), changed_since = $2, added = $3, changed = $4, removed = $5,
    last_whole = CASE WHEN $6 THEN clock_timestamp() ELSE last_whole END
WHERE collection_id = $1 RETURNING then_finetune
"""

DIFFERENCE = """
WITH begun AS (SELECT id FROM images WHERE collection_id = $1 AND first_revision = $2),
     ended AS (SELECT id FROM images WHERE collection_id = $1 AND last_revision = $2 - 1)
SELECT count(*) FILTER (WHERE ended.id IS NULL) AS added,
       count(*) FILTER (WHERE begun.id = ended.id) AS changed,
       count(*) FILTER (WHERE begun.id IS NULL) AS removed
FROM begun FULL JOIN ended USING (id)
"""


@dataclass(frozen=True)
class Reading:
    """One reading of a source. progress: percent. checkpoint: where it continues; None: at the beginning.

    whole: everything is asked for. key_name: of the API key that asked for it; None: the schedule did.
    """

    id: int
    collection_id: int
    whole: bool
    key_name: str | None
    progress: float
    token: int
    attempts: int
    created_at: datetime
    checkpoint: Mapping[str, object] | None

    @property
    def log_fields(self) -> Mapping[str, object]:
        """What log events about the reading say besides its id."""
        return {"whole": self.whole}


@dataclass(frozen=True)
class Difference:
    """What a reading did to the images. changed: they have another repository URL."""

    added: int = 0
    changed: int = 0
    removed: int = 0


class Readings(LeasedQueue[Reading]):
    """The queue of readings. Every method raises as `Database.connection` does."""

    table = "source_readings"

    def job(self, row: asyncpg.Record) -> Reading:
        """Return the reading in a row of the table."""
        return Reading(
            id=row["id"],
            collection_id=row["collection_id"],
            whole=row["whole"],
            key_name=row["key_name"],
            progress=row["progress"],
            token=row["token"],
            attempts=row["attempts"],
            created_at=row["created_at"],
            checkpoint=None if row["checkpoint"] is None else loads(row["checkpoint"]),
        )

    async def finish(
        self, reading: Reading, staged: StagedContent, *, changed_since: str | None, whole: bool
    ) -> Difference:
        """Make what was read the content of its collection, and end the reading, in one transaction.

        changed_since: where the next reading begins. whole: everything was read. Raises LeaseLost.
        """
        collection_id = reading.collection_id
        async with self._database.transaction() as connection:
            try:
                await collections.lock(connection, collection_id)
            except InvalidRequest:
                raise lease_lost(reading) from None
            stored = await contents.replace(connection, collection_id, staged, seconds=STORE_SECONDS)
            difference = Difference()
            if stored.changed:
                difference = await _difference(connection, collection_id, stored.revision)
            if await connection.fetchval(FINISH, reading.id, reading.token) is None:
                raise lease_lost(reading)
            then_finetune = await connection.fetchval(
                RECORD,
                collection_id,
                changed_since,
                difference.added,
                difference.changed,
                difference.removed,
                whole,
            )
            if then_finetune and stored.row_count:
                await jobs.enqueue_changed(connection, collection_id, stored.revision)
        return difference


async def set_checkpoint(connection: Connection, reading: Reading, checkpoint: Mapping[str, object]) -> None:
    """Record where a reading continues, in the transaction that stores what it has read. Raises LeaseLost."""
    if await connection.fetchval(CHECKPOINT, reading.id, reading.token, dumps(checkpoint)) is None:
        raise lease_lost(reading)


async def _difference(connection: Connection, collection_id: int, revision: int) -> Difference:
    row = await connection.fetchrow(DIFFERENCE, collection_id, revision, timeout=STORE_SECONDS)
    assert row is not None, "an aggregate has always a row"  # noqa: S101
    return Difference(row["added"], row["changed"], row["removed"])
