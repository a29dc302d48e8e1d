"""Whether a gateway is alive, also when it is flooded."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from standalone.process.probes import GatewayProbe, Probe, first_of

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[GatewayProbe]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    async with server:
        yield GatewayProbe("127.0.0.1", server.sockets[0].getsockname()[1])


async def test_a_gateway_that_closes_the_connection_is_alive() -> None:
    """It has too many, but its event loop runs."""

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with serving(close) as probe, asyncio.timeout(20):
        assert await probe.is_alive()
        assert not await probe.is_ready()


async def test_a_gateway_that_answers_nothing_is_not() -> None:
    gone = asyncio.Event()

    async def wait(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.close()

    async with serving(wait) as probe:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await probe.is_alive()
        gone.set()


def probe(answer: bool | OSError | None) -> Probe:
    async def asked() -> bool:
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, OSError):
            raise answer
        return bool(answer)

    return asked


@pytest.mark.parametrize("other", [None, False, OSError("refused")])
async def test_one_of_several_answers_is_enough(other: OSError | bool | None) -> None:
    async with asyncio.timeout(20):
        assert await first_of(probe(other), probe(True))()
        assert await first_of(probe(True), probe(other))()


async def test_without_any_answer_there_is_none() -> None:
    async with asyncio.timeout(20):
        assert not await first_of(probe(False), probe(False))()
        with pytest.raises(OSError, match="refused"):
            await first_of(probe(False), probe(OSError("refused")))()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await first_of(probe(None), probe(False))()
