"""The base vectors of one revision of a collection, as fitting, checking and indexing read them: page by page."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from similis.catalog.base_store import BaseStore
from similis.catalog.images import Image, Images
from similis.catalog.jobs import Job
from similis.trainer.patience import Patience
from similis.trainer.view_sample import VIEWS

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
    """The images of a job's revision that have a base vector, by id. Nothing is held but a page."""

    def __init__(self, images: Images, store: BaseStore, views: BaseStore, job: Job, patience: Patience) -> None:
        self._images = images
        self._store = store
        self._views = views
        self._job = job
        self._patience = patience

    async def pages(self) -> AsyncIterator[VectorPage]:
        """All of them, in an order that is the same each time."""
        async for images in revision_pages(self._images, self._job, self._patience, PAGE_SIZE):
            ids = [image.id for image in images]
            present, vectors = await self._patience.persist(self._store.read, ids)
            if present:
                known = set(present)
                yield VectorPage([image for image in images if image.id in known], vectors, len(images))

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
