"""Statistics about the whole catalog, for monitoring."""

from collections.abc import Mapping
from dataclasses import dataclass

from catalog.jobs import JobState
from catalog.keys.permissions import EXPIRES_SOON
from catalog.postgres.database import Database

# Only a collection's newest job can be queued or running.
JOBS = """
SELECT state, count(*) AS n FROM (
    SELECT DISTINCT ON (collection_id) state FROM jobs ORDER BY collection_id, id DESC
) newest GROUP BY state
"""

TOTALS = """
WITH active AS (SELECT * FROM jobs WHERE state IN ('queued', 'running'))
SELECT
    (SELECT extract(epoch FROM now() - min(created_at)) FROM active WHERE state = 'queued')::float8 AS oldest_queued,
    (SELECT count(*) FROM active WHERE state = 'running' AND lease_until < now()) AS lease_expired,
    (SELECT extract(epoch FROM now() - min(coalesce(progressed_at, started_at))) FROM active
     WHERE state = 'running')::float8 AS oldest_progress,
    (SELECT count(*) FROM collections WHERE deleting_at IS NULL) AS collections,
    (SELECT coalesce(sum(t.row_count), 0)::bigint FROM collections c
     JOIN contents t ON t.collection_id = c.id AND t.revision = c.content_revision
     WHERE c.deleting_at IS NULL) AS images,
    (SELECT coalesce(sum(i.image_count), 0)::bigint FROM collections c JOIN indexes i ON i.id = c.live_index
     WHERE c.deleting_at IS NULL) AS index_images,
    (SELECT count(*) FROM collections c JOIN indexes i ON i.id = c.live_index
     WHERE c.deleting_at IS NULL AND i.lost_at IS NOT NULL) AS lost_indexes
"""

API_KEYS = """
SELECT count(*) FILTER (WHERE expires_at IS NULL OR expires_at > now() + $1) AS valid,
       count(*) FILTER (WHERE expires_at > now() AND expires_at <= now() + $1) AS expiring,
       count(*) FILTER (WHERE expires_at <= now()) AS expired
FROM api_keys WHERE revoked_at IS NULL
"""


@dataclass(frozen=True)
class Snapshot:
    """The statistics at one moment. Ages are in seconds, and 0 if there is no such job.

    jobs: number of collections by the state of their newest job. oldest_queued: age of the oldest queued job.
    lease_expired: number of running jobs that no worker holds any more. oldest_progress: the longest time for which
    neither phase nor progress of a running job has changed. images: rows of the newest contents. index_images: images
    in the live indexes. lost_indexes: number of live indexes without their vectors. api_keys: number of keys by state:
    valid, expiring (valid, but not for long), expired.
    """

    jobs: Mapping[JobState, int]
    oldest_queued: float
    lease_expired: int
    oldest_progress: float
    collections: int
    images: int
    index_images: int
    lost_indexes: int
    api_keys: Mapping[str, int]


class Statistics:
    """The statistics in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def snapshot(self) -> Snapshot:
        """Read the statistics. Raises as `Database.connection` does."""
        async with self._database.connection() as connection:
            jobs = {row["state"]: row["n"] for row in await connection.fetch(JOBS)}
            found = await connection.fetchrow(TOTALS)
            api_keys = await connection.fetchrow(API_KEYS, EXPIRES_SOON)
        assert found is not None, "without FROM there is always a row"  # noqa: S101
        assert api_keys is not None, "an aggregate has always a row"  # noqa: S101
        return Snapshot(
            jobs={state: jobs.get(state.value, 0) for state in JobState},
            oldest_queued=max(found["oldest_queued"] or 0.0, 0.0),
            lease_expired=found["lease_expired"],
            oldest_progress=max(found["oldest_progress"] or 0.0, 0.0),
            collections=found["collections"],
            images=found["images"],
            index_images=found["index_images"],
            lost_indexes=found["lost_indexes"],
            api_keys=dict(api_keys),
        )
