"""A channel that goes over to new certificates by itself."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from servicekit.grpc.tls import CertificateFiles, Certificates

# Calls under way when the certificates changed may go on for this long on the connections that they have: for longer
# than our longest streams live.
OLD_SECONDS = 420.0


class RenewingChannel(grpc.aio.Channel):
    """Calls are made on a channel with the newest certificates; the one before ends when its calls must be over."""

    def __init__(self, certificates: CertificateFiles, make: Callable[[Certificates], grpc.aio.Channel]) -> None:
        """make: opens a channel with these certificates."""
        self._certificates = certificates
        self._make = make
        self._given = certificates.current()
        self._channel = make(self._given)
        self._closing: dict[asyncio.Task[None], grpc.aio.Channel] = {}

    def newest(self) -> grpc.aio.Channel:
        """The channel to call on now."""
        certificates = self._certificates.current()
        if certificates is not self._given:
            task = asyncio.create_task(_closed_later(self._channel), name="old-certificates")
            self._closing[task] = self._channel
            task.add_done_callback(self._closing.pop)
            self._channel, self._given = self._make(certificates), certificates
        return self._channel

    async def __aenter__(self) -> "RenewingChannel":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Closes the channel in use, and at once those before it."""
        await self._channel.close(grace)
        closing = dict(self._closing)
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)
        for channel in closing.values():
            await channel.close(None)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The state of the channel in use."""
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Returns when the channel in use leaves the state."""
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Returns when the channel in use is connected."""
        await self._channel.channel_ready()

    def unary_unary(self, *arguments: Any, **named: Any) -> Any:
        """A method of this kind, as `grpc.aio.Channel` gives it."""
        return _Method(self, lambda channel: channel.unary_unary(*arguments, **named))

    def unary_stream(self, *arguments: Any, **named: Any) -> Any:
        """A method of this kind, as `grpc.aio.Channel` gives it."""
        return _Method(self, lambda channel: channel.unary_stream(*arguments, **named))

    def stream_unary(self, *arguments: Any, **named: Any) -> Any:
        """A method of this kind, as `grpc.aio.Channel` gives it."""
        return _Method(self, lambda channel: channel.stream_unary(*arguments, **named))

    def stream_stream(self, *arguments: Any, **named: Any) -> Any:
        """A method of this kind, as `grpc.aio.Channel` gives it."""
        return _Method(self, lambda channel: channel.stream_stream(*arguments, **named))


async def _closed_later(channel: grpc.aio.Channel) -> None:
    # Not by `close` with a grace period: once that is begun, the channel cannot be closed sooner.
    await asyncio.sleep(OLD_SECONDS)
    await channel.close(None)


class _Method:
    def __init__(self, channel: RenewingChannel, of: Callable[[grpc.aio.Channel], Any]) -> None:
        self._renewing = channel
        self._of = of
        self._channel = channel.newest()
        self._call = of(self._channel)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        newest = self._renewing.newest()
        if newest is not self._channel:
            self._channel, self._call = newest, self._of(newest)
        return self._call(*arguments, **named)
