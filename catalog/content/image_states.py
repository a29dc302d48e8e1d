"""Image states: the images of the newest content, and whether search finds each of them."""

from dataclasses import dataclass
from enum import StrEnum

from catalog.postgres.database import Database
from servicekit.errors import InvalidRequest

# The index that search uses, and the newest one, whose failures count.
INDEXES = """
SELECT l.id AS live, l.revision, (SELECT max(i.id) FROM indexes i WHERE i.collection_id = c.id) AS newest
FROM collections c LEFT JOIN indexes l ON l.id = c.live_index
WHERE c.id = $1
"""

# An image is in the live index if it was in that index's content, perhaps with another repository URL, and did not
# fail. Its newest failure does not count then: it still has its vector.
STATES = """
SELECT m.id, m.image_url, m.repo_url, newest.reason, CASE
    WHEN live.image_id IS NULL AND (m.first_revision <= $3 OR EXISTS (
        SELECT FROM images old WHERE old.collection_id = $1 AND old.id = m.id
        AND old.first_revision <= $3 AND old.last_revision >= $3)) THEN 'indexed'
    WHEN newest.image_id IS NOT NULL THEN 'failed'
    ELSE 'pending' END AS state
FROM images m
LEFT JOIN image_failures live ON live.index_id = $2 AND live.image_id = m.id
{join} image_failures newest ON newest.index_id = $4 AND newest.image_id = m.id
WHERE m.collection_id = $1 AND m.last_revision IS NULL AND m.id > $5 AND ($6::text IS NULL OR m.repo_url = $6)
"""

PAGE = f"""
SELECT * FROM ({STATES.format(join="LEFT JOIN")}) s WHERE $7::text IS NULL OR s.state = $7 ORDER BY s.id LIMIT $8
"""  # noqa: S608 (a constant)

# Few images fail, so this begins with the failures.
FAILED_PAGE = f"""
SELECT * FROM ({STATES.format(join="JOIN")}) s WHERE s.state = $7 ORDER BY s.id LIMIT $8
"""  # noqa: S608 (a constant)


class ImageState(StrEnum):
    """Whether search finds an image: it waits for a finetune, is in the live index, or could not be indexed."""

    PENDING = "pending"
    INDEXED = "indexed"
    FAILED = "failed"


@dataclass(frozen=True)
class StatedImage:
    """A row of the newest content. reason: the code of the failure; None unless the state is `failed`."""

    id: int
    image_url: str
    repo_url: str
    state: ImageState
    reason: str | None


@dataclass(frozen=True)
class ImageFilter:
    """Which images are listed; None: all. repo_url: exactly as it is stored."""

    state: ImageState | None = None
    repo_url: str | None = None


EVERY_IMAGE = ImageFilter()


class ImageStates:
    """The images of the newest contents in the database. Every method raises as `Database.connection` does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, collection_id: int, *, after: int, limit: int, only: ImageFilter = EVERY_IMAGE
    ) -> list[StatedImage]:
        """List the first `limit` images with an id above `after`, by id."""
        # Postgres stores no NUL, and refuses it in a comparison.
        if only.repo_url is not None and "\0" in only.repo_url:
            return []
        statement = FAILED_PAGE if only.state == ImageState.FAILED else PAGE
        async with self._database.connection() as connection:
            indexes = await connection.fetchrow(INDEXES, collection_id)
            if indexes is None:
                return []
            known = (indexes["live"], indexes["revision"], indexes["newest"])
            rows = await connection.fetch(statement, collection_id, *known, after, only.repo_url, only.state, limit)
        return [
            StatedImage(
                id=row["id"],
                image_url=row["image_url"],
                repo_url=row["repo_url"],
                state=ImageState(row["state"]),
                reason=row["reason"] if row["state"] == ImageState.FAILED else None,
            )
            for row in rows
        ]

    async def get(self, collection_id: int, image_id: int) -> StatedImage:
        """Return one image. Raises InvalidRequest, image_not_found."""
        found = await self.page(collection_id, after=image_id - 1, limit=1)
        if not found or found[0].id != image_id:
            raise not_found([image_id])
        return found[0]


def not_found(ids: list[int] | list[str]) -> InvalidRequest:
    """Return the error for images that the newest content does not have. It is a 400, as for collections."""
    shown = ", ".join(str(identifier)[:40] for identifier in ids[:10]) + (", …" if len(ids) > 10 else "")
    named = "image with the id" if len(ids) == 1 else "images with the ids"
    return InvalidRequest(f"The collection has no {named} {shown}.", code="image_not_found")
