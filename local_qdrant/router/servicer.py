"""Qdrant's gRPC services: parses requests, passes them on, and answers with Qdrant's messages and status codes.

gRPC itself answers UNIMPLEMENTED to every call that is not registered here.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from importlib import metadata
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from local_qdrant.protocol.status import Code, StatusError, exhausted, invalid
from local_qdrant.protocol.support import refuse_unsupported
from local_qdrant.protocol.wire import Operation
from local_qdrant.router.placement import Placement
from local_qdrant.router.registry import Registry
from servicekit.limits import ByteBudget
from servicekit.qdrant_api import collections_pb2, points_pb2, qdrant_pb2
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

STATUS = {code.value[0]: code for code in grpc.StatusCode}
# An upsert has many points. The engine process checks them, to keep the router's event loop free.
CHECKED_BY_ENGINE = frozenset({"points"})

# Takes a serialized request and returns a serialized response. Raises `StatusError`.
Handler = Callable[[bytes], Awaitable[bytes]]

PointsRequest = (
    points_pb2.UpsertPoints
    | points_pb2.DeletePoints
    | points_pb2.QueryPoints
    | points_pb2.GetPoints
    | points_pb2.ScrollPoints
    | points_pb2.CountPoints
)
Parsed = TypeVar("Parsed", bound=Message)


class QdrantServicer:
    """The supported calls."""

    def __init__(self, registry: Registry, placement: Placement, pending_bytes: int) -> None:
        """pending_bytes: how many bytes of requests may run or wait in all."""
        self._registry = registry
        self._placement = placement
        self._pending = ByteBudget(pending_bytes, refusal=_too_many_requests)
        self._version = metadata.version("qdrant-edge-py")

    def services(self) -> dict[str, dict[str, Handler]]:
        """Return the handlers by service and method."""
        return {
            "qdrant.Qdrant": {"HealthCheck": self.health_check},
            "qdrant.Collections": {
                "Create": self.create,
                "Delete": self.delete,
                "List": self.list_all,
                "CollectionExists": self.exists,
                "Get": self.info,
            },
            "qdrant.Points": {
                "Upsert": self._points(Operation.UPSERT, points_pb2.UpsertPoints, write=True),
                "Delete": self._points(Operation.DELETE, points_pb2.DeletePoints, write=True),
                "Query": self._points(Operation.QUERY, points_pb2.QueryPoints),
                "Get": self._points(Operation.GET, points_pb2.GetPoints),
                "Scroll": self._points(Operation.SCROLL, points_pb2.ScrollPoints),
                "Count": self._points(Operation.COUNT, points_pb2.CountPoints),
            },
        }

    async def health_check(self, body: bytes) -> bytes:
        """Answer Qdrant's own health check with our title and version."""
        _parse(qdrant_pb2.HealthCheckRequest, body)
        reply = qdrant_pb2.HealthCheckReply(title="qdrant - one-machine engine", version=self._version)
        return reply.SerializeToString()

    async def create(self, body: bytes) -> bytes:
        """Create a collection."""
        started = time.perf_counter()
        request = _parse(collections_pb2.CreateCollection, body)
        async with _deadline(request.timeout):
            await self._registry.create(request)
        return _operated(True, started)

    async def delete(self, body: bytes) -> bytes:
        """Delete a collection. The result says whether it existed."""
        started = time.perf_counter()
        request = _parse(collections_pb2.DeleteCollection, body)
        async with _deadline(request.timeout):
            return _operated(await self._registry.delete(request.collection_name), started)

    async def list_all(self, body: bytes) -> bytes:
        """Return the names of all collections."""
        started = time.perf_counter()
        _parse(collections_pb2.ListCollectionsRequest, body)
        response = collections_pb2.ListCollectionsResponse()
        for name in self._registry.names():
            response.collections.add(name=name)
        response.time = time.perf_counter() - started
        return response.SerializeToString()

    async def exists(self, body: bytes) -> bytes:
        """Return whether a collection exists."""
        started = time.perf_counter()
        request = _parse(collections_pb2.CollectionExistsRequest, body)
        exists = self._registry.find(request.collection_name) is not None
        return collections_pb2.CollectionExistsResponse(
            result=collections_pb2.CollectionExists(exists=exists), time=time.perf_counter() - started
        ).SerializeToString()

    async def info(self, body: bytes) -> bytes:
        """Return a collection's status, counts and configuration from the router's state, without asking a writer."""
        started = time.perf_counter()
        request = _parse(collections_pb2.GetCollectionInfoRequest, body)
        collection = self._registry.get(request.collection_name)
        if collection.settled and not collection.counted and not collection.damage:
            try:
                await self._placement.read(collection, Operation.LOAD)
            except StatusError as error:
                if error.code is not Code.DATA_LOSS:
                    raise
        return collections_pb2.GetCollectionInfoResponse(
            result=collection.info(), time=time.perf_counter() - started
        ).SerializeToString()

    def _points(
        self,
        operation: Operation,
        kind: type[PointsRequest],
        *,
        write: bool = False,
    ) -> Handler:
        call = self._placement.write if write else self._placement.read

        async def handle(body: bytes) -> bytes:
            request = _parse(kind, body, skip=CHECKED_BY_ENGINE)
            collection = self._registry.get(request.collection_name)
            with self._pending.account() as account:
                account.take(len(body))
                async with _deadline(request.timeout):
                    return (await call(collection, operation, body)).payload

        return handle


def _too_many_requests() -> StatusError:
    return exhausted("Too many requests are pending; try again later")


def add_services(server: grpc.aio.Server, services: dict[str, dict[str, Handler]]) -> None:
    """Register handlers that take and return serialized messages."""
    for service, methods in services.items():
        handlers = {
            method: grpc.unary_unary_rpc_method_handler(_answering(f"{service}/{method}", handler))
            for method, handler in methods.items()
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))


def _answering(call: str, handler: Handler) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def answer(body: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        try:
            return await handler(body)
        except StatusError as error:
            code, message = error.code, error.message
        except TimeoutError:
            code, message = Code.DEADLINE_EXCEEDED, "Timeout: the operation did not finish in time"
        except Exception:
            log.exception("call_failed", call=call)
            code, message = Code.INTERNAL, "Service internal error"
        await context.abort(STATUS[code], message)
        raise AssertionError("abort raises")

    return answer


def _parse(kind: type[Parsed], body: bytes, skip: frozenset[str] = frozenset()) -> Parsed:
    request = kind()
    try:
        request.ParseFromString(body)
    except DecodeError as error:
        raise invalid("the request is not a valid protobuf message") from error
    refuse_unsupported(request, skip)
    return request


def _deadline(seconds: int) -> asyncio.Timeout:
    return asyncio.timeout(seconds or None)


def _operated(result: bool, started: float) -> bytes:
    return collections_pb2.CollectionOperationResponse(
        result=result, time=time.perf_counter() - started
    ).SerializeToString()
