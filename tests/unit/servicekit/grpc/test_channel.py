# ruff: noqa: ARG002, N802 - the protocol defines these names and arguments
"""Load balancing over replicas, with real servers."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry
from similis.embedder.v1 import embedder_pb2 as pb
from similis.embedder.v1 import embedder_pb2_grpc

from servicekit.grpc.channel import open_channel
from servicekit.grpc.server import SERVER_OPTIONS, RunningServer, ServerPlan, grpc_server
from servicekit.telemetry.metrics import RpcServerMetrics
from tests.name_server import name_server
from tests.ports import free_port

SERVICE = "similis.embedder.v1.EmbedderService"
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

    def EmbedStream(
        self, request_iterator: AsyncIterator[pb.EmbedStreamRequest], context: Any
    ) -> AsyncIterator[pb.EmbedStreamResponse]:
        raise NotImplementedError


@asynccontextmanager
async def replica(name: str, listen: str = "127.0.0.1:0", drain_seconds: float = 0.0) -> AsyncIterator[RunningServer]:
    async with grpc_server(
        ServerPlan(listen, grace_seconds=GRACE_SECONDS, drain_seconds=drain_seconds),
        services=[SERVICE],
        register=lambda server: embedder_pb2_grpc.add_EmbedderServiceServicer_to_server(Replica(name), server),
        metrics=RpcServerMetrics(CollectorRegistry()),
    ) as running:
        yield running


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
        await a.set_serving("", False)
        await wait_until_only(channel, "b")
        await a.set_serving("", True)
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
        idempotent = await stack.enter_async_context(
            open_channel(f"127.0.0.1:{a.port}", idempotent=((SERVICE, "Describe"),))
        )
        other = await stack.enter_async_context(open_channel(f"127.0.0.1:{a.port}"))
        for channel in (idempotent, other):
            await wait_until_only(channel, "a")
        await a.set_serving("", False)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await count_answers(other, 10_000)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        call = asyncio.create_task(count_answers(idempotent, 1))
        done, _ = await asyncio.wait({call}, timeout=0.1)
        assert not done
        await a.set_serving("", True)
        assert await call == {"a": 1}


async def test_new_replicas_behind_the_same_name_are_found_as_soon_as_the_old_ones_stop() -> None:
    async with AsyncExitStack() as stack:
        names = await stack.enter_async_context(name_server())
        leaving = await stack.enter_async_context(AsyncExitStack())
        a = await leaving.enter_async_context(replica("a", drain_seconds=0.2))
        channel = await stack.enter_async_context(
            open_channel(f"dns://127.0.0.1:{names.port}/{NAME}:{a.port}", idempotent=((SERVICE, "Describe"),))
        )
        names.addresses[NAME] = ["127.0.0.1"]
        await wait_until_only(channel, "a")
        await stack.enter_async_context(replica("b", f"127.0.0.2:{a.port}"))
        names.addresses[NAME] = ["127.0.0.2"]
        calls_in_progress = asyncio.create_task(count_answers(channel, 500))
        await leaving.aclose()
        assert (await calls_in_progress).total() == 500
        await wait_until_only(channel, "b")


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
        channel = await stack.enter_async_context(open_channel(f"dns://127.0.0.1:{names.port}/{NAME}:{a.port}"))
        await wait_until_only(channel, "a")
        await stack.enter_async_context(replica("b", f"127.0.0.2:{a.port}"))
        names.addresses[NAME] = ["127.0.0.1", "127.0.0.2"]
        await wait_until_only(channel, "a", "b")
        # No call is lost when connections end, although this channel does not retry.
        assert (await count_answers(channel, 1_000)).total() == 1_000
