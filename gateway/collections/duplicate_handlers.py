"""Duplicates over HTTP: groups of images of a collection that are copies of each other."""

from collections.abc import AsyncIterator

from aiohttp import web

from catalog.collections import Collections
from catalog.duplicates.groups import DuplicateGroup, DuplicateKind, Duplicates, FoundDuplicates
from gateway.http import parameters
from gateway.http.responses import data, prefers_csv, send_csv, table

GROUPS_PER_PAGE, MAX_GROUPS_PER_PAGE = 100, 1000
# The most images of a group in JSON. A CSV has all of them.
IMAGES_OF_GROUP = 100
ROWS_AT_ONCE = 1000
KINDS = tuple(kind.value for kind in DuplicateKind)
COLUMNS = ("group", "kind", "score", "number_of_images", "number_of_entries", "image_id", "image_url", "repo_url")

NEVER_SEARCHED = "The collection has not been finetuned yet. Duplicates are found by a finetune."
NOT_SEARCHED = (
    "The duplicates of this index are not known: its finetune has not ended, or it was made by an older release. "
    "If no finetune is running, start one with force=true."
)
FAILED = "The search for duplicates failed in the last finetune. The trainer's log has the reason."


class DuplicateHandlers:
    """The route of duplicates."""

    def __init__(self, *, collections: Collections, duplicates: Duplicates) -> None:
        self._collections = collections
        self._duplicates = duplicates

    async def list(self, request: web.Request) -> web.StreamResponse:
        """`GET /api/collection/{id}/duplicates`: a page as JSON, or all groups as CSV with `Accept: text/csv`.

        `kind`: only groups of this kind. `limit`: groups of a page. `after`: the `next` of the previous page.
        """
        identifier = parameters.collection_id(request.match_info["id"])
        chosen = parameters.choice(request.query, "kind", KINDS)
        kind = None if chosen is None else DuplicateKind(chosen)
        limit = parameters.whole_number(request.query, "limit", GROUPS_PER_PAGE, most=MAX_GROUPS_PER_PAGE)
        after = parameters.whole_number(request.query, "after", 0, least=0)
        collection = await self._collections.get(identifier)
        found = await self._duplicates.of_live_index(identifier, kind)
        if prefers_csv(request):
            return await self._table(request, collection.name, found.index_id, kind)
        groups: list[DuplicateGroup] = []
        if found.index_id is not None:
            groups = await self._duplicates.page(
                found.index_id, kind, after=after, limit=limit + 1, images=IMAGES_OF_GROUP
            )
        body = {
            "duplicates": [_described(group) for group in groups[:limit]],
            "number_of_groups": found.number,
            "searched": bool(found.searched),
            "index_id": found.index_id,
            "next": groups[limit - 1].ordinal if len(groups) > limit else None,
        }
        unknown = parameters.unknown_parameters(request.query, ("kind", "limit", "after"))
        return data(body, warnings=[*_warnings(found), *unknown])

    async def _table(
        self, request: web.Request, name: str, index_id: int | None, kind: DuplicateKind | None
    ) -> web.StreamResponse:
        async def rows() -> AsyncIterator[list[tuple[str, ...]]]:
            if index_id is None:
                return
            async for page in self._duplicates.rows(index_id, kind, page=ROWS_AT_ONCE):
                yield [_row(group) for group in page]

        return await send_csv(request, f"{name} duplicates", table(COLUMNS, rows()))


def _warnings(found: FoundDuplicates) -> list[str]:
    if found.index_id is None:
        return [NEVER_SEARCHED]
    if found.searched is None:
        return [NOT_SEARCHED]
    return [] if found.searched else [FAILED]


def _described(group: DuplicateGroup) -> dict[str, object]:
    return {
        "group": group.ordinal,
        "kind": group.kind,
        "score": _rounded(group.score),
        "number_of_images": group.number_of_images,
        "number_of_entries": group.number_of_entries,
        "images": [
            {"image_id": image.image_id, "image_url": image.image_url, "repo_url": image.repo_url}
            for image in group.images
        ],
    }


def _row(group: DuplicateGroup) -> tuple[str, ...]:
    [image] = group.images
    numbers = (_rounded(group.score), group.number_of_images, group.number_of_entries, image.image_id)
    return (str(group.ordinal), group.kind, *map(str, numbers), image.image_url, image.repo_url)


def _rounded(score: float) -> float:
    return round(score, 4)
