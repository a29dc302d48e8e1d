"""Search: which indexed images are like the examples of a question."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from catalog.images import Image
from catalog.indexed_images import IndexedImages, PointRows, RowUrl
from catalog.indexes import Index
from catalog.vectors.client import VectorsDamaged, VectorsMissing
from gateway.admission.fair_queue import FairQueue
from gateway.metrics import GatewayMetrics
from gateway.search.concurrency import concurrently
from gateway.search.index.live_indexes import LiveIndexes
from gateway.search.index.nearest import Found, IndexReplaced, Near, Nearest, SearchResult
from gateway.search.query_vectors import BaseVectors, QueryVector, QueryVectors, not_indexed
from gateway.search.question import MAX_DEPTH, Question
from gateway.search.texts.point_search import MOST_CANDIDATES
from servicekit.errors import FailedPrecondition, InvalidRequest, Overloaded, ServiceError
from servicekit.limits import ByteAccount

T = TypeVar("T")

# How many collections of one request are searched at a time. Each of them needs a place among all searches.
SEARCHED_AT_ONCE = 8
# The most images that one URL can name as examples.
MAX_NAMED = 1000
# A search for entries first reads as many images as this for each entry, and each time it needs more, so many times as
# many.
IMAGES_PER_ENTRY, DEEPER = 4, 4
# The most images that a search for entries reads. More than the entries that can be asked for.
MAX_IMAGES_IN_ENTRIES = 2 * MAX_DEPTH
CUT_OFF = (
    f"Only the {MAX_IMAGES_IN_ENTRIES} most similar images were grouped by repo_url. Entries without an image among "
    "them are not found."
)
MIXED_CUT_OFF = (
    f"Only the {MOST_CANDIDATES} images that are most similar to the images, and as many for the texts, were compared."
)


@dataclass(frozen=True)
class Ranking:
    """The best results of a question in an index, best first.

    cut_off: a sentence for people if further results may be missing; None if there are none.
    """

    index: Index
    results: list[SearchResult]
    cut_off: str | None = None


@dataclass(frozen=True)
class SearchAnswer:
    """The hits of a search, best first, and the index that they come from.

    next_offset: where the next results begin; None if there are none. warnings: sentences for people.
    """

    index_id: int
    results: list[SearchResult]
    next_offset: int | None = None
    warnings: list[str] = field(default_factory=list)


class SearchService:
    """Search a collection: make the query vector, find the nearest vectors, read their rows.

    Every method also raises the errors of the parts that it calls.
    """

    def __init__(
        self,
        *,
        indexes: LiveIndexes,
        query_vectors: QueryVectors,
        nearest: Nearest,
        images: IndexedImages,
        places: FairQueue,
        metrics: GatewayMetrics,
    ) -> None:
        self._indexes = indexes
        self._query_vectors = query_vectors
        self._vectors = nearest
        self._images = images
        self._places = places
        self._metrics = metrics

    async def require_index(self, collection_id: int) -> None:
        """Raise as `find_index` if the collection is not known to have had an index."""
        if self._indexes.known(collection_id) is None:
            await self.find_index(collection_id)

    async def find_index(self, collection_id: int) -> Index:
        """Return the live index of a collection.

        Raises InvalidRequest, collection_not_found, and FailedPrecondition, not_finetuned.
        """
        return await self._indexes.current(collection_id)

    async def on_live_index(self, collection_id: int, work: Callable[[Index], Awaitable[T]]) -> T:
        """Return the result of work on the live index of a collection. Raises as `find_index`, and what it raises.

        The work may begin with an index that was live before. If it fails, it is done again on the live one.
        """
        known = self._indexes.known(collection_id)
        if known is None:
            return await work(await self.find_index(collection_id))
        try:
            return await work(known)
        except (InvalidRequest, FailedPrecondition):
            index = await self.find_index(collection_id)
            if index.id == known.id:
                raise
        return await work(index)

    async def search(
        self, index: Index, question: Question, memory: ByteAccount, *, pinned: bool = False
    ) -> SearchAnswer:
        """Return the images that answer a question, all from one index: this one, or a newer one that replaced it.

        memory: takes the images that are downloaded for the question. pinned: use this index, even if it has been
        replaced, as long as its vectors exist. Raises FailedPrecondition (backbone_changed, not_calibrated,
        image_not_indexed, text_not_supported, text_not_indexed), InvalidRequest (image_not_found, examples_cancel_out,
        and why a download failed), TooLarge, and Overloaded when too many searches are waiting.
        """
        _require_calibration(index, question)
        # A slow image host holds no place of other searches.
        base = await self.base_vectors(index, question, memory)
        ranking = await self.rank(index, question, base, pinned=pinned)
        end = question.offset + question.num_results
        page = ranking.results[question.offset : end]
        if question.by_entry:
            page = await self.with_views(ranking.index, page)
        more = len(ranking.results) > end and end < MAX_DEPTH
        # Only the last page is incomplete.
        warnings = [*base.warnings, *([ranking.cut_off] if ranking.cut_off and not more else [])]
        return SearchAnswer(ranking.index.id, page, end if more else None, warnings)

    async def base_vectors(self, index: Index, question: Question, memory: ByteAccount) -> BaseVectors:
        """Return the backbone's vectors of a question's examples, before any is computed. Raises as `search`.

        index: has the images whose regions ask. memory: takes the images that are downloaded.
        """
        return await self._query_vectors.base_vectors(index, question.examples, memory)

    async def embed(self, base: BaseVectors, backbone: str) -> None:
        """Compute the vectors of one backbone. Raises as `search`."""
        async with self._place(base.size_to_embed(backbone)):
            await base.compute(backbone)

    async def rank(self, index: Index, question: Question, base: BaseVectors, *, pinned: bool = False) -> Ranking:
        """Return the best results of a question, to the end of its page, and one more if there is one.

        base: of the question. pinned: as for `search`, which tells what is raised.
        """
        _require_calibration(index, question)
        async with self._place(base.size_to_embed(index.backbone)):
            try:
                return await self._nearest(index, question, base, pinned=pinned)
            except VectorsDamaged:
                await self._indexes.mark_lost(index)
                raise
            except (VectorsMissing, IndexReplaced):
                successor = await self._successor(index, question)
            return await self._nearest(successor, question, base, pinned=True)

    async def rank_all(
        self, indexes: Sequence[Index], question: Question, base: BaseVectors
    ) -> list[Ranking | ServiceError]:
        """Return what `rank` returns for each index, or the error that it raises, with few calls of the databases.

        Raises Overloaded.
        """
        if question.by_entry:
            return await _each(partial(self.rank, index, question, base, pinned=True) for index in indexes)
        asked = await _each(partial(self._found, index, question, base) for index in indexes)
        found = [each for each in asked if isinstance(each, Found)]
        rows = await self._vectors.rows(found)
        rankings = iter(
            [await _result_or_error(partial(self._ranking, *each)) for each in zip(found, rows, strict=True)]
        )
        return [next(rankings) if isinstance(each, Found) else each for each in asked]

    async def _ranking(self, found: Found, rows: PointRows) -> Ranking:
        return _ranked(await self._vectors.near(found, rows), found.count)

    async def _found(self, index: Index, question: Question, base: BaseVectors) -> Found:
        _require_calibration(index, question)
        async with self._place(base.size_to_embed(index.backbone)):
            try:
                return await self._find(index, question, base)
            except VectorsDamaged:
                await self._indexes.mark_lost(index)
                raise
            except VectorsMissing:
                return await self._find(await self._successor(index, question), question, base)

    async def _find(self, index: Index, question: Question, base: BaseVectors) -> Found:
        query = await self._query_vectors.combined(index, question.examples, base)
        return await self._vectors.found(index, query, question, _count(question))

    @asynccontextmanager
    async def _place(self, kind: int) -> AsyncIterator[None]:
        """Hold a place among all searches. kind: of the work, as in `AdaptiveLimit`. Raises Overloaded."""
        async with AsyncExitStack() as stack:
            with self._metrics.search_stage("queue"):
                await stack.enter_async_context(self._places.place(kind))
            yield

    async def named(self, index: Index, source: int | RowUrl) -> list[int]:
        """Return the ids of the indexed images that a source names: itself, or all that have the URL.

        Raises InvalidRequest (image_not_found, too_many_images) and FailedPrecondition (image_not_indexed).
        """
        if isinstance(source, int):
            return [source]
        with self._metrics.search_stage("rows"):
            found = await self._images.with_url(index, source, MAX_NAMED + 1)
            known = bool(found) or await self._images.newest_content_has(index.collection_id, source)
        name = source.column
        if not known:
            raise InvalidRequest(f"The collection has no image with this {name}.", code="image_not_found")
        if not found:
            raise not_indexed(f"The images with this {name} are")
        if len(found) > MAX_NAMED:
            message = f"More than {MAX_NAMED} images have this {name}. Ask with one of them, as image_id."
            raise InvalidRequest(message, code="too_many_images")
        return found

    async def _successor(self, old: Index, question: Question) -> Index:
        """Return the index that was published since `old` was looked up."""
        index = await self.find_index(old.collection_id)
        if index.id == old.id:
            await self._indexes.mark_lost(index)
            raise VectorsMissing("The index has lost its vectors. Finetune the collection again.")
        _require_calibration(index, question)
        self._metrics.search_retries.inc()
        return index

    async def _nearest(self, index: Index, question: Question, base: BaseVectors, *, pinned: bool) -> Ranking:
        # The answer comes while the images are embedded.
        check = None if pinned else self._vectors.begin_check(index)
        query = await self._query_vectors.combined(index, question.examples, base)
        if check is not None:
            if not await check.is_live():
                raise IndexReplaced
            pinned = True
        count = _count(question)
        if not question.by_entry:
            found = await self._vectors.found(index, query, question, count)
            return _ranked(await self._vectors.read(found, pinned=pinned), count)
        near, cut_off = await self._entries(index, question, query, count, pinned=pinned)
        return Ranking(index, near.results(), CUT_OFF if cut_off else None)

    async def _entries(
        self, index: Index, question: Question, query: QueryVector, count: int, *, pinned: bool
    ) -> tuple[Near, bool]:
        """Return the best image of each of the `count` best entries, and whether more images would have to be read."""
        depth = min(count * IMAGES_PER_ENTRY, MAX_IMAGES_IN_ENTRIES)
        while True:
            near = await self._vectors.read(await self._vectors.found(index, query, question, depth), pinned=pinned)
            entries = replace(near, images=best_of_entries(near.images)[:count])
            if len(entries.images) == count or len(near.images) < depth or near.reaches_limits:
                return entries, False
            if depth == MAX_IMAGES_IN_ENTRIES:
                return entries, True
            depth = min(depth * DEEPER, MAX_IMAGES_IN_ENTRIES)

    async def with_views(self, index: Index, results: list[SearchResult]) -> list[SearchResult]:
        """Return results, each the best image of an entry, with the numbers of images of their entries."""
        entries = list({result.repo_url for result in results if result.repo_url})
        with self._metrics.search_stage("rows"):
            views = await self._images.views(index, entries) if entries else {}
        return [replace(result, views=views.get(result.repo_url, 1)) for result in results]


def _ranked(near: Near, count: int) -> Ranking:
    """Return the ranking of the nearest images. count: how many were wanted."""
    cut_off = near.question.is_mixed and len(near.images) < count and count > MOST_CANDIDATES
    return Ranking(near.index, near.results(), MIXED_CUT_OFF if cut_off else None)


def _count(question: Question) -> int:
    """Return how many results to read. One more than is wanted shows whether there is more."""
    return question.offset + question.num_results + 1


async def _each(calls: Iterable[Callable[[], Awaitable[T]]]) -> list[T | ServiceError]:
    """Return the result or the error of each call, some at a time. Raises Overloaded."""
    return await concurrently((partial(_result_or_error, call) for call in calls), at_once=SEARCHED_AT_ONCE)


async def _result_or_error(call: Callable[[], Awaitable[T]]) -> T | ServiceError:
    try:
        return await call()
    except Overloaded:
        raise
    except ServiceError as error:
        return error


def not_calibrated(what: str) -> FailedPrecondition:
    """Return the error for an index without statistics. what: needs them, such as "min_percentile"."""
    message = (
        f"{what} needs an index with statistics about its scores, which this one lacks. Finetune the "
        "collection again with force=true. It needs at least 40 different images."
    )
    return FailedPrecondition(message, code="not_calibrated")


def _require_calibration(index: Index, question: Question) -> None:
    """Raise FailedPrecondition, not_calibrated, if a filter needs statistics that the index lacks."""
    # Scores of texts are compared with other scores of the same text.
    asks_for_percentile = question.min_percentile is not None and not question.has_text
    lacking = {
        "max_false_match_rate": question.max_false_match_rate is not None and not index.false_matches,
        "min_percentile": asks_for_percentile and not index.score_quantiles,
    }
    for name, lacks in lacking.items():
        if lacks:
            raise not_calibrated(name)


def best_of_entries(images: Iterable[tuple[Image, float]]) -> list[tuple[Image, float]]:
    """Return the first image of each repository URL, with its score. Each image without one is a separate entry."""
    best: dict[str | int, tuple[Image, float]] = {}
    for image, score in images:
        best.setdefault(image.repo_url or image.id, (image, score))
    return list(best.values())
