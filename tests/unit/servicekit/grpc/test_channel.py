# ruff: noqa: ARG002, N802 - the names and arguments of the protocol
"""How calls are dealt out over replicas, over real servers."""

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
# What a headless Service is called.
NAME = "embedder.images.svc"
# In which what a health service says, or a connection that ended, is known to a client.
NEWS_SECONDS = 30.0
# For which a server that is leaving keeps a connection that is used.
GRACE_SECONDS = 60.0


class Replica(embedder_pb2_grpc.EmbedderServiceServicer):
    """Says which of them it is."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def Describe(self, request: pb.DescribeRequest, context: Any) -> pb.DescribeResponse:
        return pb.DescribeResponse(backbone=self._name)


@asynccontextmanager
async def replica(name: str, listen: str = "127.0.0.1:0", drain_seconds: float = 0.0) -> AsyncIterator[RunningServer]:
    async with grpc_server(
        ServerPlan(listen, grace_seconds=GRACE_SECONDS, drain_seconds=drain_seconds),
        services=[SERVICE],
        register=lambda server: embedder_pb2_grpc.add_EmbedderServiceServicer_to_server(Replica(name), server),
        metrics=RpcServerMetrics(CollectorRegistry()),
    ) as running:
        yield running


async def answered(channel: grpc.aio.Channel, calls: int = 20) -> Counter[str]:
    """Who answered how many of so many calls."""
    stub = embedder_pb2_grpc.EmbedderServiceStub(channel)
    return Counter([(await stub.Describe(pb.DescribeRequest(), timeout=10)).backbone for _ in range(calls)])


async def only(channel: grpc.aio.Channel, *names: str) -> None:
    """Returns when these replicas answer, and no others."""
    async with asyncio.timeout(NEWS_SECONDS):
        while set(await answered(channel)) != set(names):  # noqa: ASYNC110 - servers and clients tell each other
            await asyncio.sleep(0.02)


async def test_calls_go_in_turn_to_the_replicas_that_say_that_they_serve() -> None:
    async with (
        replica("a") as a,
        replica("b") as b,
        open_channel(f"ipv4:127.0.0.1:{a.port},127.0.0.1:{b.port}") as channel,
    ):
        await only(channel, "a", "b")
        assert await answered(channel) == {"a": 10, "b": 10}
        await a.set_serving("", False)
        await only(channel, "b")
        await a.set_serving("", True)
        await only(channel, "a", "b")


async def test_a_replica_that_is_replaced_under_load_fails_no_call() -> None:
    async with AsyncExitStack() as stack:
        leaving = await stack.enter_async_context(AsyncExitStack())
        a = await leaving.enter_async_context(replica("a", f"127.0.0.1:{free_port()}", drain_seconds=0.2))
        b = await stack.enter_async_context(replica("b"))
        channel = await stack.enter_async_context(open_channel(f"ipv4:127.0.0.1:{a.port},127.0.0.1:{b.port}"))
        await only(channel, "a", "b")
        going_on = asyncio.create_task(answered(channel, 2000))
        began = time.monotonic()
        await leaving.aclose()
        # Clients that watch its health do not keep it until its grace period is over.
        assert time.monotonic() - began < GRACE_SECONDS / 2
        await stack.enter_async_context(replica("c", f"127.0.0.1:{a.port}"))
        assert (await going_on).total() == 2000
        await only(channel, "b", "c")


async def test_what_may_be_sent_again_survives_a_moment_without_any_replica() -> None:
    async with AsyncExitStack() as stack:
        a = await stack.enter_async_context(replica("a"))
        idempotent = await stack.enter_async_context(
            open_channel(f"127.0.0.1:{a.port}", idempotent=((SERVICE, "Describe"),))
        )
        other = await stack.enter_async_context(open_channel(f"127.0.0.1:{a.port}"))
        for channel in (idempotent, other):
            await only(channel, "a")
        await a.set_serving("", False)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await answered(other, 10_000)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        call = asyncio.create_task(answered(idempotent, 1))
        done, _ = await asyncio.wait({call}, timeout=0.1)
        assert not done
        await a.set_serving("", True)
        assert await call == {"a": 1}


async def test_replicas_that_took_the_place_of_others_are_found_by_their_name_at_once() -> None:
    async with AsyncExitStack() as stack:
        names = await stack.enter_async_context(name_server())
        leaving = await stack.enter_async_context(AsyncExitStack())
        a = await leaving.enter_async_context(replica("a", drain_seconds=0.2))
        channel = await stack.enter_async_context(
            open_channel(f"dns://127.0.0.1:{names.port}/{NAME}:{a.port}", idempotent=((SERVICE, "Describe"),))
        )
        names.addresses[NAME] = ["127.0.0.1"]
        await only(channel, "a")
        await stack.enter_async_context(replica("b", f"127.0.0.2:{a.port}"))
        names.addresses[NAME] = ["127.0.0.2"]
        going_on = asyncio.create_task(answered(channel, 500))
        await leaving.aclose()
        assert (await going_on).total() == 500
        await only(channel, "b")


async def test_replicas_that_came_beside_others_are_found_when_a_connection_has_reached_its_age(
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
        await only(channel, "a")
        await stack.enter_async_context(replica("b", f"127.0.0.2:{a.port}"))
        names.addresses[NAME] = ["127.0.0.1", "127.0.0.2"]
        await only(channel, "a", "b")
        # Nothing was lost on the way: this channel sends nothing again.
        assert (await answered(channel, 1_000)).total() == 1_000
