# ruff: noqa: ARG002, N802 - the protocol defines these names and arguments
"""The server and its interceptor, over real connections, with the embedder's protocol as an example."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry
from similis.embedder.v1 import embedder_pb2 as pb
from similis.embedder.v1 import embedder_pb2_grpc

from servicekit import errors
from servicekit.grpc.channel import call_metadata, open_channel
from servicekit.grpc.interceptor import Context, ServiceInterceptor
from servicekit.grpc.server import MAX_MESSAGE_BYTES, RunningServer, ServerPlan, grpc_server
from servicekit.grpc.status import STATUS_OF, from_rpc_error
from servicekit.request_context import remaining, request_id, request_scope
from servicekit.telemetry.metrics import RpcServerMetrics
from tests.eventually import eventually

SERVICE = "similis.embedder.v1.EmbedderService"
PINGS = 20
GOAWAY, PING_ANSWER = 7, bytes((6, 1))


class Example(embedder_pb2_grpc.EmbedderServiceServicer):
    """A service that raises `error` if it is set, and records what its handlers see."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.calls = 0
        self.remaining = 0.0
        self.left = asyncio.Event()
        self.started = asyncio.Event()

    async def Describe(self, request: pb.DescribeRequest, context: Any) -> pb.DescribeResponse:
        self.calls += 1
        if self.error:
            raise self.error
        self.remaining = remaining(1000.0)
        return pb.DescribeResponse(backbone=request_id())

    async def Embed(self, request: pb.EmbedRequest, context: Any) -> pb.EmbedResponse:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()
        raise AssertionError

    async def EmbedText(self, request: pb.EmbedTextRequest, context: Any) -> pb.EmbedTextResponse:
        raise NotImplementedError

    async def EmbedStream(
        self, request_iterator: AsyncIterator[pb.EmbedStreamRequest], context: Any
    ) -> AsyncIterator[pb.EmbedStreamResponse]:
        try:
            async for request in request_iterator:
                if self.error:
                    raise self.error
                self.started.set()
                while request.image == b"forever":
                    yield pb.EmbedStreamResponse(item_id=request.item_id, embedding=pb.Embedding(vector=bytes(100_000)))
                yield pb.EmbedStreamResponse(item_id=request.item_id)
        finally:
            self.left.set()


@asynccontextmanager
async def serving(
    example: Example, max_message_bytes: int = MAX_MESSAGE_BYTES
) -> AsyncIterator[tuple[RunningServer, grpc.aio.Channel, CollectorRegistry]]:
    registry = CollectorRegistry()
    async with (
        grpc_server(
            ServerPlan("127.0.0.1:0", grace_seconds=5, max_message_bytes=max_message_bytes),
            services=[SERVICE],
            register=lambda server: embedder_pb2_grpc.add_EmbedderServiceServicer_to_server(example, server),
            metrics=RpcServerMetrics(registry),
        ) as running,
        open_channel(f"127.0.0.1:{running.port}") as channel,
    ):
        yield running, channel, registry


async def wait_for_one_call(registry: CollectorRegistry, method: str, status: str) -> None:
    """Wait until one such call is counted, which happens after the caller has the answer."""
    labels = {"rpc_service": SERVICE, "rpc_method": method, "rpc_grpc_status_code": status}
    await eventually(lambda: registry.get_sample_value("rpc_server_duration_seconds_count", labels) == 1)


@pytest.mark.parametrize("kind", STATUS_OF, ids=lambda kind: kind.__name__)
async def test_a_service_error_keeps_its_class_code_and_delay(kind: type[errors.ServiceError]) -> None:
    example = Example()
    example.error = kind("What went wrong.", code="example_code", retry_after=3.0)
    async with serving(example) as (_, channel, registry):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await embedder_pb2_grpc.EmbedderServiceStub(channel).Describe(pb.DescribeRequest())
        assert refused.value.code() is STATUS_OF[kind]
        await wait_for_one_call(registry, "Describe", STATUS_OF[kind].name)
        error = from_rpc_error(refused.value, upstream="embedder")
    assert type(error) is kind
    assert error.code == "example_code"
    assert error.retry_after == (None if kind is errors.DeadlineExceeded else 3.0)


async def test_a_server_receives_messages_up_to_its_limit_and_refuses_larger_ones_clearly() -> None:
    async def images() -> AsyncIterator[pb.EmbedStreamRequest]:
        yield pb.EmbedStreamRequest(item_id=1, image=bytes(MAX_MESSAGE_BYTES + 1))

    async with serving(Example(), 2 * MAX_MESSAGE_BYTES) as (_, channel, _registry):
        stream = embedder_pb2_grpc.EmbedderServiceStub(channel).EmbedStream(images())
        assert [response.item_id async for response in stream] == [1]
    async with serving(Example()) as (_, channel, _registry):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await anext(aiter(embedder_pb2_grpc.EmbedderServiceStub(channel).EmbedStream(images())))
        error = from_rpc_error(refused.value, upstream="embedder")
    assert (type(error), error.code) == (errors.TooLarge, "too_large")


async def test_an_error_of_a_subclass_arrives_as_its_base_class() -> None:
    class VectorsUnavailable(errors.Unavailable):
        default_code = "vectors_unavailable"

    example = Example()
    example.error = VectorsUnavailable("Later.")
    async with serving(example) as (_, channel, _registry):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await embedder_pb2_grpc.EmbedderServiceStub(channel).Describe(pb.DescribeRequest())
        error = from_rpc_error(refused.value, upstream="embedder")
    assert (type(error), error.code, error.retry_after) == (errors.Unavailable, "vectors_unavailable", 2.0)


async def test_a_channel_retries_an_unavailable_service_but_not_if_its_own_upstream_failed() -> None:
    example = Example()
    async with (
        serving(example) as (running, _, _registry),
        open_channel(f"127.0.0.1:{running.port}", idempotent=((SERVICE, "Describe"),)) as channel,
    ):
        stub = embedder_pb2_grpc.EmbedderServiceStub(channel)
        for error, retried in ((errors.UpstreamFailed("failed"), False), (errors.Unavailable("unavailable"), True)):
            example.error, example.calls = error, 0
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.Describe(pb.DescribeRequest())
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert type(from_rpc_error(refused.value, upstream="embedder")) is type(error)
            assert (example.calls > 1) is retried


@pytest.mark.parametrize("trailers", [(), (("grpc-status-details-bin", b"\xff not a message"),)])
async def test_a_status_from_a_proxy_means_that_the_upstream_is_unavailable(
    trailers: tuple[tuple[str, bytes], ...],
) -> None:
    metadata = grpc.aio.Metadata(*trailers)
    broken = grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), metadata, "from a proxy", None)
    error = from_rpc_error(broken, upstream="embedder")
    assert (type(error), error.code) == (errors.Unavailable, "embedder_unavailable")
    assert "proxy" not in error.message


async def test_a_defect_is_an_internal_error_without_its_text() -> None:
    example = Example()
    example.error = RuntimeError("secret")
    async with serving(example) as (_, channel, registry):
        stub = embedder_pb2_grpc.EmbedderServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Describe(pb.DescribeRequest())
        assert refused.value.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in str(refused.value.details())
        await wait_for_one_call(registry, "Describe", "INTERNAL")
        error = from_rpc_error(refused.value, upstream="embedder")
    assert isinstance(error, errors.Unavailable)


async def test_an_error_ends_a_stream_with_its_status() -> None:
    example = Example()
    example.error = errors.FailedPrecondition("Another backbone.", code="backbone_changed")
    async with serving(example) as (_, channel, registry):
        stream = embedder_pb2_grpc.EmbedderServiceStub(channel).EmbedStream(iter([pb.EmbedStreamRequest()]))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stream.read()
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        await wait_for_one_call(registry, "EmbedStream", "FAILED_PRECONDITION")


async def test_a_stream_answers_every_request() -> None:
    async with serving(Example()) as (_, channel, registry):
        requests = [pb.EmbedStreamRequest(item_id=number) for number in range(20)]
        stream = embedder_pb2_grpc.EmbedderServiceStub(channel).EmbedStream(iter(requests))
        assert [response.item_id async for response in stream] == list(range(20))
        await wait_for_one_call(registry, "EmbedStream", "OK")


async def test_the_request_id_is_passed_on_or_else_generated() -> None:
    async with serving(Example()) as (_, channel, _registry):
        stub = embedder_pb2_grpc.EmbedderServiceStub(channel)
        with request_scope("request-7", None):
            answer = await stub.Describe(pb.DescribeRequest(), metadata=call_metadata())
        assert answer.backbone == "request-7"
        assert len((await stub.Describe(pb.DescribeRequest())).backbone) == 16


async def test_a_handler_has_the_deadline_of_its_caller() -> None:
    example = Example()
    async with serving(example) as (_, channel, _registry):
        stub = embedder_pb2_grpc.EmbedderServiceStub(channel)
        await stub.Describe(pb.DescribeRequest(), timeout=30)
        assert 20 < example.remaining <= 31
        await stub.Describe(pb.DescribeRequest())
        assert example.remaining == 1000


async def test_a_handler_is_cancelled_when_its_caller_gives_up() -> None:
    example = Example()
    async with serving(example) as (_, channel, _registry):
        seconds = 0.1
        # On a busy machine, the deadline may pass before the call reaches its handler.
        while not example.started.is_set():
            seconds *= 2
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await embedder_pb2_grpc.EmbedderServiceStub(channel).Embed(pb.EmbedRequest(), timeout=seconds)
            assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(example.left.wait(), 20)


async def test_a_stream_is_closed_in_its_own_context_when_its_caller_leaves_during_flow_control() -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    example = Example()
    async with serving(example) as (_, channel, registry):
        stub = embedder_pb2_grpc.EmbedderServiceStub(channel)
        stream = stub.EmbedStream(iter([pb.EmbedStreamRequest(image=b"forever")]))
        await stream.read()
        stream.cancel()
        await asyncio.wait_for(example.left.wait(), 20)
    await wait_for_one_call(registry, "EmbedStream", "CANCELLED")
    assert complaints == []


class LeavingCaller:
    """The context of a call whose caller leaves during a write: the write fails before the call is cancelled."""

    def __init__(self) -> None:
        self.failed = asyncio.Event()

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def time_remaining(self) -> None:
        return None

    async def write(self, _: object) -> None:
        self.failed.set()
        raise grpc.aio.InternalError("execute_batch")


async def test_a_write_that_fails_because_the_caller_leaves_counts_as_cancelled() -> None:
    registry, context, closed = CollectorRegistry(), LeavingCaller(), asyncio.Event()

    async def responses(*_: object) -> AsyncGenerator[object, None]:
        try:
            yield pb.EmbedStreamResponse()
        finally:
            closed.set()

    handler = ServiceInterceptor(RpcServerMetrics(registry))._streaming(f"/{SERVICE}/EmbedStream", responses)
    call = asyncio.ensure_future(handler(None, cast("Context", context)))
    await context.failed.wait()
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert closed.is_set()
    await wait_for_one_call(registry, "EmbedStream", "CANCELLED")


async def test_health_checks_report_the_status_that_was_set() -> None:
    async with (
        serving(Example()) as (running, _, _registry),
        open_channel(f"127.0.0.1:{running.port}", service=None) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        status = health_pb2.HealthCheckResponse
        for is_serving, expected in ((True, status.SERVING), (False, status.NOT_SERVING)):
            await running.health.set_serving(is_serving)
            assert (await health.Check(request)).status == expected


async def test_reflection_lists_the_services() -> None:
    async with serving(Example()) as (_, channel, _registry):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        stream = stub.ServerReflectionInfo(iter([request]))
        names = {service.name for service in (await stream.read()).list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= names


async def test_an_address_in_use_is_an_os_error() -> None:
    async with serving(Example()) as (running, _channel, _registry):
        with pytest.raises(OSError, match="cannot listen"):
            async with grpc_server(
                ServerPlan(f"127.0.0.1:{running.port}", grace_seconds=1),
                services=[],
                register=lambda _: None,
                metrics=RpcServerMetrics(CollectorRegistry()),
            ):
                raise AssertionError


async def test_a_client_that_was_held_up_may_send_many_pings_at_once() -> None:
    async with serving(Example()) as (server, _, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        # RFC 9113: the preface and SETTINGS (3.4), and a PING (6.7), which is answered with the same eight bytes.
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
        async with asyncio.timeout(10):
            for number in range(PINGS):
                writer.write(bytes((0, 0, 8, 6, 0, 0, 0, 0, 0)) + number.to_bytes(8))
                answer = -1
                while answer < number:
                    frame = await reader.readexactly(9)
                    payload = await reader.readexactly(int.from_bytes(frame[:3]))
                    assert frame[3] != GOAWAY, payload
                    if frame[3:5] == PING_ANSWER:
                        answer = int.from_bytes(payload)
        writer.close()
