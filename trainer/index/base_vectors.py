"""The base vectors of one revision of a collection, as fitting, checking and indexing read them: page by page."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from catalog.images import Image, Images
from catalog.indexes import Index
from catalog.jobs import Job
from catalog.vectors.base_store import BaseStore
from trainer.fetch.view_sample import VIEWS
from trainer.jobs.retry import Patience

Matrix = npt.NDArray[np.float32]

PAGE_SIZE = 512


@dataclass(frozen=True)
class VectorPage:
    """Some images and their base vectors [n, dim]. Images with the same repository URL show the same object.

    rows: how many rows of the revision the page went over; those without a vector are left out.
    """

    images: list[Image]
    vectors: Matrix
    rows: int


class StoredVectors:
    """The images of a job's revision that have a base vector, by id. Nothing is held but two pages."""

    def __init__(self, images: Images, store: BaseStore, views: BaseStore, job: Job, patience: Patience) -> None:
        self._images = images
        self._store = store
        self._views = views
        self._job = job
        self._patience = patience

    async def pages(self) -> AsyncGenerator[VectorPage, None]:
        """All of them, in an order that is the same each time. The next page is read while one is worked on."""
        pages = revision_pages(self._images, self._job, self._patience, PAGE_SIZE)
        following = asyncio.create_task(self._read_next(pages))
        try:
            while (page := await following) is not None:
                following = asyncio.create_task(self._read_next(pages))
                if page.images:
                    yield page
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def sample(self, index: Index, count: int) -> VectorPage:
        """At most `count` of them, drawn uniformly, the same each time; what failed in the index is not drawn."""
        images = await self._patience.persist(
            self._images.sample, self._job.collection_id, self._job.revision, index.id, count
        )
        pages = [await self._page(images[start : start + PAGE_SIZE]) for start in range(0, len(images), PAGE_SIZE)]
        return VectorPage(
            [image for page in pages for image in page.images],
            np.concatenate([page.vectors for page in pages if page.images]),
            len(images),
        )

    async def _read_next(self, pages: AsyncIterator[list[Image]]) -> VectorPage | None:
        images = await anext(pages, None)
        return None if images is None else await self._page(images)

    async def _page(self, images: list[Image]) -> VectorPage:
        present, vectors = await self._patience.persist(self._store.read, [image.id for image in images])
        known = set(present)
        return VectorPage([image for image in images if image.id in known], vectors, len(images))

    async def views(self, ids: Sequence[int]) -> tuple[list[int], Matrix]:
        """The views of those of the images that have any: ids, and vectors [n, views, dim]."""
        present, rows = await self._patience.persist(self._views.read, ids)
        return present, rows.reshape(len(present), VIEWS, -1) if present else np.zeros((0, VIEWS, 1), np.float32)


async def revision_pages(images: Images, job: Job, patience: Patience, size: int) -> AsyncIterator[list[Image]]:
    """The rows of a job's revision by id, `size` at a time."""
    after = 0
    while True:
        page = await patience.persist(images.page, job.collection_id, job.revision, after=after, limit=size)
        if not page:
            return
        yield page
        after = page[-1].id
