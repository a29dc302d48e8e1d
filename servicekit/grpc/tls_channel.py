"""A channel that switches to renewed certificates without a restart."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from servicekit.grpc.tls import CertificateFiles, Certificates

# How long calls in progress may keep their connection after the certificates change. Longer than our longest stream.
OLD_SECONDS = 420.0


class RenewingChannel(grpc.aio.Channel):
    """A channel whose new calls use the newest certificates.

    When the certificates change, it opens another channel and closes the old one `OLD_SECONDS` later.
    """

    def __init__(self, certificates: CertificateFiles, make: Callable[[Certificates], grpc.aio.Channel]) -> None:
        """make: opens a channel with the given certificates."""
        self._certificates = certificates
        self._make = make
        self._given = certificates.current()
        self._channel = make(self._given)
        self._closing: dict[asyncio.Task[None], grpc.aio.Channel] = {}

    def newest(self) -> grpc.aio.Channel:
        """Return the channel with the newest certificates."""
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
        """Close the current channel within `grace` seconds, then the old ones at once."""
        await self._channel.close(grace)
        closing = dict(self._closing)
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)
        for channel in closing.values():
            await channel.close(None)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the state of the current channel."""
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the current channel leaves the state."""
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the current channel is connected."""
        await self._channel.channel_ready()

    def unary_unary(self, *arguments: Any, **named: Any) -> Any:
        """Return a callable for a unary method, like `grpc.aio.Channel.unary_unary`."""
        return _Method(self, lambda channel: channel.unary_unary(*arguments, **named))

    def unary_stream(self, *arguments: Any, **named: Any) -> Any:
        """Return a callable for a server-streaming method, like `grpc.aio.Channel.unary_stream`."""
        return _Method(self, lambda channel: channel.unary_stream(*arguments, **named))

    def stream_unary(self, *arguments: Any, **named: Any) -> Any:
        """Return a callable for a client-streaming method, like `grpc.aio.Channel.stream_unary`."""
        return _Method(self, lambda channel: channel.stream_unary(*arguments, **named))

    def stream_stream(self, *arguments: Any, **named: Any) -> Any:
        """Return a callable for a bidirectional streaming method, like `grpc.aio.Channel.stream_stream`."""
        return _Method(self, lambda channel: channel.stream_stream(*arguments, **named))


async def _closed_later(channel: grpc.aio.Channel) -> None:
    # `close` with a grace period would not do: it could not be cut short.
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
