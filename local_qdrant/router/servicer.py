"""Qdrant's gRPC services: requests are parsed, handed on, and answered or refused with Qdrant's status codes.

Calls that are not here are UNIMPLEMENTED, by gRPC itself.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from importlib import metadata
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from local_qdrant.protocol.messages import collections_pb2, points_pb2, qdrant_pb2
from local_qdrant.protocol.status import Code, StatusError, exhausted, invalid
from local_qdrant.protocol.support import refuse_unsupported
from local_qdrant.protocol.wire import Operation
from local_qdrant.router.holders import Holders
from local_qdrant.router.registry import Registry
from servicekit.limits import ByteBudget
from servicekit.telemetry.logs import get_logger

_log = get_logger(__name__)
_STATUS = {code.value[0]: code for code in grpc.StatusCode}
_NO_DEEP_CHECK = frozenset({"points"})
"""The points of an upsert are many: the engine process checks them, off the router's event loop."""

Handler = Callable[[bytes], Awaitable[bytes]]
"""A serialized request in, a serialized response out; raises `StatusError`."""

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
    """The calls that are supported."""

    def __init__(self, registry: Registry, holders: Holders, under_way_bytes: int) -> None:
        """under_way_bytes: the size that all requests under way may have together."""
        self._registry = registry
        self._under_way = ByteBudget(under_way_bytes, refusal=_too_many_requests)
        self._holders = holders
        self._version = metadata.version("qdrant-edge-py")

    def services(self) -> dict[str, dict[str, Handler]]:
        """Handlers by service and method."""
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
        """Qdrant's own health check: who answers."""
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
        """Delete a collection; the result says whether there was one."""
        started = time.perf_counter()
        request = _parse(collections_pb2.DeleteCollection, body)
        async with _deadline(request.timeout):
            return _operated(await self._registry.delete(request.collection_name), started)

    async def list_all(self, body: bytes) -> bytes:
        """The names of all collections."""
        started = time.perf_counter()
        _parse(collections_pb2.ListCollectionsRequest, body)
        response = collections_pb2.ListCollectionsResponse()
        for name in self._registry.names():
            response.collections.add(name=name)
        response.time = time.perf_counter() - started
        return response.SerializeToString()

    async def exists(self, body: bytes) -> bytes:
        """Whether a collection exists."""
        started = time.perf_counter()
        request = _parse(collections_pb2.CollectionExistsRequest, body)
        exists = self._registry.find(request.collection_name) is not None
        return collections_pb2.CollectionExistsResponse(
            result=collections_pb2.CollectionExists(exists=exists), time=time.perf_counter() - started
        ).SerializeToString()

    async def info(self, body: bytes) -> bytes:
        """A collection's status, counts and configuration. Never waits for a busy writer: the router knows."""
        started = time.perf_counter()
        request = _parse(collections_pb2.GetCollectionInfoRequest, body)
        collection = self._registry.get(request.collection_name)
        if collection.settled and not collection.counted and not collection.damage:
            try:
                await self._holders.read(collection, Operation.LOAD)
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
        call = self._holders.write if write else self._holders.read

        async def handle(body: bytes) -> bytes:
            request = _parse(kind, body, skip=_NO_DEEP_CHECK)
            collection = self._registry.get(request.collection_name)
            with self._under_way.account() as account:
                account.take(len(body))
                async with _deadline(request.timeout):
                    return (await call(collection, operation, body)).payload

        return handle


def _too_many_requests() -> StatusError:
    return exhausted("Too many requests are under way; try again later")


def add_services(server: grpc.aio.Server, services: dict[str, dict[str, Handler]]) -> None:
    """Register handlers of serialized messages."""
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
            code, message = Code.DEADLINE_EXCEEDED, "Timeout error: the operation did not finish in time"
        except Exception:
            _log.exception("call_failed", call=call)
            code, message = Code.INTERNAL, "Service internal error"
        await context.abort(_STATUS[code], message)
        raise AssertionError("abort raises")

    return answer


def _parse(kind: type[Parsed], body: bytes, skip: frozenset[str] = frozenset()) -> Parsed:
    request = kind()
    try:
        request.ParseFromString(body)
    except DecodeError as error:
        raise invalid("the request is not a valid message") from error
    refuse_unsupported(request, skip)
    return request


def _deadline(seconds: int) -> asyncio.Timeout:
    return asyncio.timeout(seconds or None)


def _operated(result: bool, started: float) -> bytes:
    return collections_pb2.CollectionOperationResponse(
        result=result, time=time.perf_counter() - started
    ).SerializeToString()
