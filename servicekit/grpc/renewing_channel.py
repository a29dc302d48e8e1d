"""A channel that is replaced when its certificates change, and when it finds no server; and that repeats calls.

gRPC can repeat calls, too, but only on the channel that they began on.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc

# How long calls in progress may keep their connection after the channel was replaced. Longer than our longest stream.
OLD_SECONDS = 420.0
# A channel without a usable server is replaced when it is at least this old. gRPC itself waits longer and longer, up to
# 120 s, before it looks up a name again that it did not find. While it is connected to a server that reports that it
# does not serve, it does not look for others at all.
LOST_SECONDS = 2.0

# A server that stops cancels the calls that reach it at that moment.
REPEATED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
# A server sends this when a repetition would not help (gRFC A6).
DO_NOT_RETRY = ("grpc-retry-pushback-ms", "-1")

T = TypeVar("T")


@dataclass(frozen=True)
class Retry:
    """Which unary calls are repeated when no server can take them, and after which pauses.

    methods: pairs of service and method. pauses: seconds before each repetition, up to a fifth more or less.
    """

    methods: Sequence[tuple[str, str]]
    pauses: Sequence[float]

    def pauses_of(self, method: str) -> Sequence[float]:
        """Return the pauses for a method, which is named as in "/service/method"."""
        service, _, name = method.removeprefix("/").partition("/")
        return self.pauses if (service, name) in self.methods else ()


class RenewingChannel(grpc.aio.Channel, Generic[T]):
    """A channel for all calls to an upstream. New calls use the newest of the channels that it opens.

    It opens another one when what the present one was made with has changed, or when the present one has no usable
    server. The old one is closed when its calls have ended, `OLD_SECONDS` later at the latest.
    """

    def __init__(
        self,
        make: Callable[[T], grpc.aio.Channel],
        given: Callable[[], T],
        *,
        retry: Retry,
        explained: Callable[[grpc.aio.AioRpcError], Awaitable[grpc.aio.AioRpcError]],
    ) -> None:
        """Open the first channel.

        make: opens a channel. given: what to open it with; the same object until it changes. retry: which calls are
        repeated. explained: adds the reason to the error of a unary call.
        """
        self.retry = retry
        self.explained = explained
        self._make = make
        self._given = given
        self._closing: dict[asyncio.Task[None], _Opened[T]] = {}
        self._opened = self._open(given())

    def newest(self) -> "_Opened[T]":
        """Return the channel for new calls."""
        given = self._given()
        if given is not self._opened.given or self._opened.is_lost():
            task = asyncio.create_task(self._opened.close_when_idle(), name="old-channel")
            self._closing[task] = self._opened
            task.add_done_callback(self._closing.pop)
            self._opened = self._open(given)
        return self._opened

    def _open(self, given: T) -> "_Opened[T]":
        return _Opened(self._make(given), given)

    async def __aenter__(self) -> "RenewingChannel[T]":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Close the newest channel within `grace` seconds, then the old ones at once."""
        await self._opened.channel.close(grace)
        closing = dict(self._closing)
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)
        for old in closing.values():
            await old.channel.close(None)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the state of the newest channel."""
        return self._opened.channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the newest channel leaves the state."""
        await self._opened.channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the newest channel is connected."""
        await self._opened.channel.channel_ready()

    def unary_unary(self, *arguments: Any, **named: Any) -> Any:
        """Return a callable for a unary method, like `grpc.aio.Channel.unary_unary`. Its calls are tasks."""
        pauses = self.retry.pauses_of(arguments[0])
        return _UnaryMethod(self, lambda channel: channel.unary_unary(*arguments, **named), pauses)

    def unary_stream(self, *arguments: Any, **named: Any) -> Any:
        """Return a callable for a server-streaming method, like `grpc.aio.Channel.unary_stream`."""
        return _Method(self, lambda channel: channel.unary_stream(*arguments, **named))

    def stream_unary(self, *arguments: Any, **named: Any) -> Any:
        """Return a callable for a client-streaming method, like `grpc.aio.Channel.stream_unary`."""
        return _Method(self, lambda channel: channel.stream_unary(*arguments, **named))

    def stream_stream(self, *arguments: Any, **named: Any) -> Any:
        """Return a callable for a bidirectional streaming method, like `grpc.aio.Channel.stream_stream`."""
        return _Method(self, lambda channel: channel.stream_stream(*arguments, **named))


class _Opened(Generic[T]):
    """One channel, what it was opened with, and how many of its calls are in progress."""

    def __init__(self, channel: grpc.aio.Channel, given: T) -> None:
        self.channel = channel
        self.given = given
        self._since = time.monotonic()
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def is_lost(self) -> bool:
        """Return whether the channel has had its time, and has no usable server now."""
        if time.monotonic() - self._since < LOST_SECONDS:
            return False
        return self.channel.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE

    def begin(self) -> None:
        """Count a call as in progress, until `end`."""
        self._calls += 1
        self._idle.clear()

    def end(self, _: object = None) -> None:
        """Count a call as ended."""
        self._calls -= 1
        if not self._calls:
            self._idle.set()

    async def close_when_idle(self) -> None:
        """Close the channel once its calls have ended."""
        # `grpc.aio.Channel.close` with a grace period would not do: it could not be cut short.
        with suppress(TimeoutError):
            async with asyncio.timeout(OLD_SECONDS):
                await self._idle.wait()
        await self.channel.close(None)


class _Method:
    """A method of the newest channel, whose calls are streams."""

    def __init__(self, renewing: RenewingChannel[Any], of: Callable[[grpc.aio.Channel], Any]) -> None:
        self._renewing = renewing
        self._of = of
        self._opened = renewing.newest()
        self._call = of(self._opened.channel)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        opened, method = self._newest()
        call = method(*arguments, **named)
        opened.begin()
        call.add_done_callback(opened.end)
        return call

    def _newest(self) -> tuple[_Opened[Any], Any]:
        newest = self._renewing.newest()
        if newest is not self._opened:
            self._opened, self._call = newest, self._of(newest.channel)
        return self._opened, self._call


class _UnaryMethod(_Method):
    """A method of the newest channel, with one request and one response."""

    def __init__(
        self, renewing: RenewingChannel[Any], of: Callable[[grpc.aio.Channel], Any], pauses: Sequence[float]
    ) -> None:
        super().__init__(renewing, of)
        self._pauses = pauses

    def __call__(self, *arguments: Any, **named: Any) -> "asyncio.Task[Any]":
        # Like a call of gRPC, it begins before it is awaited.
        return asyncio.create_task(self._repeated(*arguments, **named))

    async def _repeated(self, *arguments: Any, timeout: float | None = None, **named: Any) -> Any:
        deadline = None if timeout is None else time.monotonic() + timeout
        for pause in self._pauses:
            try:
                return await self._attempt(*arguments, timeout=_left(deadline), **named)
            except grpc.aio.AioRpcError as error:
                if not _may_be_repeated(error, deadline, pause):
                    raise await self._renewing.explained(error) from None
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 (no secret)
        try:
            return await self._attempt(*arguments, timeout=_left(deadline), **named)
        except grpc.aio.AioRpcError as error:
            raise await self._renewing.explained(error) from None

    async def _attempt(self, *arguments: Any, **named: Any) -> Any:
        opened, method = self._newest()
        opened.begin()
        try:
            return await method(*arguments, **named)
        finally:
            opened.end()


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _may_be_repeated(error: grpc.aio.AioRpcError, deadline: float | None, pause: float) -> bool:
    trailers: Collection[object] = tuple(error.trailing_metadata() or ())
    if error.code() not in REPEATED or DO_NOT_RETRY in trailers:
        return False
    left = _left(deadline)
    return left is None or left > pause
