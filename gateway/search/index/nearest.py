"""The images of an index that are nearest to a query, read from Qdrant and from the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from catalog.images import Image
from catalog.indexed_images import PointRows, Points
from catalog.indexes import Index
from catalog.vectors.false_matches import RUNNER_UPS
from catalog.vectors.generations import Hit, at_least
from gateway.metrics import GatewayMetrics
from gateway.search.index.held_rows import HeldRows
from gateway.search.index.live_checks import LiveCheck, LiveChecks
from gateway.search.query_vectors import QueryVector
from gateway.search.question import Question
from gateway.search.texts.point_search import PointSearch

# The nearest images that are looked at for runner-ups, even if fewer results are wanted.
SURROUNDINGS = 50
# As many of them nearly always show the runner-ups. The others are looked for only if they do not.
FIRST_SURROUNDINGS = 12


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
class Found:
    """The points of an index that are nearest to a query.

    count: how many images are wanted. hits: of the nearest points. are_all: whether there are no further points.
    """

    index: Index
    query: QueryVector
    question: Question
    count: int
    hits: Sequence[Hit]
    are_all: bool

    @property
    def depth(self) -> int:
        """How many images to read, so that enough remain when some are left out."""
        return self.count + len(self.question.left_out)

    def points(self) -> Points:
        """Return the points whose rows are needed."""
        hits = self.hits if self.index.false_matches.knows_prominences else self._allowed()
        return Points(self.index, [hit.image_id for hit in hits], self.depth)

    def shows_runner_ups(self, first: Mapping[int, Image]) -> bool:
        """Return whether further points could not change the runner-ups. first: the first images of the points."""
        return (
            self.query.scale is not None
            or not self.index.false_matches.knows_prominences
            or self.are_all
            or len(self.runner_ups(first)) == RUNNER_UPS
            or len(self._surrounding()) == SURROUNDINGS
        )

    def runner_ups(self, first: Mapping[int, Image]) -> list[float]:
        """Return the scores of the query's runner-ups among these points. first: the first images of the points."""
        if not self.index.false_matches.knows_prominences:
            return []
        surrounding = self._surrounding()
        scores = self.index.false_matches.runner_ups(
            [(hit.score, first[hit.image_id]) for hit in surrounding if hit.image_id in first]
        )
        # Where one object fills the surroundings, the others score at most as much as the last of them.
        missing = RUNNER_UPS - len(scores) if len(surrounding) == SURROUNDINGS else 0
        return [*scores, *[surrounding[-1].score] * missing]

    def near(self, rows: PointRows, runner_ups: Sequence[float]) -> "Near":
        """Return the nearest images. rows: of the points."""
        left_out, allowed = self.question.left_out, self._allowed()
        images = [
            (row.image, allowed[row.place].score)
            for row in rows.images
            if row.place < len(allowed) and row.image.id not in left_out
        ]
        return Near(self.index, self.query, self.question, runner_ups, images[: self.count])

    def _allowed(self) -> Sequence[Hit]:
        """Return the hits that can be results."""
        return at_least(self.hits, self.question.threshold)[: self.depth]

    def _surrounding(self) -> Sequence[Hit]:
        left_out = self.question.left_out
        return [hit for hit in self.hits if hit.image_id not in left_out][:SURROUNDINGS]


@dataclass(frozen=True)
class Near:
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
        if (scale := self.query.scale) is not None:
            return SearchResult(image.id, image.image_url, image.repo_url, score, scale.percentile(score), None)
        rate = self.index.false_matches.rate(score, self.runner_ups, self.query.typicality)
        percentile = self.index.percentile(score)
        return SearchResult(image.id, image.image_url, image.repo_url, score, percentile, rate)

    def _is_wanted(self, result: SearchResult) -> bool:
        low, high = self.question.min_percentile, self.question.max_false_match_rate
        return (low is None or result.percentile is None or result.percentile >= low) and (
            high is None or result.false_match_rate is None or result.false_match_rate <= high
        )


class IndexReplaced(Exception):
    """Another index has become live since this one was looked up."""


class Nearest:
    """Finds the nearest points, and reads their rows. Every method also raises the errors of the databases."""

    def __init__(self, vectors: PointSearch, rows: HeldRows, live: LiveChecks, metrics: GatewayMetrics) -> None:
        self._vectors = vectors
        self._rows = rows
        self._live = live
        self._metrics = metrics

    def begin_check(self, index: Index) -> LiveCheck | None:
        """Begin to find out whether an index is live; None: the statement that reads the rows tells."""
        return self._live.begin(index) if self._rows.has(index) else None

    async def found(self, index: Index, query: QueryVector, question: Question, count: int) -> Found:
        """Find the points for the `count` best images within the limits of a question, whatever its page is."""
        return await self._found(index, query, question, count, FIRST_SURROUNDINGS)

    async def _found(
        self, index: Index, query: QueryVector, question: Question, count: int, surroundings: int
    ) -> Found:
        limit = max(count, surroundings) + len(question.left_out)
        with self._metrics.search_stage("query"):
            hits, query = await self._vectors.nearest(index, query, limit)
        return Found(index, query, question, count, hits, len(hits) < limit)

    async def read(self, found: Found, *, pinned: bool) -> Near:
        """Return the images of what was found. Raises IndexReplaced unless the index is live or `pinned`."""
        [rows] = await self.rows([found])
        if not pinned:
            is_live = rows.is_live
            if is_live is None:
                is_live = await self._live.begin(found.index).is_live()
            if not is_live:
                raise IndexReplaced
        return await self.near(found, rows)

    async def rows(self, found: Sequence[Found]) -> list[PointRows]:
        """Return the rows of what was found in several indexes."""
        with self._metrics.search_stage("rows"):
            return await self._rows.of_indexes([each.points() for each in found])

    async def near(self, found: Found, rows: PointRows) -> Near:
        """Return the images of what was found, given its rows."""
        if found.shows_runner_ups(rows.first):
            return found.near(rows, found.runner_ups(rows.first))
        more = await self._found(found.index, found.query, found.question, found.count, SURROUNDINGS)
        unread = [hit.image_id for hit in more.hits if hit.image_id not in rows.first]
        with self._metrics.search_stage("rows"):
            [others] = await self._rows.of_indexes([Points(found.index, unread, 0)])
        return found.near(rows, more.runner_ups({**rows.first, **others.first}))
