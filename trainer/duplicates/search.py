"""The search for duplicates: which images of an index are copies of each other."""

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from typing import Protocol

import numpy as np

from catalog.duplicates.groups import CopyGroup, Duplicates
from catalog.duplicates.miniatures import Miniatures
from catalog.indexes import Index
from servicekit.telemetry.logs import get_logger
from trainer.adapter.pca import Report
from trainer.duplicates.comparison_space import ComparisonSpace
from trainer.duplicates.lookalikes import NEAR, Lookalikes
from trainer.duplicates.near_pairs import NearPairs, Pairs, cells
from trainer.duplicates.star_groups import StarGroup, star_groups
from trainer.duplicates.vector_file import VectorFile
from trainer.duplicates.verdicts import from_bytes, to_bytes
from trainer.fetch.view_sample import MAX_VIEWED
from trainer.index.base_vectors import Matrix, VectorPage
from trainer.index.distinct_vectors import DistinctVectors

log = get_logger(__name__)

# Increase this when the search changes, so that the copies that earlier releases found are not reused.
METHOD = 1
# Images that the comparison space is made from.
SAMPLE = 20_000
# Compared between two other calculations of the trainer.
CELLS_AT_ONCE = 16


class ViewedPages(Protocol):
    """Images and their base vectors, page by page, and the augmented views of some of them."""

    def pages(self) -> AsyncGenerator[VectorPage, None]: ...

    async def views(self, ids: Sequence[int]) -> tuple[list[int], Matrix]: ...


class DuplicateSearch:
    """Finds and stores the duplicates of an index."""

    def __init__(
        self, duplicates: Duplicates, miniatures: Miniatures, executor: Executor, *, file_bytes: int | None
    ) -> None:
        """executor: for numerical work. file_bytes: the largest size of the temporary file; None: any."""
        self._duplicates = duplicates
        self._miniatures = miniatures
        self._executor = executor
        self._file_bytes = file_bytes

    async def run(self, index: Index, vectors: ViewedPages, digest: bytes, report: Report) -> int:
        """Find and store the duplicates of an index, and return the number of groups of copies.

        Those of an earlier index with the same vectors and miniatures are reused. digest: of the images and their
        vectors. report: called with the number of rows of each page. Raises NoSpace as `_copies_among`.
        """
        miniatures = await self._miniatures.count(index.collection_id)
        key = METHOD.to_bytes(2) + miniatures.to_bytes(8) + digest
        copies = await self._duplicates.copies_among(index.collection_id, key)
        if copies is None:
            copies = await self._copies_among(index, vectors, report)
        await self._duplicates.replace(index, copies, key)
        return len(copies)

    async def _copies_among(self, index: Index, vectors: ViewedPages, report: Report) -> list[CopyGroup]:
        """Return the copies among the images of an index.

        The vectors are copied to a temporary file, with two bytes for each number. Raises NoSpace if there is no room
        for it.
        """
        loop = asyncio.get_running_loop()
        with tempfile.TemporaryFile() as file:
            images = _Images(VectorFile(file, self._file_bytes))
            async with aclosing(vectors.pages()) as pages:
                async for page in pages:
                    await loop.run_in_executor(self._executor, images.add, page)
                    if images.viewed < MAX_VIEWED:
                        shown, views = await vectors.views([image.id for image in page.images])
                        images.add_views(page, shown, views)
                    report(page.rows)
            near = await self._pairs(images)
        pairs = await self._without_lookalikes(index.collection_id, near, images.ids)
        stars = await loop.run_in_executor(self._executor, star_groups, pairs, len(images.ids))
        return _copies(stars, images.ids, images.equal)

    async def _pairs(self, images: "_Images") -> Pairs:
        loop = asyncio.get_running_loop()
        space = await loop.run_in_executor(self._executor, images.space)
        for rows in images.file.blocks():
            await loop.run_in_executor(self._executor, images.file.replace, rows, space.apply)
        vectors = images.file.vectors()
        compared = await loop.run_in_executor(self._executor, cells, vectors)
        near = NearPairs(vectors, NEAR)
        for start in range(0, len(compared), CELLS_AT_ONCE):
            await loop.run_in_executor(self._executor, near.compare, compared[start : start + CELLS_AT_ONCE])
        if near.least > NEAR:
            log.warning("duplicates_limited", least=round(near.least, 3))
        return await loop.run_in_executor(self._executor, near.pairs)

    async def _without_lookalikes(self, collection_id: int, near: Pairs, ids: Sequence[int]) -> Pairs:
        """Return the pairs whose miniatures show the same picture. ids: of the images, by position."""
        loop = asyncio.get_running_loop()
        known = from_bytes(await self._miniatures.verdicts(collection_id))
        compared = await loop.run_in_executor(self._executor, Lookalikes, near, np.array(ids, dtype=np.int64), known)
        for part in compared.parts():
            position_of = {ids[position]: position for position in compared.images_of(part)}
            found = await self._miniatures.of_images(collection_id, list(position_of))
            by_position = {position_of[image]: miniature for image, miniature in found.items()}
            await loop.run_in_executor(self._executor, compared.compare, part, by_position)
        await self._miniatures.save_verdicts(collection_id, to_bytes(compared.verdicts))
        return compared.copies()


class _Images:
    """The images with different vectors, and what the comparison space is made from."""

    def __init__(self, file: VectorFile) -> None:
        self.file = file
        self._distinct = DistinctVectors()
        self._shown: list[Matrix] = []
        self._views: list[Matrix] = []
        self.ids: list[int] = []
        # Images whose vector equals that of an earlier one, by the earlier one.
        self.equal: dict[int, list[int]] = defaultdict(list)
        self.viewed = 0

    def add(self, page: VectorPage) -> None:
        """Add a page. Raises NoSpace."""
        ids = [image.id for image in page.images]
        new, equal = self._distinct.add(ids, page.vectors)
        self.file.add(page.vectors[new])
        self.ids.extend(ids[row] for row in new)
        for image in equal:
            self.equal[image.first_image_id].append(image.image_id)

    def add_views(self, page: VectorPage, shown: Sequence[int], views: Matrix) -> None:
        """Add the views [m, v, dim] of some images of a page, by their ids."""
        if not shown:
            return
        row_of = {image.id: row for row, image in enumerate(page.images)}
        self._shown.append(page.vectors[[row_of[identifier] for identifier in shown]])
        self._views.append(views)
        self.viewed += len(shown)

    def space(self) -> ComparisonSpace:
        """Return the comparison space of these images. The views are freed."""
        found = ComparisonSpace.of(self.file.sample(SAMPLE), self._shown, self._views)
        self._shown, self._views = [], []
        return found


def _copies(stars: Sequence[StarGroup], ids: Sequence[int], equal: Mapping[int, Sequence[int]]) -> list[CopyGroup]:
    """Return the groups with all their images, the most similar first."""
    return sorted(_expanded(stars, ids, equal), key=lambda group: (-group.score, group.images[0]))


def _expanded(
    stars: Sequence[StarGroup], ids: Sequence[int], equal: Mapping[int, Sequence[int]]
) -> Iterator[CopyGroup]:
    grouped: set[int] = set()
    for star in stars:
        firsts = [ids[member] for member in star.members]
        grouped.update(firsts)
        yield CopyGroup(sorted(image for first in firsts for image in (first, *equal.get(first, ()))), star.score)
    for first, others in equal.items():
        if first not in grouped:
            yield CopyGroup([first, *others], 1.0)
