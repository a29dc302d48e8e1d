"""Indexes: the result of a finetune. Each has its own Qdrant collection, which is written once."""

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from json import loads

import asyncpg

from catalog.collections import PROVISIONAL
from catalog.index_history import archive
from catalog.jobs import Job, LeaseLost, lease_lost
from catalog.postgres.database import Database
from catalog.vectors.client import UNNAMED
from catalog.vectors.false_matches import NOT_CALIBRATED, FalseMatches
from catalog.vectors.generations import TUNED
from catalog.vectors.names import generation_name

# The index of an earlier attempt at the same job is dropped, but its failures are carried over. A provisional index
# keeps its own.
CARRY_FAILURES = """
WITH carried AS (
    DELETE FROM image_failures f USING indexes i
    WHERE f.index_id = i.id AND i.job_id = $1 AND i.id <> $2 AND i.published_at IS NULL
    RETURNING f.image_id, f.reason, f.detail
), kept AS (
    SELECT f.image_id, f.reason, f.detail FROM image_failures f JOIN indexes i ON i.id = f.index_id
    WHERE i.job_id = $1 AND i.id <> $2 AND i.published_at IS NOT NULL
)
INSERT INTO image_failures (index_id, image_id, reason, detail)
SELECT $2, image_id, reason, detail FROM (TABLE carried UNION ALL TABLE kept) f
ON CONFLICT (index_id, image_id) DO NOTHING
"""

LIVE_WITH = f"""
SELECT {PROVISIONAL} AS provisional FROM collections c JOIN indexes i ON i.id = c.live_index
WHERE c.id = $1 AND i.backbone = $2
"""  # noqa: S608 (constants)

# The permanent failures of the live index and of those begun after it. The newest failure of an image counts. Images
# that are no longer in the revision are left out.
INHERIT_FAILURES = """
INSERT INTO image_failures (index_id, image_id, reason, detail)
SELECT DISTINCT ON (f.image_id) $2, f.image_id, f.reason, f.detail
FROM indexes n
JOIN collections c ON c.id = n.collection_id
JOIN indexes i ON i.collection_id = n.collection_id AND i.backbone = n.backbone AND i.job_id <> n.job_id
     AND i.id >= coalesce(c.live_index, 0)
JOIN image_failures f ON f.index_id = i.id
JOIN images m ON m.collection_id = n.collection_id AND m.id = f.image_id AND m.first_revision <= n.revision
     AND (m.last_revision IS NULL OR m.last_revision >= n.revision)
WHERE n.id = $2 AND f.reason = ANY($1)
ORDER BY f.image_id, i.id DESC
ON CONFLICT (index_id, image_id) DO NOTHING
"""

LIVE = """
SELECT i.id, i.collection_id, i.revision, i.qdrant_collection, i.adapter_id, i.backbone, i.dim,
       i.shared_dim, i.score_quantiles,
       i.quality -> 'false_match_scores' AS scores, i.quality -> 'false_match_prominences' AS prominences,
       i.quality ->> 'shared_repo_url' AS shared_repo_url, (i.quality ->> 'least_typical')::float8 AS least_typical
FROM collections c LEFT JOIN indexes i ON i.id = c.live_index
WHERE c.id = $1 AND c.deleting_at IS NULL
"""

LIVE_OF = """
SELECT c.id AS collection, i.id, i.collection_id, i.revision, i.qdrant_collection, i.adapter_id, i.backbone, i.dim,
       i.shared_dim, i.score_quantiles,
       i.quality -> 'false_match_scores' AS scores, i.quality -> 'false_match_prominences' AS prominences,
       i.quality ->> 'shared_repo_url' AS shared_repo_url, (i.quality ->> 'least_typical')::float8 AS least_typical
FROM collections c LEFT JOIN indexes i ON i.id = c.live_index
WHERE ($1::bigint[] IS NULL OR c.id = ANY($1)) AND c.deleting_at IS NULL ORDER BY c.id LIMIT $2
"""

LIVE_IDS = """
SELECT id, live_index FROM collections
WHERE ($1::bigint[] IS NULL OR id = ANY($1)) AND deleting_at IS NULL ORDER BY id LIMIT $2
"""

NEWEST_FAILURES = """
SELECT i.id, (SELECT count(*) FROM image_failures f WHERE f.index_id = i.id) AS number
FROM indexes i WHERE i.collection_id = $1 ORDER BY i.id DESC LIMIT 1
"""

FAILED = """
SELECT f.image_id, m.image_url, m.repo_url, f.reason, f.detail
FROM indexes i
JOIN image_failures f ON f.index_id = i.id
JOIN images m ON m.collection_id = i.collection_id AND m.id = f.image_id AND m.first_revision <= i.revision
     AND (m.last_revision IS NULL OR m.last_revision >= i.revision)
WHERE i.id = $1 AND f.image_id > $2
ORDER BY f.image_id LIMIT $3
"""

LIVE_VECTORS = """
SELECT i.id, i.collection_id, i.qdrant_collection, i.lost_at IS NOT NULL AS lost
FROM collections c JOIN indexes i ON i.id = c.live_index
WHERE c.deleting_at IS NULL ORDER BY c.id
"""

MARK_LOST = "UPDATE indexes SET lost_at = now() WHERE id = $1 AND lost_at IS NULL RETURNING id"

MARK_FOUND = "UPDATE indexes SET lost_at = NULL WHERE id = $1 AND lost_at IS NOT NULL"

OF_COLLECTION = """
SELECT i.id, i.collection_id, i.revision, i.qdrant_collection, i.adapter_id, i.backbone, i.dim,
       i.shared_dim, i.score_quantiles,
       i.quality -> 'false_match_scores' AS scores, i.quality -> 'false_match_prominences' AS prominences,
       i.quality ->> 'shared_repo_url' AS shared_repo_url, (i.quality ->> 'least_typical')::float8 AS least_typical
FROM indexes i WHERE i.collection_id = $1
"""

DROPPABLE = """
SELECT i.id, i.collection_id, i.revision, i.qdrant_collection, i.adapter_id, i.backbone, i.dim,
       i.shared_dim, i.score_quantiles,
       i.quality -> 'false_match_scores' AS scores, i.quality -> 'false_match_prominences' AS prominences,
       i.quality ->> 'shared_repo_url' AS shared_repo_url, (i.quality ->> 'least_typical')::float8 AS least_typical
FROM indexes i JOIN collections c ON c.id = i.collection_id JOIN jobs j ON j.id = i.job_id
WHERE c.live_index IS DISTINCT FROM i.id AND CASE
    WHEN i.published_at IS NOT NULL THEN i.superseded_at < now() - make_interval(secs => $1)
    -- Its failures explain why the job failed. The collection's next index inherits the permanent ones when it begins.
    ELSE EXISTS (SELECT FROM indexes newer WHERE newer.collection_id = i.collection_id AND newer.id > i.id)
         OR (j.state NOT IN ('queued', 'running')
             AND NOT EXISTS (SELECT FROM image_failures f WHERE f.index_id = i.id)) END
"""

# An index that is unpublished when its job ends is never published. Only its failures are kept.
QDRANT_COLLECTIONS = """
SELECT i.qdrant_collection FROM indexes i JOIN jobs j ON j.id = i.job_id
WHERE i.published_at IS NOT NULL OR j.state IN ('queued', 'running')
"""

# A collection without a live index, or with an active job, keeps all its base stores: the next job reuses what a failed
# one has embedded.
BASE_STORES_NEEDED = """
SELECT c.id, CASE
    WHEN c.live_index IS NULL THEN NULL
    WHEN EXISTS (SELECT FROM jobs j WHERE j.collection_id = c.id AND j.state IN ('queued', 'running')) THEN NULL
    ELSE ARRAY(SELECT DISTINCT i.backbone FROM indexes i WHERE i.collection_id = c.id) END AS backbones
FROM collections c
"""


@dataclass(frozen=True)
class BaseStoresNeeded:
    """The base stores that are needed. backbones: checksums by collection id; None: all stores of the collection."""

    backbones: Mapping[int, Sequence[str] | None]

    def covers(self, collection_id: int, checksum_prefix: str) -> bool:
        """Return whether a collection's store for a backbone is needed. checksum_prefix: the start of its checksum."""
        if collection_id not in self.backbones:
            return False
        checksums = self.backbones[collection_id]
        return checksums is None or any(checksum.startswith(checksum_prefix) for checksum in checksums)


@dataclass(frozen=True)
class Index:
    """An index. backbone: the checksum of the backbone that its vectors come from.

    score_quantiles: ascending quantiles, at equal steps from 0 to 1, of the scores between unrelated images.
    shared_dim: the dimension of the backbone's own vectors, with which texts are compared; None if the generation lacks
    them.
    """

    id: int
    collection_id: int
    revision: int
    qdrant_collection: str
    adapter_id: int | None
    backbone: str
    dim: int | None
    score_quantiles: Sequence[float] = ()
    false_matches: FalseMatches = NOT_CALIBRATED
    shared_dim: int | None = None

    @property
    def tuned_vector(self) -> str:
        """The name of the tuned vectors in the generation."""
        return UNNAMED if self.shared_dim is None else TUNED

    def percentile(self, score: float) -> float | None:
        """Return the percentage of pairs of unrelated images that score lower; None if unknown."""
        if not self.score_quantiles:
            return None
        below = bisect_left(self.score_quantiles, score)
        return round(100 * below / len(self.score_quantiles), 1)


@dataclass(frozen=True)
class LiveVectors:
    """The Qdrant collection of a live index. lost: it is known that it is gone or cannot be read."""

    index_id: int
    collection_id: int
    name: str
    lost: bool


@dataclass(frozen=True)
class ImageFailure:
    """Why an image could not be indexed. reason: a stable code. detail: an explanation for people."""

    image_id: int
    reason: str
    detail: str


@dataclass(frozen=True)
class FailedImage:
    """A row whose image could not be indexed, and why."""

    image_id: int
    image_url: str
    repo_url: str
    reason: str
    detail: str


class Indexes:
    """The indexes in the database. prefix: what the names of our Qdrant collections begin with.

    Every method raises as `Database.connection` does.
    """

    def __init__(self, database: Database, prefix: str) -> None:
        self._database = database
        self._prefix = prefix

    async def begin(
        self,
        job: Job,
        backbone: str,
        permanent: Collection[str] = (),
        *,
        backbone_name: str | None = None,
        shared_dim: int | None = None,
    ) -> Index:
        """Create the index that this attempt at a job writes, with the failures of earlier attempts.

        permanent: failures of earlier jobs with the same backbone are inherited if they have one of these reasons.
        backbone_name: for people, as `backbone` is a checksum. shared_dim: as in `Index`. Raises LeaseLost.
        """
        async with self._database.transaction() as connection:
            ours = await connection.fetchval(
                "SELECT id FROM jobs WHERE id = $1 AND token = $2 AND state = 'running' FOR UPDATE", job.id, job.token
            )
            if ours is None:
                raise lease_lost(job)
            identifier: int = await connection.fetchval("SELECT nextval(pg_get_serial_sequence('indexes', 'id'))")
            name = generation_name(self._prefix, job.collection_id, identifier)
            await connection.execute(
                "INSERT INTO indexes (id, collection_id, revision, job_id, token, qdrant_collection, backbone, "
                "backbone_name, shared_dim) OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                identifier,
                job.collection_id,
                job.revision,
                job.id,
                job.token,
                name,
                backbone,
                backbone_name,
                shared_dim,
            )
            await connection.execute(CARRY_FAILURES, job.id, identifier)
            if permanent:
                await connection.execute(INHERIT_FAILURES, list(permanent), identifier)
        return Index(identifier, job.collection_id, job.revision, name, None, backbone, None, shared_dim=shared_dim)

    async def set_adapter(
        self, index: Index, adapter_id: int, dim: int, quality: str | None, quantiles: Sequence[float]
    ) -> None:
        """Record the adapter that the index's vectors were mapped with. dim: of the mapped vectors. quality: JSON.

        quantiles: of the scores between unrelated images, at equal steps from 0 to 1.
        """
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE indexes SET adapter_id = $2, dim = $3, quality = $4, score_quantiles = $5 WHERE id = $1",
                index.id,
                adapter_id,
                dim,
                quality,
                quantiles,
            )

    async def add_failures(self, index: Index, failures: Sequence[ImageFailure]) -> None:
        """Record why images could not be indexed. The newest reason counts. Raises LeaseLost if the index is gone."""
        try:
            async with self._database.connection() as connection:
                await connection.executemany(
                    "INSERT INTO image_failures VALUES ($1, $2, $3, $4) ON CONFLICT (index_id, image_id) "
                    "DO UPDATE SET reason = excluded.reason, detail = excluded.detail",
                    [(index.id, failure.image_id, failure.reason, failure.detail) for failure in failures],
                )
        except asyncpg.ForeignKeyViolationError:
            raise LeaseLost("The index has been removed.") from None

    async def forget_failures(self, index_id: int, image_ids: Sequence[int]) -> None:
        """Remove the recorded failures of images."""
        async with self._database.connection() as connection:
            await connection.execute(
                "DELETE FROM image_failures WHERE index_id = $1 AND image_id = ANY($2)", index_id, image_ids
            )

    async def failures(self, index_id: int, image_ids: Sequence[int] | None = None) -> list[ImageFailure]:
        """List the failures of an index by image id. image_ids: only of these images."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT image_id, reason, detail FROM image_failures "
                "WHERE index_id = $1 AND ($2::bigint[] IS NULL OR image_id = ANY($2)) ORDER BY image_id",
                index_id,
                image_ids,
            )
        return [ImageFailure(row["image_id"], row["reason"], row["detail"]) for row in rows]

    async def newest_failures(self, collection_id: int) -> tuple[int | None, int]:
        """Return the id of a collection's newest index (None if it has none) and the number of its failures."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(NEWEST_FAILURES, collection_id)
        return (None, 0) if row is None else (row["id"], row["number"])

    async def failed_images(self, index_id: int | None, *, after: int, limit: int) -> list[FailedImage]:
        """List the first `limit` failed images of an index with an id above `after`, by id."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(FAILED, index_id, after, limit)
        return [FailedImage(**row) for row in rows]

    async def failure_counts(self, index_id: int) -> dict[str, int]:
        """Count the failed images of an index by reason."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT reason, count(*) AS n FROM image_failures WHERE index_id = $1 GROUP BY reason", index_id
            )
        return {row["reason"]: row["n"] for row in rows}

    async def live(self, collection_id: int) -> tuple[bool, Index | None]:
        """Return whether the collection exists, and its live index if it has one."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(LIVE, collection_id)
        if row is None:
            return False, None
        return True, None if row["id"] is None else _index(row)

    async def live_with(self, collection_id: int, backbone: str) -> tuple[bool, bool]:
        """Return whether the live index of a collection was made with a backbone, and whether it is provisional.

        backbone: its checksum.
        """
        async with self._database.connection() as connection:
            row = await connection.fetchrow(LIVE_WITH, collection_id, backbone)
        return (False, False) if row is None else (True, row["provisional"])

    async def live_of(self, collection_ids: Collection[int] | None, *, limit: int) -> dict[int, Index | None]:
        """Return the live indexes of the first `limit` collections that exist, by collection; None: it has none.

        collection_ids: None for all.
        """
        wanted = None if collection_ids is None else list(collection_ids)
        async with self._database.connection() as connection:
            rows = await connection.fetch(LIVE_OF, wanted, limit)
        return {row["collection"]: None if row["id"] is None else _index(row) for row in rows}

    async def live_vectors(self) -> list[LiveVectors]:
        """Return the Qdrant collection of every live index."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(LIVE_VECTORS)
        return [LiveVectors(row["id"], row["collection_id"], row["qdrant_collection"], row["lost"]) for row in rows]

    async def mark_lost(self, index_id: int) -> bool:
        """Record that an index has lost its vectors, and return whether that is new.

        Its collection then requires finetuning.
        """
        async with self._database.connection() as connection:
            return await connection.fetchval(MARK_LOST, index_id) is not None

    async def mark_found(self, index_id: int) -> None:
        """Record that the lost vectors of an index are back."""
        async with self._database.connection() as connection:
            await connection.execute(MARK_FOUND, index_id)

    async def live_ids(self, collection_ids: Collection[int] | None, *, limit: int) -> dict[int, int | None]:
        """Return the ids of the indexes that `live_of` returns."""
        wanted = None if collection_ids is None else list(collection_ids)
        async with self._database.connection() as connection:
            rows = await connection.fetch(LIVE_IDS, wanted, limit)
        return {row["id"]: row["live_index"] for row in rows}

    async def droppable(self, grace_seconds: float) -> list[Index]:
        """List indexes that can be dropped: replaced longer ago than the grace period, or left by a job that ended.

        A collection's newest index stays while it has failures, even if its job failed.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(DROPPABLE, grace_seconds)
        return [_index(row) for row in rows]

    async def remove(self, index_id: int) -> None:
        """Remove the row of an index and its failures; its history stays. A live index is never removed."""
        async with self._database.connection() as connection:
            await archive(connection, index_id)

    async def of_collection(self, collection_id: int) -> list[Index]:
        """List all indexes of a collection, even of one that is being deleted."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(OF_COLLECTION, collection_id)
        return [_index(row) for row in rows]

    async def base_stores_needed(self) -> BaseStoresNeeded:
        """Return which base stores a finetune may still read, including one that starts now."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(BASE_STORES_NEEDED)
        return BaseStoresNeeded({row["id"]: row["backbones"] for row in rows})

    async def qdrant_collections(self) -> set[str]:
        """Return the names of the generations that are live, were live, or may still be published."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(QDRANT_COLLECTIONS)
        return {row["qdrant_collection"] for row in rows}


def _index(row: asyncpg.Record) -> Index:
    return Index(
        id=row["id"],
        collection_id=row["collection_id"],
        revision=row["revision"],
        qdrant_collection=row["qdrant_collection"],
        adapter_id=row["adapter_id"],
        backbone=row["backbone"],
        dim=row["dim"],
        score_quantiles=row["score_quantiles"] or (),
        false_matches=FalseMatches(
            tuple(loads(row["scores"] or "[]")),
            tuple(loads(row["prominences"] or "[]")),
            row["shared_repo_url"],
            row["least_typical"],
        ),
        shared_dim=row["shared_dim"],
    )
