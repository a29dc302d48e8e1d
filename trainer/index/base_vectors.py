"""The base vectors of one revision, page by page, as fitting, checking and indexing read them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from catalog.images import Image, Images
from catalog.indexes import Index
from catalog.jobs import Job
from trainer.fetch.view_sample import VIEWS
from trainer.jobs.attempt import Attempt

Matrix = npt.NDArray[np.float32]

PAGE_SIZE = 512


@dataclass(frozen=True)
class VectorPage:
    """Some images and their base vectors [n, dim]. Images with the same repository URL show the same object.

    rows: the rows of the revision that the page covers, with or without a vector.
    """

    images: list[Image]
    vectors: Matrix
    rows: int


class StoredVectors:
    """The images of an attempt's revision that have a base vector, by id. At most two pages are in memory."""

    def __init__(self, images: Images, attempt: Attempt) -> None:
        self._images = images
        self._attempt = attempt

    async def pages(self) -> AsyncGenerator[VectorPage, None]:
        """Yield all of them, in the same order each time. The next page is read while the caller uses one."""
        pages = revision_pages(self._images, self._attempt.job, PAGE_SIZE)
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
        """Return at most `count` of them without failures in `index`, drawn uniformly and the same each time."""
        job = self._attempt.job
        images = await self._images.sample(job.collection_id, job.revision, index.id, count)
        pages = [await self._page(images[start : start + PAGE_SIZE]) for start in range(0, len(images), PAGE_SIZE)]
        return VectorPage(
            [image for page in pages for image in page.images],
            np.concatenate([page.vectors for page in pages if page.images]),
            len(images),
        )

    async def views(self, ids: Sequence[int]) -> tuple[list[int], Matrix]:
        """Return those of the images that have augmented views: their ids, and the vectors [n, views, dim]."""
        present, rows = await self._attempt.views.read(ids)
        return present, rows.reshape(len(present), VIEWS, -1) if present else np.zeros((0, VIEWS, 1), np.float32)

    async def _read_next(self, pages: AsyncIterator[list[Image]]) -> VectorPage | None:
        images = await anext(pages, None)
        return None if images is None else await self._page(images)

    async def _page(self, images: list[Image]) -> VectorPage:
        present, vectors = await self._attempt.vectors.read([image.id for image in images])
        known = set(present)
        return VectorPage([image for image in images if image.id in known], vectors, len(images))


async def revision_pages(images: Images, job: Job, size: int) -> AsyncIterator[list[Image]]:
    """Yield the rows of a job's revision by id, `size` at a time."""
    after = 0
    while page := await images.page(job.collection_id, job.revision, after=after, limit=size):
        yield page
        after = page[-1].id
