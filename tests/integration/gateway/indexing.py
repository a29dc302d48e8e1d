"""Build indexes as a finetune does, with the catalog's own classes and real embeddings."""

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image as Picture

from catalog.adapters import Adapters
from catalog.images import Images
from catalog.indexed_images import IndexedImages
from catalog.indexes import Index, Indexes
from catalog.jobs import Jobs
from catalog.postgres.database import Database
from catalog.vectors.generations import Generations
from catalog.vectors.projection import Projection
from gateway.upstreams.embedder import QueryEmbedder
from trainer.index.distinct_vectors import DistinctVectors

DIM = 64


def picture(seed: int, size: int = 96, kind: str = "JPEG") -> bytes:
    """Return an encoded image of coloured patches, a different one for each seed."""
    random = np.random.default_rng(seed)
    patches = random.integers(0, 255, (6, 6, 3), dtype=np.uint8)
    image = Picture.fromarray(patches).resize((size, size), Picture.Resampling.BICUBIC)
    output = io.BytesIO()
    image.save(output, kind)
    return output.getvalue()


def image_url(seed: int) -> str:
    """Return the URL that stands for a picture."""
    return f"https://images.example.org/{seed}/full/512,/0/default.jpg"


def content(seeds: range, repository: str = "https://repo.example.org") -> bytes:
    """Return a CSV of pictures."""
    return "".join(f'"{image_url(seed)}",{repository}/{seed}\n' for seed in seeds).encode()


@dataclass
class Indexer:
    """Finetune without a trainer."""

    database: Database
    generations: Generations
    embedder: QueryEmbedder
    backbone: str

    async def index(
        self,
        collection_id: int,
        *,
        seed: int = 0,
        backbone: str | None = None,
        quality: str | None = None,
        files: Mapping[str, bytes] | None = None,
        shared: bool = False,
    ) -> Index:
        """Publish an index of the collection's newest content. seed: of its adapter. quality: JSON.

        files: the images, by URL. By default, each URL is that of a picture. shared: with the backbone's own vectors,
        for texts.
        """
        jobs, indexes = Jobs(self.database), Indexes(self.database, "similis")
        wanted, _ = await jobs.enqueue(collection_id, backbone=None, force=True)
        assert wanted is not None
        while (job := await jobs.claim("tests")) is not None and job.id != wanted.id:
            await jobs.mark_cancelled(job)
        assert job is not None
        images = await Images(self.database).page(collection_id, job.revision, after=0, limit=1000)
        vectors = {url: await self._vector(url, files) for url in {image.image_url for image in images}}
        base = np.stack([vectors[image.image_url] for image in images])
        shared_dim = base.shape[1] if shared else None
        index = await indexes.begin(job, backbone or self.backbone, shared_dim=shared_dim)
        random = np.random.default_rng(seed)
        matrix = np.linalg.qr(random.normal(size=(base.shape[1], min(DIM, base.shape[1]))))[0].astype(np.float32)
        adapter = Projection(matrix)
        stored = await Adapters(self.database).add(collection_id, index.backbone, adapter.to_bytes(), None)
        dim = matrix.shape[1]
        await indexes.set_adapter(index, stored, dim, quality, [number / 1000 for number in range(-1000, 1001, 2)])
        await self.generations.create(index.qdrant_collection, dim, shared_dim)
        ids = [image.id for image in images]
        new, equal = DistinctVectors().add(ids, base)
        points = [ids[row] for row in new]
        own = base[new] if shared else None
        await self.generations.put(index.qdrant_collection, points, adapter.apply(base[new]), own)
        if equal:
            await IndexedImages(self.database).add_equal(index, equal)
        await self.generations.wait_until_indexed(index.qdrant_collection, len(new))
        await jobs.publish(job, index.id, len(images))
        return index

    async def _vector(self, url: str, files: Mapping[str, bytes] | None) -> npt.NDArray[np.float32]:
        image = picture(int(url.split("/")[3])) if files is None else files[url]
        return await self.embedder.embed(image, self.backbone)
