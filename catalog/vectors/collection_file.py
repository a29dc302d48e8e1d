"""Qdrant collections in files, for backups: a sequence of length-prefixed messages of Qdrant's own API."""

from collections.abc import AsyncIterator
from io import BytesIO
from typing import BinaryIO, cast

from google.protobuf.proto import parse_length_prefixed, serialize_length_prefixed

from catalog.vectors.client import Qdrant, qdrant_errors
from servicekit.qdrant_api import collections_pb2, points_pb2

# Of the vectors in one message. gRPC refuses messages above 4 MiB.
MESSAGE_BYTES = 2 << 20
MOST_POINTS = 1024


async def write_collection(client: Qdrant, name: str, file: BinaryIO, *, last: int | None = None) -> int:
    """Write a collection to a file and return the number of its points.

    last: the greatest id that is written. Points that are added meanwhile may be missing. Raises as `qdrant_errors`.
    """
    written, stream = 0, _stream(file)
    with qdrant_errors():
        info = await client.describe_collection(name)
        serialize_length_prefixed(_creation(name, info), stream)
        async for points in _pages(client, name, _page_size(info), last):
            serialize_length_prefixed(points_pb2.UpsertPoints(points=points), stream)
            written += len(points)
    return written


async def read_collection(client: Qdrant, file: BinaryIO) -> int:
    """Create the collection that a file holds and return the number of its points. They are durable then.

    Raises ValueError or DecodeError if the file is damaged, and as `qdrant_errors`.
    """
    stream = _stream(file)
    creation = parse_length_prefixed(collections_pb2.CreateCollection, stream)
    if creation is None:
        raise ValueError("the file is empty")
    read = 0
    with qdrant_errors():
        await client.create_collection(creation)
        while (request := parse_length_prefixed(points_pb2.UpsertPoints, stream)) is not None:
            await client.put_structs(creation.collection_name, request.points)
            read += len(request.points)
    return read


def _stream(file: BinaryIO) -> BytesIO:
    # The annotations of protobuf ask for more than it uses.
    return cast("BytesIO", file)


def _creation(name: str, info: collections_pb2.CollectionInfo) -> collections_pb2.CreateCollection:
    """Return the request that creates a collection of the same kind, as we create ours."""
    creation = collections_pb2.CreateCollection(collection_name=name, vectors_config=info.config.params.vectors_config)
    if info.config.HasField("quantization_config"):
        creation.quantization_config.CopyFrom(info.config.quantization_config)
    optimizer = info.config.optimizer_config
    if optimizer.HasField("indexing_threshold") and optimizer.indexing_threshold == 0:
        creation.optimizers_config.indexing_threshold = 0
    return creation


def _page_size(info: collections_pb2.CollectionInfo) -> int:
    config = info.config.params.vectors_config
    sizes = [config.params.size, *(params.size for params in config.params_map.map.values())]
    return max(1, min(MOST_POINTS, MESSAGE_BYTES // (4 * max(sum(sizes), 1))))


async def _pages(client: Qdrant, name: str, size: int, last: int | None) -> AsyncIterator[list[points_pb2.PointStruct]]:
    """Yield the points of a collection in the order of their ids, up to the id `last`."""
    first: int | None = None
    while True:
        page = await client.scroll_points(name, first, size)
        points = [_as_written(point) for point in page.result if last is None or point.id.num <= last]
        if points:
            yield points
        if len(points) < len(page.result) or not page.HasField("next_page_offset"):
            return
        first = page.next_page_offset.num


def _as_written(point: points_pb2.RetrievedPoint) -> points_pb2.PointStruct:
    """Return the request that writes a point as it was read."""
    vectors = points_pb2.Vectors()
    if point.vectors.HasField("vectors"):
        for name, output in point.vectors.vectors.vectors.items():
            vectors.vectors.vectors[name].dense.data.extend(output.dense.data or output.data)
    else:
        output = point.vectors.vector
        vectors.vector.dense.data.extend(output.dense.data or output.data)
    return points_pb2.PointStruct(id=point.id, vectors=vectors)
