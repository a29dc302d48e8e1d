"""The vectors that a search compares: images in the tuned space of an index, and texts in that of the backbone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from catalog.indexed_images import IndexedImages
from catalog.indexes import Index
from catalog.vectors.client import VectorsMissing
from catalog.vectors.generations import SHARED, Generations
from catalog.vectors.projection import Projection, normalised
from gateway.metrics import GatewayMetrics
from gateway.search.adapter_cache import AdapterCache
from gateway.search.concurrency import concurrently
from gateway.search.example_downloads import ExampleDownloads
from gateway.search.index.held_vectors import HeldVectors
from gateway.search.question import Example
from gateway.upstreams.embedder import EmbeddedText, Embedder
from servicekit.errors import FailedPrecondition, InvalidRequest
from servicekit.image_region import Region
from servicekit.limits import ByteAccount

Vector = npt.NDArray[np.float32]
# How many images of one search are embedded at a time.
EMBEDDED_AT_ONCE = 4
# Weighted examples whose sum is shorter say nothing.
SHORTEST_SUM = 1e-4


@dataclass(frozen=True)
class QueryPart:
    """The examples of a question that are compared in one space.

    vector: a unit vector [dim]. space: the name of the generation's vectors that it is compared with. weight: of this
    part among others; negative: results should be less like it.
    """

    vector: Vector
    space: str
    weight: float


class Scale(Protocol):
    """What the scores of a query mean."""

    def percentile(self, score: float) -> float: ...


@dataclass(frozen=True)
class QueryVector:
    """A query, of at least one part.

    images, text: the parts; None if no image or no text asks. typicality: of the only image that was embedded
    (`Projection.typicality`); None if the query is anything else, or without an adapter. scale: of the scores, once it
    is known; None: that of the index.
    """

    images: QueryPart | None
    text: QueryPart | None = None
    typicality: float | None = None
    scale: Scale | None = None

    @property
    def alone(self) -> QueryPart:
        """The only part."""
        part = self.text if self.images is None else self.images
        if part is None or (self.text and self.images):
            raise ValueError("the query does not have exactly one part")
        return part


class BaseVectors:
    """The backbone's vectors of examples whose vectors the index lacks. Each is computed once for each backbone."""

    def __init__(
        self,
        embedder: Embedder,
        metrics: GatewayMetrics,
        images: Sequence[tuple[bytes, Region | None]],
        texts: Sequence[str] = (),
    ) -> None:
        """images: of these examples, each with the part that counts. texts: of the others."""
        self._embedder = embedder
        self._metrics = metrics
        self._images = images
        self._texts = texts
        self._known: dict[str, list[Vector]] = {}
        self._known_texts: dict[str, list[EmbeddedText]] = {}

    def size_to_embed(self, backbone: str) -> int:
        """Return how much there is to compute for a backbone, as the binary logarithm of the bytes of all images."""
        return 0 if backbone in self._known else sum(len(image) for image, _ in self._images).bit_length()

    async def of(self, backbone: str) -> list[Vector]:
        """Return the vectors [dim] of these examples, in their order.

        Raises InvalidRequest for an image that cannot be read, FailedPrecondition (backbone_changed), and the errors of
        the embedder.
        """
        if backbone not in self._known:
            with self._metrics.search_stage("embed"):
                calls = (partial(self._embed, image, region, backbone) for image, region in self._images)
                self._known[backbone] = await concurrently(calls, at_once=EMBEDDED_AT_ONCE)
        return self._known[backbone]

    async def compute(self, backbone: str) -> None:
        """Compute all vectors of one backbone. Raises as `of` and `of_texts`."""
        await self.of(backbone)
        await self.of_texts(backbone)

    async def of_texts(self, backbone: str) -> list[Vector]:
        """Return the vectors [dim] of the texts. Raises FailedPrecondition (text_not_supported) and as `of`."""
        if backbone not in self._known_texts:
            with self._metrics.search_stage("embed"):
                calls = (partial(self._embed_text, text, backbone) for text in self._texts)
                self._known_texts[backbone] = await concurrently(calls, at_once=EMBEDDED_AT_ONCE)
        return [text.vector for text in self._known_texts[backbone]]

    @property
    def warnings(self) -> list[str]:
        """Sentences about texts that are too long for the backbone."""
        sentences = [
            f"A text has {len(text)} characters. The backbone reads only the first {embedded.read_characters} of them."
            for known in self._known_texts.values()
            for text, embedded in zip(self._texts, known, strict=True)
            if embedded.is_truncated
        ]
        return list(dict.fromkeys(sentences))

    async def _embed_text(self, text: str, backbone: str) -> EmbeddedText:
        try:
            return await self._embedder.embed_text(text, backbone)
        except FailedPrecondition as error:
            if error.code == "text_not_supported":
                raise text_not_supported() from error
            raise _backbone_changed(error) from error

    async def _embed(self, image: bytes, region: Region | None, backbone: str) -> Vector:
        try:
            return await self._embedder.embed(image, backbone, region)
        except FailedPrecondition as error:
            raise _backbone_changed(error) from error


class QueryVectors:
    """Make query vectors. Every method also raises the errors of the parts that it calls."""

    def __init__(
        self,
        *,
        embedder: Embedder,
        adapters: AdapterCache,
        vectors: Generations,
        held: HeldVectors,
        images: IndexedImages,
        downloads: ExampleDownloads,
        metrics: GatewayMetrics,
    ) -> None:
        self._embedder = embedder
        self._adapters = adapters
        self._vectors = vectors
        self._held = held
        self._images = images
        self._downloads = downloads
        self._metrics = metrics

    async def base_vectors(self, index: Index, examples: Sequence[Example], memory: ByteAccount) -> BaseVectors:
        """Download the images that examples name, and return the vectors of the backbone, before any is computed.

        memory: takes the downloaded images. Raises FailedPrecondition (text_not_supported, image_not_indexed) and
        InvalidRequest (image_not_found), and what `ExampleDownloads.files` raises.
        """
        texts = [example.text for example in examples if example.text is not None]
        if texts and (served := await self._embedder.served()) is not None and not served.text:
            raise text_not_supported()
        files = await self._downloads.files(await self._urls(index, examples), memory)
        named = zip(examples, files, strict=True)
        images = [(image, each.region) for each, file in named if (image := each.image or file) is not None]
        return BaseVectors(self._embedder, self._metrics, images, texts)

    async def combined(self, index: Index, examples: Sequence[Example], base: BaseVectors) -> QueryVector:
        """Return the query of examples: the weighted sum of the unit vectors of images, and that of texts.

        base: of the same examples. Raises InvalidRequest (image_not_found, examples_cancel_out) and FailedPrecondition
        (image_not_indexed, text_not_indexed), and what `BaseVectors.of` and `BaseVectors.of_texts` raise.
        """
        texts = [example for example in examples if example.text is not None]
        text = await self._text(index, texts, base) if texts else None
        images = [example for example in examples if example.text is None]
        if not images:
            return QueryVector(None, text)
        part, typicality = await self._image_part(index, images, base)
        return QueryVector(part, text, None if texts else typicality)

    async def _text(self, index: Index, examples: Sequence[Example], base: BaseVectors) -> QueryPart:
        if index.shared_dim is None:
            served = await self._embedder.served()
            raise _backbone_changed() if served and served.checksum != index.backbone else text_not_indexed()
        vectors = list(normalised(np.stack(await base.of_texts(index.backbone))))
        return combined(vectors, [example.weight for example in examples], SHARED)

    async def _image_part(
        self, index: Index, examples: Sequence[Example], base: BaseVectors
    ) -> tuple[QueryPart, float | None]:
        """Return the part of images, and the typicality of the only one if it was embedded."""
        adapter = await self._adapter(index)
        ids = [example.stored_id for example in examples if example.stored_id is not None]
        indexed = await self._indexed(index, ids) if ids else {}
        embedded = await base.of(index.backbone) if len(ids) < len(examples) else []
        tuned = iter(_tuned(adapter, embedded))
        parts = [next(tuned) if each.stored_id is None else indexed[each.stored_id] for each in examples]
        part = combined(parts, [example.weight for example in examples], index.tuned_vector)
        if len(examples) > 1 or adapter is None or not embedded:
            return part, None
        return part, adapter.typicality(embedded[0])

    async def _urls(self, index: Index, examples: Sequence[Example]) -> list[str | None]:
        """Return the URL to download each example from; None: there is nothing to download."""
        # The index has the vectors of whole images only.
        ids = [None if each.region is None else each.image_id for each in examples]
        wanted = [identifier for identifier in ids if identifier is not None]
        urls = await self._images.urls(index, wanted) if wanted else {}
        if missing := [identifier for identifier in wanted if identifier not in urls]:
            await self._refuse(index, missing)
        return [
            each.image_url if identifier is None else urls[identifier]
            for each, identifier in zip(examples, ids, strict=True)
        ]

    async def _indexed(self, index: Index, ids: Sequence[int]) -> dict[int, Vector]:
        """Return the tuned vectors of images, by their ids."""
        with self._metrics.search_stage("vectors"):
            found = await self._read(index, ids)
            if missing := [identifier for identifier in ids if identifier not in found]:
                points = await self._images.points_of_equal(index, missing)
                others = await self._read(index, list(set(points.values())))
                found |= {image: others[point] for image, point in points.items() if point in others}
            if missing := [identifier for identifier in ids if identifier not in found]:
                await self._refuse(index, missing)
        return found

    async def _read(self, index: Index, ids: Sequence[int]) -> dict[int, Vector]:
        if not ids:
            return {}
        held = self._held.get(index.qdrant_collection, index.tuned_vector)
        if held is not None:
            return held.of(ids)
        return await self._vectors.read(index.qdrant_collection, ids, index.tuned_vector)

    async def _refuse(self, index: Index, ids: Sequence[int]) -> None:
        """Raise the error for images without a vector in the index."""
        present = await self._images.in_newest_content(index.collection_id, ids)
        for identifier in ids:
            if identifier not in present:
                message = f"The collection has no image with the id {identifier}."
                raise InvalidRequest(message, code="image_not_found")
        raise not_indexed(f"The image {ids[0]} is")

    async def _adapter(self, index: Index) -> Projection | None:
        """Return the index's adapter; None if its vectors are those of the backbone."""
        if index.adapter_id is None:
            return None
        adapter = await self._adapters.get(index.collection_id, index.adapter_id)
        if adapter is None:
            raise VectorsMissing("The index has lost its adapter. Finetune the collection again.")
        return adapter


def not_indexed(subject: str) -> FailedPrecondition:
    """Return the error for images of the collection without a vector. subject: such as "The image 5 is"."""
    message = f"{subject} not in the index that search uses: failed, or added after the last finetune."
    return FailedPrecondition(message, code="image_not_indexed")


def text_not_supported() -> FailedPrecondition:
    """Return the error for a backbone without a text tower."""
    message = (
        "The backbone of this installation cannot compare text with images. Search by an image, or ask the operator to "
        "set SIMILIS_BACKBONE to a backbone with a text tower: a CLIP, SigLIP, SigLIP 2 or TIPSv2 model, with its "
        "tokenizer.json."
    )
    return FailedPrecondition(message, code="text_not_supported")


def text_not_indexed() -> FailedPrecondition:
    """Return the error for an index from before the backbone embedded texts."""
    message = (
        "The index of the collection was made before texts could be searched for. Finetune the collection again with "
        "force=true. No image is downloaded again for that."
    )
    return FailedPrecondition(message, code="text_not_indexed")


def _backbone_changed(error: FailedPrecondition | None = None) -> FailedPrecondition:
    """Return the error of the embedder as clients get it: its own, unless it is about the backbone."""
    if error is not None and error.code != "backbone_changed":
        return error
    message = "The collection was finetuned with a different backbone. Finetune it again before searching."
    return FailedPrecondition(message, code="backbone_changed")


def combined(vectors: Sequence[Vector], weights: Sequence[float], space: str) -> QueryPart:
    """Return the part that unit vectors of one space make. Raises InvalidRequest, examples_cancel_out.

    If none of the weights is positive, the part as a whole is negative.
    """
    positive = sum(weight for weight in weights if weight > 0)
    if not positive:
        weights = [-weight for weight in weights]
    vector = vectors[0] if len(vectors) == 1 else weighted(vectors, weights)
    return QueryPart(vector, space, positive or -sum(weights))


def weighted(vectors: Sequence[Vector], weights: Sequence[float]) -> Vector:
    """Return the unit vector [dim] in the direction of the weighted sum of unit vectors.

    Raises InvalidRequest, examples_cancel_out, if the sum is zero.
    """
    total: Vector = np.array(weights, dtype=np.float32) @ np.stack(vectors)
    if np.linalg.norm(total) < SHORTEST_SUM:
        message = "The examples cancel each other out. Change their weights, or leave some of them out."
        raise InvalidRequest(message, code="examples_cancel_out")
    unit: Vector = normalised(total[np.newaxis])[0]
    return unit


def _tuned(adapter: Projection | None, vectors: Sequence[Vector]) -> Vector:
    """Return vectors of the backbone as unit vectors [n, dim] of the tuned space."""
    if not vectors:
        return np.zeros((0, 0), np.float32)
    base = np.stack(vectors)
    return normalised(base) if adapter is None else adapter.apply(base)
