"""Search: which indexed images are like the examples of a question."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from catalog.collections import not_found
from catalog.images import Image
from catalog.indexed_images import IndexedImages
from catalog.indexes import Index, Indexes
from catalog.vectors.client import VectorsMissing
from catalog.vectors.false_matches import RUNNER_UPS
from catalog.vectors.generations import Generations, Hit, at_least
from gateway.metrics import GatewayMetrics
from gateway.search.query_vectors import BaseVectors, QueryVectors
from gateway.search.question import MAX_DEPTH, Question
from servicekit.errors import FailedPrecondition
from servicekit.limits import ByteAccount, ConcurrencyLimit

# The nearest images that are looked at for runner-ups, even if fewer results are wanted.
SURROUNDINGS = 50


@dataclass(frozen=True)
class SearchResult:
    """One hit. score: cosine similarity. percentile: percentage of unrelated pairs of images that score lower.

    false_match_rate: the share, 0 to 1, of queries for something that is not in the collection whose best result would
    score at least this much. Both are None if the index was not calibrated.
    """

    image_id: int
    image_url: str
    repo_url: str
    score: float
    percentile: float | None
    false_match_rate: float | None


@dataclass(frozen=True)
class SearchAnswer:
    """The hits of a search, best first, and the index that they come from.

    next_offset: where the next results begin; None if there are none.
    """

    index_id: int
    results: list[SearchResult]
    next_offset: int | None = None


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
            message = "The collection has not been finetuned yet. Finetune it before searching."
            raise FailedPrecondition(message, code="not_finetuned")
        return index

    async def search(self, index: Index, question: Question, memory: ByteAccount) -> SearchAnswer:
        """Return the images that answer a question, all from one index.

        memory: takes the images that are downloaded for the question. Raises FailedPrecondition (backbone_changed,
        not_calibrated, image_not_indexed, text_not_supported), InvalidRequest (image_not_found, examples_cancel_out,
        and why a download failed), TooLarge, and Overloaded when too many searches are waiting.
        """
        _require_calibration(index, question)
        if question.by_entry:
            raise FailedPrecondition("group_by is not supported yet.")
        # A slow image host holds no place of other searches.
        base = await self._query_vectors.base_vectors(index, question.examples, memory)
        async with AsyncExitStack() as stack:
            with self._metrics.search_stage("queue"):
                await stack.enter_async_context(self._concurrency.slot())
            try:
                return await self._nearest(index, question, base)
            except VectorsMissing:
                return await self._search_successor(index, question, base)

    async def _search_successor(self, old: Index, question: Question, base: BaseVectors) -> SearchAnswer:
        """Search the index that was published since `old` was looked up, whose vectors have been dropped meanwhile."""
        index = await self.find_index(old.collection_id)
        if index.id == old.id:
            raise VectorsMissing("The index has lost its vectors. Finetune the collection again, with force=true.")
        _require_calibration(index, question)
        self._metrics.search_retries.inc()
        return await self._nearest(index, question, base)

    async def _nearest(self, index: Index, question: Question, base: BaseVectors) -> SearchAnswer:
        query = await self._query_vectors.combined(index, question.examples, base)
        end, left_out = question.offset + question.num_results, question.left_out
        # One more than is wanted shows whether there is more.
        depth = end + 1 + len(left_out)
        points = max(depth, SURROUNDINGS + len(left_out))
        with self._metrics.search_stage("query"):
            near = await self._vectors.query(index.qdrant_collection, query.tuned, points, None)
        hits = at_least(near, question.threshold)[:depth]
        with self._metrics.search_stage("rows"):
            rows = await self._images.of_points(index, [hit.image_id for hit in hits], depth)
            runner_ups = await self._runner_ups(index, [hit for hit in near if hit.image_id not in left_out])
        found = [row for row in rows if row.image.id not in left_out]
        page = found[question.offset : end]
        results = [_result(index, row.image, hits[row.place].score, runner_ups, query.typicality) for row in page]
        wanted = [result for result in results if _is_wanted(result, question)]
        # Percentiles and rates get no better along the results, so those after an unwanted one are unwanted, too.
        more = len(found) > end and len(wanted) == len(results) and end < MAX_DEPTH
        return SearchAnswer(index.id, wanted, end if more else None)

    async def _runner_ups(self, index: Index, near: list[Hit]) -> list[float]:
        """Return the scores of the query's runner-ups. near: its hits, also those that nobody asked for."""
        near = near[:SURROUNDINGS]
        if not index.false_matches.knows_prominences:
            return []
        images = await self._images.first_of_points(index, [hit.image_id for hit in near])
        found = [(hit.score, images[hit.image_id]) for hit in near if hit.image_id in images]
        scores = index.false_matches.runner_ups(found)
        # Where one object fills the surroundings, the others score at most as much as the last of them.
        missing = RUNNER_UPS - len(scores) if len(near) == SURROUNDINGS else 0
        return [*scores, *[near[-1].score] * missing]


def _require_calibration(index: Index, question: Question) -> None:
    """Raise FailedPrecondition, not_calibrated, if a filter needs statistics that the index lacks."""
    lacking = {
        "max_false_match_rate": question.max_false_match_rate is not None and not index.false_matches,
        "min_percentile": question.min_percentile is not None and not index.score_quantiles,
    }
    for name, lacks in lacking.items():
        if lacks:
            message = (
                f"{name} needs an index with statistics about its scores, which this one lacks. Finetune the "
                "collection again with force=true. It needs at least 40 different images."
            )
            raise FailedPrecondition(message, code="not_calibrated")


def _result(
    index: Index, image: Image, score: float, runner_ups: Sequence[float], typicality: float | None
) -> SearchResult:
    percentile, rate = index.percentile(score), index.false_matches.rate(score, runner_ups, typicality)
    return SearchResult(image.id, image.image_url, image.repo_url, score, percentile, rate)


def _is_wanted(result: SearchResult, question: Question) -> bool:
    """Return whether a result is within the limits. Its percentile and rate are known if there is a limit."""
    low, high = question.min_percentile, question.max_false_match_rate
    return (low is None or result.percentile is None or result.percentile >= low) and (
        high is None or result.false_match_rate is None or result.false_match_rate <= high
    )
