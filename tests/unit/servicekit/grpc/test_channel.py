# ruff: noqa: ARG002, N802 - the protocol defines these names and arguments
"""Load balancing over replicas, with real servers."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry
from similis.embedder.v1 import embedder_pb2 as pb
from similis.embedder.v1 import embedder_pb2_grpc

from servicekit.grpc import renewing_channel
from servicekit.grpc.channel import open_channel
from servicekit.grpc.server import LIVENESS, SERVER_OPTIONS, RunningServer, ServerPlan, grpc_server
from servicekit.telemetry.metrics import RpcServerMetrics
from tests.name_server import NameServer, name_server
from tests.ports import free_port

SERVICE = "similis.embedder.v1.EmbedderService"
DESCRIBE = ((SERVICE, "Describe"),)
# The DNS name of a headless Service.
NAME = "embedder.images.svc"
# How long a client may take to notice a change of health or the end of a connection.
NOTICE_SECONDS = 30.0
# How long a server that stops keeps connections that are in use.
GRACE_SECONDS = 60.0


class Replica(embedder_pb2_grpc.EmbedderServiceServicer):
    """Answer with the name of the replica."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def Describe(self, request: pb.DescribeRequest, context: Any) -> pb.DescribeResponse:
        return pb.DescribeResponse(backbone=self._name)

    async def Embed(self, request: pb.EmbedRequest, context: Any) -> pb.EmbedResponse:
        raise NotImplementedError

    async def EmbedText(self, request: pb.EmbedTextRequest, context: Any) -> pb.EmbedTextResponse:
        raise NotImplementedError

    async def EmbedStream(
        self, request_iterator: AsyncIterator[pb.EmbedStreamRequest], context: Any
    ) -> AsyncIterator[pb.EmbedStreamResponse]:
        async for request in request_iterator:
            yield pb.EmbedStreamResponse(item_id=request.item_id)


@asynccontextmanager
async def replica(name: str, listen: str = "127.0.0.1:0", drain_seconds: float = 0.0) -> AsyncIterator[RunningServer]:
    async with grpc_server(
        ServerPlan(listen, grace_seconds=GRACE_SECONDS, drain_seconds=drain_seconds),
        services=[SERVICE],
        register=lambda server: embedder_pb2_grpc.add_EmbedderServiceServicer_to_server(Replica(name), server),
        metrics=RpcServerMetrics(CollectorRegistry()),
    ) as running:
        yield running


async def stoppable(
    stack: AsyncExitStack, server: AbstractAsyncContextManager[RunningServer]
) -> tuple[RunningServer, Callable[[], Coroutine[Any, Any, None]]]:
    """Start a replica, and return it with a function that stops it."""
    leaving = await stack.enter_async_context(AsyncExitStack())
    return await leaving.enter_async_context(server), leaving.aclose


def target(names: NameServer, running: RunningServer) -> str:
    """Return the address of all replicas that listen on this port, by their name."""
    return f"dns://127.0.0.1:{names.port}/{NAME}:{running.port}"


async def count_answers(channel: grpc.aio.Channel, calls: int = 20) -> Counter[str]:
    """Make `calls` calls and count the answers of each replica."""
    stub = embedder_pb2_grpc.EmbedderServiceStub(channel)
    return Counter([(await stub.Describe(pb.DescribeRequest(), timeout=10)).backbone for _ in range(calls)])


async def wait_until_only(channel: grpc.aio.Channel, *names: str) -> None:
    """Wait until exactly these replicas answer."""
    async with asyncio.timeout(NOTICE_SECONDS):
        while set(await count_answers(channel)) != set(names):  # noqa: ASYNC110 - gRPC has no event to wait for
            await asyncio.sleep(0.02)


async def test_calls_go_round_robin_to_the_replicas_that_report_serving() -> None:
    async with (
        replica("a") as a,
        replica("b") as b,
        open_channel(f"ipv4:127.0.0.1:{a.port},127.0.0.1:{b.port}") as channel,
    ):
        await wait_until_only(channel, "a", "b")
        assert await count_answers(channel) == {"a": 10, "b": 10}
        await a.health.set_serving(False)
        await wait_until_only(channel, "b")
        await a.health.set_serving(True)
        await wait_until_only(channel, "a", "b")


async def test_no_call_fails_when_a_replica_is_replaced_under_load() -> None:
    async with AsyncExitStack() as stack:
        leaving = await stack.enter_async_context(AsyncExitStack())
        a = await leaving.enter_async_context(replica("a", f"127.0.0.1:{free_port()}", drain_seconds=0.2))
        b = await stack.enter_async_context(replica("b"))
        channel = await stack.enter_async_context(open_channel(f"ipv4:127.0.0.1:{a.port},127.0.0.1:{b.port}"))
        await wait_until_only(channel, "a", "b")
        calls_in_progress = asyncio.create_task(count_answers(channel, 2000))
        began = time.monotonic()
        await leaving.aclose()
        # Clients notice its health and leave, so that it need not wait for the end of its grace period.
        assert time.monotonic() - began < GRACE_SECONDS / 2
        await stack.enter_async_context(replica("c", f"127.0.0.1:{a.port}"))
        assert (await calls_in_progress).total() == 2000
        await wait_until_only(channel, "b", "c")


async def test_only_idempotent_calls_survive_a_moment_without_any_replica() -> None:
    async with AsyncExitStack() as stack:
        a = await stack.enter_async_context(replica("a"))
        idempotent = await stack.enter_async_context(open_channel(f"127.0.0.1:{a.port}", idempotent=DESCRIBE))
        other = await stack.enter_async_context(open_channel(f"127.0.0.1:{a.port}"))
        for channel in (idempotent, other):
            await wait_until_only(channel, "a")
        await a.health.set_serving(False)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await count_answers(other, 10_000)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        call = asyncio.create_task(count_answers(idempotent, 1))
        done, _ = await asyncio.wait({call}, timeout=0.1)
        assert not done
        await a.health.set_serving(True)
        assert await call == {"a": 1}


@pytest.mark.parametrize("service", ["", SERVICE], ids=["previous release", "this release"])
async def test_new_replicas_behind_the_same_name_are_found_as_soon_as_the_old_ones_stop(service: str) -> None:
    async with AsyncExitStack() as stack:
        names = await stack.enter_async_context(name_server())
        leaving = await stack.enter_async_context(AsyncExitStack())
        a = await leaving.enter_async_context(replica("a", drain_seconds=0.2))
        names.addresses[NAME] = ["127.0.0.1"]
        channel = await stack.enter_async_context(open_channel(target(names, a), service=service, idempotent=DESCRIBE))
        await wait_until_only(channel, "a")
        await stack.enter_async_context(replica("b", f"127.0.0.2:{a.port}"))
        names.addresses[NAME] = ["127.0.0.2"]
        calls_in_progress = asyncio.create_task(count_answers(channel, 500))
        await leaving.aclose()
        assert (await calls_in_progress).total() == 500
        await wait_until_only(channel, "b")


async def test_no_call_fails_while_the_only_known_replica_drains_and_its_replacement_is_not_in_dns_yet() -> None:
    async with AsyncExitStack() as stack:
        names = await stack.enter_async_context(name_server())
        a, stopping = await stoppable(stack, replica("a", drain_seconds=1.0))
        names.addresses[NAME] = ["127.0.0.1"]
        channel = await stack.enter_async_context(open_channel(target(names, a), service=SERVICE, idempotent=DESCRIBE))
        await wait_until_only(channel, "a")
        await stack.enter_async_context(replica("b", f"127.0.0.2:{a.port}"))
        stop = asyncio.create_task(stopping())
        answers: Counter[str] = Counter()
        while not answers["b"]:
            answers += await count_answers(channel)
            await asyncio.sleep(0.02)
            if answers["a"] > 200:
                names.addresses[NAME] = ["127.0.0.2"]
        await stop
        await wait_until_only(channel, "b")


async def test_a_draining_replica_is_not_ready_for_probes_but_serves_our_clients() -> None:
    async with AsyncExitStack() as stack:
        a, stopping = await stoppable(stack, replica("a", drain_seconds=1.0))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{a.port}"))
        check = health_pb2_grpc.HealthStub(channel).Check
        stop = asyncio.create_task(stopping())

        async def reported(name: str) -> Any:
            return (await check(health_pb2.HealthCheckRequest(service=name))).status

        async with asyncio.timeout(NOTICE_SECONDS):
            while await reported("") != health_pb2.HealthCheckResponse.NOT_SERVING:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)
        for name in (SERVICE, LIVENESS):
            assert await reported(name) == health_pb2.HealthCheckResponse.SERVING
        await a.health.set_serving(True)
        assert await reported("") == health_pb2.HealthCheckResponse.NOT_SERVING
        await stop


async def test_a_name_that_had_no_address_is_looked_up_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """gRPC itself would wait 1, 1.6, 2.6, 4.1 seconds and so on, up to 120, between its lookups."""
    monkeypatch.setattr(renewing_channel, "LOST_SECONDS", 0.05)
    async with AsyncExitStack() as stack:
        names = await stack.enter_async_context(name_server())
        leaving = await stack.enter_async_context(AsyncExitStack())
        a = await leaving.enter_async_context(replica("a"))
        names.addresses[NAME] = ["127.0.0.1"]
        channel = await stack.enter_async_context(open_channel(target(names, a), service=SERVICE))
        await wait_until_only(channel, "a")
        del names.addresses[NAME]
        await leaving.aclose()
        before = names.lookups[NAME]
        async with asyncio.timeout(NOTICE_SECONDS):
            while names.lookups[NAME] < before + 10:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await count_answers(channel, 1)
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        await stack.enter_async_context(replica("b", f"127.0.0.2:{a.port}"))
        await stack.enter_async_context(replica("c", f"127.0.0.3:{a.port}"))
        names.addresses[NAME] = ["127.0.0.2", "127.0.0.3"]
        async with asyncio.timeout(2):
            while True:
                with suppress(grpc.aio.AioRpcError):
                    if set(await count_answers(channel)) == {"b", "c"}:
                        break
                await asyncio.sleep(0.02)


async def test_another_replica_is_found_when_the_only_known_one_no_longer_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """gRPC itself looks for others only when a connection ends."""
    monkeypatch.setattr(renewing_channel, "LOST_SECONDS", 0.0)
    async with AsyncExitStack() as stack:
        names = await stack.enter_async_context(name_server())
        a = await stack.enter_async_context(replica("a"))
        names.addresses[NAME] = ["127.0.0.1"]
        channel = await stack.enter_async_context(open_channel(target(names, a), service=SERVICE, idempotent=DESCRIBE))
        await wait_until_only(channel, "a")
        await stack.enter_async_context(replica("b", f"127.0.0.2:{a.port}"))
        names.addresses[NAME] = ["127.0.0.1", "127.0.0.2"]
        await a.health.set_serving(False)
        await wait_until_only(channel, "b")


async def test_a_call_in_progress_survives_the_replacement_of_its_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewing_channel, "LOST_SECONDS", 0.0)
    async with AsyncExitStack() as stack:
        names = await stack.enter_async_context(name_server())
        a = await stack.enter_async_context(replica("a"))
        names.addresses[NAME] = ["127.0.0.1"]
        channel = await stack.enter_async_context(open_channel(target(names, a), service=SERVICE, idempotent=DESCRIBE))
        stub = embedder_pb2_grpc.EmbedderServiceStub(channel)
        stream = stub.EmbedStream(None)
        await stream.write(pb.EmbedStreamRequest(item_id=1))
        assert isinstance(await stream.read(), pb.EmbedStreamResponse)
        await stack.enter_async_context(replica("b", f"127.0.0.2:{a.port}"))
        names.addresses[NAME] = ["127.0.0.2"]
        await a.health.set_serving(False)
        await wait_until_only(channel, "b")
        (old,) = [task for task in asyncio.all_tasks() if task.get_name() == "old-channel"]
        await stream.write(pb.EmbedStreamRequest(item_id=2))
        assert isinstance(await stream.read(), pb.EmbedStreamResponse)
        await stream.done_writing()
        assert await stream.code() is grpc.StatusCode.OK
        # The old channel is closed as soon as its last call has ended.
        async with asyncio.timeout(NOTICE_SECONDS):
            await old


async def test_additional_replicas_are_found_when_a_connection_reaches_its_maximum_age(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert dict(SERVER_OPTIONS)["grpc.max_connection_age_ms"] == 300_000
    options = {**dict(SERVER_OPTIONS), "grpc.max_connection_age_ms": 1_000}
    monkeypatch.setattr("servicekit.grpc.server.SERVER_OPTIONS", tuple(options.items()))
    async with AsyncExitStack() as stack:
        names = await stack.enter_async_context(name_server())
        a = await stack.enter_async_context(replica("a"))
        names.addresses[NAME] = ["127.0.0.1"]
        channel = await stack.enter_async_context(open_channel(target(names, a)))
        await wait_until_only(channel, "a")
        await stack.enter_async_context(replica("b", f"127.0.0.2:{a.port}"))
        names.addresses[NAME] = ["127.0.0.1", "127.0.0.2"]
        await wait_until_only(channel, "a", "b")
        # No call is lost when connections end, although this channel does not retry.
        assert (await count_answers(channel, 1_000)).total() == 1_000
