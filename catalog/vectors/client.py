"""The connection to Qdrant, and the mapping of its errors to service errors."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

import grpc
import numpy as np
import numpy.typing as npt

from catalog.settings import StoreSettings
from servicekit.connection_failure import ConnectionFailure, failure_in
from servicekit.errors import DeadlineExceeded, NoSpace, Overloaded, Unavailable
from servicekit.grpc.channel import open_foreign_channel
from servicekit.qdrant_api import (
    collections_pb2,
    collections_service_pb2_grpc,
    points_pb2,
    points_service_pb2_grpc,
    qdrant_common_pb2,
    qdrant_pb2,
    qdrant_pb2_grpc,
)
from servicekit.settings import read_authorities
from servicekit.telemetry.tracing import database_call

T = TypeVar("T")
Matrix = npt.NDArray[np.float32]
# The name of the vector of a collection whose points have a single one.
UNNAMED = ""
CALL_SECONDS = 60
# Calls that change nothing are sent again, to another node, when one is UNAVAILABLE.
READS = (
    *(("qdrant.Points", method) for method in ("Query", "Get", "Scroll", "Count")),
    *(("qdrant.Collections", method) for method in ("List", "Get", "CollectionExists")),
)


class VectorsMissing(Unavailable):
    """A Qdrant collection that a database row names does not exist."""

    default_code = "vectors_missing"


class VectorsDamaged(Unavailable):
    """The files of a Qdrant collection cannot be read."""

    default_code = "vectors_damaged"


@dataclass(frozen=True)
class QdrantAddress:
    """Where Qdrant's gRPC API is, and how to connect to it.

    target: as gRPC takes it. authorities: trusted certificate authorities, PEM; None: the public ones.
    """

    target: str
    tls: bool = False
    api_key: str | None = None
    authorities: bytes | None = None

    @classmethod
    def from_settings(cls, settings: StoreSettings) -> "QdrantAddress":
        """Return the address that a service is configured with. Raises SettingsError."""
        key = None if settings.qdrant_api_key is None else settings.qdrant_api_key.get_secret_value()
        ca_file = settings.qdrant_ca_file
        authorities = None if ca_file is None else read_authorities(ca_file, "QDRANT_CA_FILE")
        return cls(settings.qdrant_address, settings.qdrant_tls, key or None, authorities)


class Qdrant:
    """The calls of Qdrant's gRPC API that we use. Every method raises `grpc.aio.AioRpcError`; see `qdrant_errors`.

    Each call has a deadline of `CALL_SECONDS` unless it says otherwise.
    """

    def __init__(self, channel: grpc.aio.Channel, api_key: str | None) -> None:
        self._points = points_service_pb2_grpc.PointsStub(channel)
        self._collections = collections_service_pb2_grpc.CollectionsStub(channel)
        self._server = qdrant_pb2_grpc.QdrantStub(channel)
        self._metadata = () if api_key is None else (("api-key", api_key),)

    async def server(self) -> qdrant_pb2.HealthCheckReply:
        """Return the title and the version of the server. It needs no key."""
        return await self._call(self._server.HealthCheck, qdrant_pb2.HealthCheckRequest(), qdrant_pb2.HealthCheckReply)

    async def collection_names(self) -> list[str]:
        """Return the names of all collections."""
        request = collections_pb2.ListCollectionsRequest()
        answer = await self._call(self._collections.List, request, collections_pb2.ListCollectionsResponse)
        return [collection.name for collection in answer.collections]

    async def collection_exists(self, name: str) -> bool:
        """Return whether a collection exists."""
        request = collections_pb2.CollectionExistsRequest(collection_name=name)
        answer = await self._call(self._collections.CollectionExists, request, collections_pb2.CollectionExistsResponse)
        return answer.result.exists

    async def create_collection(self, request: collections_pb2.CreateCollection) -> None:
        """Create a collection."""
        await self._call(self._collections.Create, request, collections_pb2.CollectionOperationResponse)

    async def describe_collection(self, name: str) -> collections_pb2.CollectionInfo:
        """Return the state of a collection."""
        request = collections_pb2.GetCollectionInfoRequest(collection_name=name)
        answer = await self._call(self._collections.Get, request, collections_pb2.GetCollectionInfoResponse)
        return answer.result

    async def start_optimizer(self, name: str) -> None:
        """Change nothing about a collection, so that a server that was restarted optimizes it."""
        request = collections_pb2.UpdateCollection(
            collection_name=name, optimizers_config=collections_pb2.OptimizersConfigDiff()
        )
        await self._call(self._collections.Update, request, collections_pb2.CollectionOperationResponse)

    async def delete_collection(self, name: str) -> None:
        """Remove a collection. A missing one is not an error."""
        request = collections_pb2.DeleteCollection(collection_name=name)
        await self._call(self._collections.Delete, request, collections_pb2.CollectionOperationResponse)

    async def put_points(self, name: str, ids: Sequence[int], vectors: Matrix | Mapping[str, Matrix]) -> None:
        """Write one point for each id. They are durable when this returns.

        vectors: [n, dim], one for each point; or several such matrices, by the names of the vectors.
        """
        points = [
            points_pb2.PointStruct(id=qdrant_common_pb2.PointId(num=identifier), vectors=of_point)
            for identifier, of_point in zip(ids, _of_points(vectors), strict=True)
        ]
        await self.put_structs(name, points)

    async def put_structs(self, name: str, points: Iterable[points_pb2.PointStruct]) -> None:
        """Write points as they are. They are durable when this returns."""
        request = points_pb2.UpsertPoints(collection_name=name, wait=True, points=points)
        await self._call(self._points.Upsert, request, points_pb2.PointsOperationResponse)

    async def scroll_points(
        self,
        name: str,
        first: int | None,
        limit: int,
        *,
        vectors: bool | Sequence[str] = True,
        seconds: int = CALL_SECONDS,
    ) -> points_pb2.ScrollResponse:
        """Return a page of points, in the order of their ids. first: the id to begin with.

        vectors: with their vectors, or with those that have these names. seconds: the deadline.
        """
        request = points_pb2.ScrollPoints(
            collection_name=name,
            offset=None if first is None else qdrant_common_pb2.PointId(num=first),
            limit=limit,
            with_payload=points_pb2.WithPayloadSelector(enable=False),
            with_vectors=_with_vectors(vectors),
            timeout=seconds,
        )
        return await self._call(self._points.Scroll, request, points_pb2.ScrollResponse, seconds=seconds)

    async def get_points(
        self, name: str, ids: Sequence[int], *, vectors: bool | Sequence[str], seconds: int = CALL_SECONDS
    ) -> Sequence[points_pb2.RetrievedPoint]:
        """Return the points that exist, in any order. vectors: with their vectors, or with those that have these names.

        seconds: the deadline.
        """
        request = points_pb2.GetPoints(
            collection_name=name,
            ids=[qdrant_common_pb2.PointId(num=identifier) for identifier in ids],
            with_payload=points_pb2.WithPayloadSelector(enable=False),
            with_vectors=_with_vectors(vectors),
            timeout=seconds,
        )
        return (await self._call(self._points.Get, request, points_pb2.GetResponse, seconds=seconds)).result

    async def delete_points(self, name: str, ids: Sequence[int]) -> None:
        """Remove points. Missing ones are ignored."""
        listed = points_pb2.PointsIdsList(ids=[qdrant_common_pb2.PointId(num=identifier) for identifier in ids])
        request = points_pb2.DeletePoints(
            collection_name=name, wait=True, points=points_pb2.PointsSelector(points=listed)
        )
        await self._call(self._points.Delete, request, points_pb2.PointsOperationResponse)

    async def count_points(self, name: str) -> int:
        """Return the exact number of points of a collection."""
        request = points_pb2.CountPoints(collection_name=name, exact=True)
        return (await self._call(self._points.Count, request, points_pb2.CountResponse)).result.count

    async def query_points(self, request: points_pb2.QueryPoints) -> Sequence[points_pb2.ScoredPoint]:
        """Return the points that a query finds, best first. The request's `timeout` is the deadline."""
        answer = await self._call(self._points.Query, request, points_pb2.QueryResponse, seconds=request.timeout)
        return answer.result

    async def _call(
        self, method: Callable[..., Awaitable[object]], request: object, _: type[T], *, seconds: float = CALL_SECONDS
    ) -> T:
        return cast("T", await method(request, timeout=seconds, metadata=self._metadata))


def vector_of(output: points_pb2.VectorsOutput, name: str = UNNAMED) -> Sequence[float]:
    """Return the values of a point's vector with this name, or of its only one."""
    vector = output.vector if name == UNNAMED else output.vectors.vectors[name]
    # Older servers fill only `data`.
    return vector.dense.data or vector.data


def _of_points(vectors: Matrix | Mapping[str, Matrix]) -> Iterator[points_pb2.Vectors]:
    """Yield what `put_points` writes of each row."""
    if isinstance(vectors, np.ndarray):
        return (points_pb2.Vectors(vector=_dense(row)) for row in vectors.tolist())
    rows = zip(*(matrix.tolist() for matrix in vectors.values()), strict=True)
    named = (dict(zip(vectors, map(_dense, row), strict=True)) for row in rows)
    return (points_pb2.Vectors(vectors=points_pb2.NamedVectors(vectors=of_point)) for of_point in named)


def _dense(values: Sequence[float]) -> points_pb2.Vector:
    return points_pb2.Vector(dense=points_pb2.DenseVector(data=values))


def _with_vectors(wanted: bool | Sequence[str]) -> points_pb2.WithVectorsSelector:
    if isinstance(wanted, bool):
        return points_pb2.WithVectorsSelector(enable=wanted)
    return points_pb2.WithVectorsSelector(include=points_pb2.VectorsSelector(names=wanted))


@asynccontextmanager
async def open_qdrant(address: QdrantAddress) -> AsyncIterator[Qdrant]:
    """Open a connection while entered. It connects on first use."""
    credentials = grpc.ssl_channel_credentials(address.authorities) if address.tls else None
    async with open_foreign_channel(address.target, idempotent=READS, credentials=credentials) as channel:
        yield Qdrant(channel, address.api_key)


@contextmanager
def traced(operation: str) -> Iterator[None]:
    """Add a call to the current trace: its operation and duration, never its content."""
    began, failure = time.perf_counter(), None
    try:
        yield
    except BaseException as error:
        failure = type(error).__name__
        raise
    finally:
        attributes = {"db.system.name": "qdrant", "db.operation.name": operation}
        database_call(f"qdrant {operation}", attributes, time.perf_counter() - began, failure)


@contextmanager
def qdrant_errors() -> Iterator[None]:
    """Map the errors of Qdrant's calls to Unavailable, DeadlineExceeded, NoSpace and Overloaded.

    VectorsMissing and VectorsDamaged are kinds of Unavailable that do not pass.
    """
    try:
        yield
    except grpc.aio.AioRpcError as error:
        status, details = error.code(), error.details() or ""
        if status is grpc.StatusCode.NOT_FOUND:
            raise VectorsMissing("The vectors of this index are missing.") from error
        if status is grpc.StatusCode.DEADLINE_EXCEEDED:
            raise DeadlineExceeded("The vector store did not respond in time.") from error
        if status is grpc.StatusCode.DATA_LOSS:
            raise VectorsDamaged("Vectors on disk are damaged.") from error
        if status is grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise _exhausted(details) from error
        if status in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            raise _key_refused(status) from error
        if status is grpc.StatusCode.UNAVAILABLE and (failure := failure_in(details)) is not None:
            raise _cannot_connect(failure) from error
        if status in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL):
            raise Unavailable("The vector store is not available.", code="qdrant_unavailable") from error
        raise


def _key_refused(status: grpc.StatusCode) -> Unavailable:
    if status is grpc.StatusCode.UNAUTHENTICATED:
        message = "The vector store refused the API key: SIMILIS_QDRANT_API_KEY is missing or wrong."
    else:
        message = (
            "The vector store refused the API key: the key in SIMILIS_QDRANT_API_KEY lacks a permission or is wrong."
        )
    return Unavailable(message, code="qdrant_key_refused")


def _cannot_connect(failure: ConnectionFailure) -> Unavailable:
    if failure.is_tls:
        settings = "See SIMILIS_QDRANT_TLS and SIMILIS_QDRANT_CA_FILE."
        message = f"The TLS connection to the vector store failed: {failure.value}. {settings}"
        return Unavailable(message, code="qdrant_tls_failed")
    message = (
        f"The server at SIMILIS_QDRANT_ADDRESS is not Qdrant's gRPC API: {failure.value}. Use its gRPC port, 6334."
    )
    return Unavailable(message, code="qdrant_unavailable")


def _exhausted(details: str) -> NoSpace | Overloaded:
    if "disk" in details.lower() or "space" in details.lower():
        return NoSpace("The vector store's disk is full.")
    return Overloaded("The vector store is overloaded.")
