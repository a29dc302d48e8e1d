"""Search several collections at once, and merge the results by percentile."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from heapq import merge
from itertools import islice

from catalog.collections import not_found
from catalog.indexes import Index
from gateway.search.index.live_indexes import LiveIndexes, not_finetuned
from gateway.search.index.nearest import SearchResult
from gateway.search.query_vectors import BaseVectors
from gateway.search.question import MAX_DEPTH, Question
from gateway.search.service import Ranking, SearchService, not_calibrated
from gateway.search.several_fields import MAX_COLLECTIONS
from servicekit.errors import FailedPrecondition, Forbidden, InvalidRequest, ServiceError
from servicekit.limits import ByteAccount


@dataclass(frozen=True)
class Found:
    """A result, and the index of the collection that has it."""

    index: Index
    result: SearchResult

    @property
    def rank(self) -> tuple[float, float, float, int]:
        """What results are ordered by. Scores of two collections are compared only if nothing else decides."""
        rate = 1.0 if self.result.false_match_rate is None else self.result.false_match_rate
        return -(self.result.percentile or 0.0), rate, -self.result.score, self.index.collection_id


@dataclass(frozen=True)
class MergedAnswer:
    """The results of several collections, best first.

    skipped: why collections could not be searched, by their ids. next_offset, warnings: as in `SearchAnswer`.
    """

    results: Sequence[Found]
    skipped: dict[int, ServiceError]
    next_offset: int | None = None
    warnings: Sequence[str] = ()


@dataclass
class Merging:
    """What the collections that were searched so far have found. depth: the number of results that are kept."""

    depth: int
    best: list[Found] = field(default_factory=list)
    failed: dict[int, ServiceError] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def add(self, ranking: Ranking) -> None:
        # The results of a ranking are in the order of `rank`, too.
        new = (Found(ranking.index, result) for result in ranking.results)
        self.best = list(islice(merge(self.best, new, key=lambda found: found.rank), self.depth))
        if ranking.cut_off:
            about = f"Collection {ranking.index.collection_id}: {ranking.cut_off}"
            self.warnings.append(about)


class CollectionsSearch:
    """Searches several collections. Every method also raises the errors of the parts that it calls."""

    def __init__(self, searches: SearchService, indexes: LiveIndexes) -> None:
        self._searches = searches
        self._indexes = indexes

    async def search(
        self,
        collections: Collection[int] | None,
        readable: frozenset[int] | None,
        question: Question,
        memory: ByteAccount,
    ) -> MergedAnswer:
        """Return the results of collections, merged by percentile. The examples are embedded once for each backbone.

        collections: their ids; None: all. readable: the only ones that may be searched; None: all. An error that only
        concerns some collections is among `skipped`. If it concerns all that could be searched, it is raised, as is
        Overloaded. memory: takes the images that are downloaded for the question.
        """
        indexes, skipped = await self._searchable(collections, readable, question)
        if not indexes:
            return MergedAnswer([], dict(sorted(skipped.items())))
        base = await self._base_vectors(indexes, question, memory)
        changed = await self._embed(base, {index.backbone for index in indexes})
        skipped |= {index.collection_id: changed[index.backbone] for index in indexes if index.backbone in changed}
        indexes = [index for index in indexes if index.backbone not in changed]
        end = question.offset + question.num_results
        # One more than is wanted shows whether there is more.
        merging = Merging(end + 1)
        for index, ranking in zip(indexes, await self._searches.rank_all(indexes, question, base), strict=True):
            if isinstance(ranking, ServiceError):
                merging.failed[index.collection_id] = ranking
            else:
                merging.add(ranking)
        if merging.failed and len(merging.failed) == len(indexes):
            raise merging.failed[indexes[0].collection_id]
        page = merging.best[question.offset : end]
        if question.by_entry:
            page = await self._with_views(page)
        more = len(merging.best) > end and end < MAX_DEPTH
        everything = sorted((skipped | merging.failed).items())
        warnings = [*base.warnings, *sorted(merging.warnings)]
        return MergedAnswer(page, dict(everything), end if more else None, warnings)

    async def _searchable(
        self, collections: Collection[int] | None, readable: frozenset[int] | None, question: Question
    ) -> tuple[list[Index], dict[int, ServiceError]]:
        """Return the indexes of the collections that can be searched, and why the others cannot."""
        allowed = readable if collections is None else _intersection(collections, readable)
        live = await self._indexes.of(allowed, limit=MAX_COLLECTIONS + 1)
        if len(live) > MAX_COLLECTIONS:
            message = f"There are more than {MAX_COLLECTIONS} collections. Name those to search, as collections."
            raise InvalidRequest(message, code="too_many_collections")
        skipped: dict[int, ServiceError] = {}
        for identifier in collections or ():
            if identifier not in (allowed or ()):
                message = f"This API key is not for collection {identifier}."
                skipped[identifier] = Forbidden(message, code="key_not_allowed")
            elif identifier not in live:
                skipped[identifier] = not_found(identifier)
        indexes = []
        for identifier, index in live.items():
            if index is None:
                skipped[identifier] = not_finetuned()
            elif not index.score_quantiles and not question.has_text:
                skipped[identifier] = not_calibrated("A search over several collections")
            else:
                indexes.append(index)
        return indexes, skipped

    async def _base_vectors(self, indexes: Sequence[Index], question: Question, memory: ByteAccount) -> BaseVectors:
        """Return the vectors of the examples. The region of an indexed image asks in every collection."""
        for index in indexes[:-1]:
            try:
                return await self._searches.base_vectors(index, question, memory)
            except (InvalidRequest, FailedPrecondition) as error:
                if error.code not in ("image_not_found", "image_not_indexed"):
                    raise
        return await self._searches.base_vectors(indexes[-1], question, memory)

    async def _embed(self, base: BaseVectors, backbones: Collection[str]) -> dict[str, ServiceError]:
        """Compute the vectors of the examples, and return the errors of the backbones that are not served."""
        changed: dict[str, ServiceError] = {}
        for backbone in backbones:
            try:
                await self._searches.embed(base, backbone)
            except FailedPrecondition as error:
                if error.code != "backbone_changed":
                    raise
                changed[backbone] = error
        return changed

    async def _with_views(self, page: Sequence[Found]) -> list[Found]:
        indexes = {found.index.id: found.index for found in page}
        of_index: dict[tuple[int, int], SearchResult] = {}
        for index in indexes.values():
            results = [found.result for found in page if found.index.id == index.id]
            counted = await self._searches.with_views(index, results)
            of_index |= {(index.id, result.image_id): result for result in counted}
        return [replace(found, result=of_index[found.index.id, found.result.image_id]) for found in page]


def _intersection(collections: Collection[int], readable: frozenset[int] | None) -> frozenset[int]:
    return frozenset(collections) if readable is None else readable.intersection(collections)
