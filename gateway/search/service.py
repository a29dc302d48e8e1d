"""Search: which indexed images are like the examples of a question."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from itertools import takewhile

from catalog.collections import not_found
from catalog.images import Image
from catalog.indexed_images import IndexedImages, RowUrl
from catalog.indexes import Index, Indexes
from catalog.vectors.client import VectorsDamaged, VectorsMissing
from catalog.vectors.false_matches import RUNNER_UPS
from catalog.vectors.generations import Generations, Hit, at_least
from gateway.metrics import GatewayMetrics
from gateway.search.query_vectors import BaseVectors, QueryVector, QueryVectors, not_indexed
from gateway.search.question import MAX_DEPTH, Question
from servicekit.errors import FailedPrecondition, InvalidRequest
from servicekit.limits import ByteAccount, ConcurrencyLimit

# The nearest images that are looked at for runner-ups, even if fewer results are wanted.
SURROUNDINGS = 50
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


@dataclass(frozen=True)
class SearchResult:
    """One hit. score: cosine similarity. percentile: percentage of unrelated pairs of images that score lower.

    false_match_rate: the share, 0 to 1, of queries for something that is not in the collection whose best result would
    score at least this much. Both are None if the index was not calibrated.
    views: the number of images of the entry whose best image this is; None unless entries were asked for.
    """

    image_id: int
    image_url: str
    repo_url: str
    score: float
    percentile: float | None
    false_match_rate: float | None
    views: int | None = None


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


@dataclass(frozen=True)
class _Near:
    """The images that are nearest to a query, with their scores, best first."""

    index: Index
    query: QueryVector
    question: Question
    runner_ups: Sequence[float]
    images: Sequence[tuple[Image, float]]

    def results(self) -> list[SearchResult]:
        """Return those within the limits of the question. Percentiles and rates get no better along the images."""
        results = (self._result(image, score) for image, score in self.images)
        return list(takewhile(self._is_wanted, results))

    @property
    def reaches_limits(self) -> bool:
        """Whether no further image can be within the limits."""
        return bool(self.images) and not self._is_wanted(self._result(*self.images[-1]))

    def _result(self, image: Image, score: float) -> SearchResult:
        rate = self.index.false_matches.rate(score, self.runner_ups, self.query.typicality)
        percentile = self.index.percentile(score)
        return SearchResult(image.id, image.image_url, image.repo_url, score, percentile, rate)

    def _is_wanted(self, result: SearchResult) -> bool:
        low, high = self.question.min_percentile, self.question.max_false_match_rate
        return (low is None or result.percentile is None or result.percentile >= low) and (
            high is None or result.false_match_rate is None or result.false_match_rate <= high
        )


class SearchService:
    """Search a collection: make the query vector, find the nearest vectors, read their rows.

    Every method also raises the errors of the parts that it calls.
    """

    def __init__(
        self,
        *,
        indexes: Indexes,
        query_vectors: QueryVectors,
        vectors: Generations,
        images: IndexedImages,
        concurrency: ConcurrencyLimit,
        metrics: GatewayMetrics,
    ) -> None:
        self._indexes = indexes
        self._query_vectors = query_vectors
        self._vectors = vectors
        self._images = images
        self._concurrency = concurrency
        self._metrics = metrics

    async def find_index(self, collection_id: int) -> Index:
        """Return the live index of a collection.

        Raises InvalidRequest, collection_not_found, and FailedPrecondition, not_finetuned.
        """
        with self._metrics.search_stage("index"):
            exists, index = await self._indexes.live(collection_id)
        if not exists:
            raise not_found(collection_id)
        if index is None:
            raise not_finetuned()
        return index

    async def search(self, index: Index, question: Question, memory: ByteAccount) -> SearchAnswer:
        """Return the images that answer a question, all from one index.

        memory: takes the images that are downloaded for the question. Raises FailedPrecondition (backbone_changed,
        not_calibrated, image_not_indexed, text_not_supported), InvalidRequest (image_not_found, examples_cancel_out,
        and why a download failed), TooLarge, and Overloaded when too many searches are waiting.
        """
        _require_calibration(index, question)
        # A slow image host holds no place of other searches.
        ranking = await self.rank(index, question, await self.base_vectors(index, question, memory))
        end = question.offset + question.num_results
        page = ranking.results[question.offset : end]
        if question.by_entry:
            page = await self.with_views(ranking.index, page)
        more = len(ranking.results) > end and end < MAX_DEPTH
        # Only the last page is incomplete.
        warnings = [ranking.cut_off] if ranking.cut_off and not more else []
        return SearchAnswer(ranking.index.id, page, end if more else None, warnings)

    async def base_vectors(self, index: Index, question: Question, memory: ByteAccount) -> BaseVectors:
        """Return the backbone's vectors of a question's examples, before any is computed. Raises as `search`.

        index: has the images whose regions ask. memory: takes the images that are downloaded.
        """
        return await self._query_vectors.base_vectors(index, question.examples, memory)

    async def embed(self, base: BaseVectors, backbone: str) -> None:
        """Compute the vectors of one backbone. Raises as `search`."""
        async with AsyncExitStack() as stack:
            with self._metrics.search_stage("queue"):
                await stack.enter_async_context(self._concurrency.slot())
            await base.of(backbone)

    async def rank(self, index: Index, question: Question, base: BaseVectors) -> Ranking:
        """Return the best results of a question, to the end of its page, and one more if there is one.

        base: of the question. Raises as `search`.
        """
        _require_calibration(index, question)
        async with AsyncExitStack() as stack:
            with self._metrics.search_stage("queue"):
                await stack.enter_async_context(self._concurrency.slot())
            try:
                return await self._nearest(index, question, base)
            except VectorsDamaged:
                await self._indexes.mark_lost(index.id)
                raise
            except VectorsMissing:
                return await self._search_successor(index, question, base)

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

    async def _search_successor(self, old: Index, question: Question, base: BaseVectors) -> Ranking:
        """Search the index that was published since `old` was looked up, whose vectors have been dropped meanwhile."""
        index = await self.find_index(old.collection_id)
        if index.id == old.id:
            await self._indexes.mark_lost(index.id)
            raise VectorsMissing("The index has lost its vectors. Finetune the collection again.")
        _require_calibration(index, question)
        self._metrics.search_retries.inc()
        return await self._nearest(index, question, base)

    async def _nearest(self, index: Index, question: Question, base: BaseVectors) -> Ranking:
        query = await self._query_vectors.combined(index, question.examples, base)
        # One more than is wanted shows whether there is more.
        count = question.offset + question.num_results + 1
        if not question.by_entry:
            return Ranking(index, (await self._near(index, question, query, count)).results())
        near, cut_off = await self._entries(index, question, query, count)
        return Ranking(index, near.results(), CUT_OFF if cut_off else None)

    async def _near(self, index: Index, question: Question, query: QueryVector, count: int) -> _Near:
        """Return the `count` best images within the limits of a question, whatever its page is."""
        left_out = question.left_out
        depth = count + len(left_out)
        surroundings = SURROUNDINGS + len(left_out)
        with self._metrics.search_stage("query"):
            hits = await self._vectors.query(index.qdrant_collection, query.tuned, max(depth, surroundings), None)
        allowed = at_least(hits, question.threshold)[:depth]
        read = max(len(allowed), surroundings) if index.false_matches.knows_prominences else len(allowed)
        with self._metrics.search_stage("rows"):
            ids = [hit.image_id for hit in hits[:read]]
            rows, first = await self._images.with_first(index, ids, depth)
        runner_ups = _runner_ups(index, [hit for hit in hits if hit.image_id not in left_out], first)
        images = [
            (row.image, allowed[row.place].score)
            for row in rows
            if row.place < len(allowed) and row.image.id not in left_out
        ]
        return _Near(index, query, question, runner_ups, images[:count])

    async def _entries(self, index: Index, question: Question, query: QueryVector, count: int) -> tuple[_Near, bool]:
        """Return the best image of each of the `count` best entries, and whether more images would have to be read."""
        depth = min(count * IMAGES_PER_ENTRY, MAX_IMAGES_IN_ENTRIES)
        while True:
            near = await self._near(index, question, query, depth)
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


def _runner_ups(index: Index, near: Sequence[Hit], first: Mapping[int, Image]) -> list[float]:
    """Return the scores of a query's runner-ups. near: its hits. first: the first images of the best of them."""
    near = near[:SURROUNDINGS]
    if not index.false_matches.knows_prominences:
        return []
    found = [(hit.score, first[hit.image_id]) for hit in near if hit.image_id in first]
    scores = index.false_matches.runner_ups(found)
    # Where one object fills the surroundings, the others score at most as much as the last of them.
    missing = RUNNER_UPS - len(scores) if len(near) == SURROUNDINGS else 0
    return [*scores, *[near[-1].score] * missing]


def not_finetuned() -> FailedPrecondition:
    """Return the error for a collection without an index."""
    message = "The collection has not been finetuned yet. Finetune it before searching."
    return FailedPrecondition(message, code="not_finetuned")


def not_calibrated(what: str) -> FailedPrecondition:
    """Return the error for an index without statistics. what: needs them, such as "min_percentile"."""
    message = (
        f"{what} needs an index with statistics about its scores, which this one lacks. Finetune the "
        "collection again with force=true. It needs at least 40 different images."
    )
    return FailedPrecondition(message, code="not_calibrated")


def _require_calibration(index: Index, question: Question) -> None:
    """Raise FailedPrecondition, not_calibrated, if a filter needs statistics that the index lacks."""
    lacking = {
        "max_false_match_rate": question.max_false_match_rate is not None and not index.false_matches,
        "min_percentile": question.min_percentile is not None and not index.score_quantiles,
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
