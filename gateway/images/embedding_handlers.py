"""The vector of an image over HTTP, for those who compute with it themselves."""

from aiohttp import web

from catalog.collections import not_found
from catalog.content import image_states
from catalog.indexed_images import IndexedImages
from catalog.indexes import Index, Indexes
from catalog.vectors.generations import Generations, Vector
from gateway.http import parameters
from gateway.http.responses import data
from servicekit.errors import FailedPrecondition


class EmbeddingHandlers:
    """The route of an image's vector."""

    def __init__(self, *, indexes: Indexes, images: IndexedImages, vectors: Generations) -> None:
        self._indexes = indexes
        self._images = images
        self._vectors = vectors

    async def one(self, request: web.Request) -> web.Response:
        """`GET /api/collection/{id}/images/{image_id}/embedding`: the vector that search compares, of length 1."""
        collection_id = parameters.collection_id(request.match_info["id"])
        image_id = parameters.image_id(request.match_info["image_id"])
        exists, index = await self._indexes.live(collection_id)
        if not exists:
            raise not_found(collection_id)
        if index is None:
            message = "The collection has not been finetuned yet. Its images have no vectors before that."
            raise FailedPrecondition(message, code="not_finetuned")
        vector = await self._vector(index, image_id)
        answer = {
            "image_id": image_id,
            "index_id": index.id,
            "backbone": {"checksum": index.backbone},
            "dimension": len(vector),
            "vector": [round(float(number), 7) for number in vector],
        }
        return data(answer, warnings=parameters.unknown_parameters(request.query))

    async def _vector(self, index: Index, image_id: int) -> Vector:
        found = await self._vectors.read(index.qdrant_collection, [image_id], index.tuned_vector)
        if image_id in found:
            return found[image_id]
        # Images with equal vectors share the point of the first of them.
        points = await self._images.points_of_equal(index, [image_id])
        others = (
            await self._vectors.read(index.qdrant_collection, list(points.values()), index.tuned_vector)
            if points
            else {}
        )
        if others:
            return next(iter(others.values()))
        if not await self._images.in_newest_content(index.collection_id, [image_id]):
            raise image_states.not_found([image_id])
        message = (
            f"The image {image_id} is not in the index that search uses: failed, or added after the last finetune."
        )
        raise FailedPrecondition(message, code="image_not_indexed")
