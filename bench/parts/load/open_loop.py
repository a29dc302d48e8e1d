"""Send requests at a fixed rate, whether or not they are answered, and note how each one ended."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

# How long an answer is waited for.
ANSWER_SECONDS = 30.0
# The status of a request without an answer.
NO_ANSWER = 0
LISTEN_HOST = "127.0.0.1"


@dataclass(frozen=True)
class Ended:
    """A request that ended. begun: on the monotonic clock. seconds: until its answer was complete."""

    begun: float
    seconds: float
    status: int
    asks_to_wait: bool


@dataclass
class Outcome:
    """How the requests of one client ended."""

    ended: list[Ended] = field(default_factory=list)

    def seconds_of(self, *statuses: int) -> list[float]:
        """Return how long the requests with these statuses took."""
        return [one.seconds for one in self.ended if one.status in statuses]

    def number_of(self, *statuses: int) -> int:
        """Return how many requests ended with these statuses."""
        return len(self.seconds_of(*statuses))

    def percentile(self, percent: float, *statuses: int) -> float:
        """Return a percentile of the latencies of requests with these statuses, in seconds; 0 if there are none."""
        found = self.seconds_of(*statuses)
        return float(np.percentile(found, percent)) if found else 0.0


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """Return a request as it is sent. headers: with underscores in place of hyphens."""
    lines = [f"{method} {path} HTTP/1.1", "Host: similis", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Client:
    """A client with its own address, which keeps connections open."""

    def __init__(self, port: int, address: str) -> None:
        """port: of the gateway. address: of this client, such as 127.0.0.2."""
        self._port = port
        self._address = address
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()

    async def ask(self, message: bytes) -> Ended:
        """Send a request and wait for its answer."""
        begun = time.monotonic()
        status, asks_to_wait = NO_ANSWER, False
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                status, asks_to_wait = await self._exchange(message)
        except (OSError, EOFError, TimeoutError):
            pass
        return Ended(begun, time.monotonic() - begun, status, asks_to_wait)

    async def _exchange(self, message: bytes) -> tuple[int, bool]:
        reader, writer = self._kept() or await self._connect()
        try:
            writer.write(message)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
            await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        if b"connection: close" in head:
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(head.split(b" ", 2)[1]), b"retry-after:" in head

    def _kept(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Return an open connection. The gateway closes those that nobody has used for a while."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return None

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(LISTEN_HOST, self._port, local_addr=(self._address, 0))

    async def close(self) -> None:
        """Close the connections that nobody uses."""
        while self._idle:
            _, writer = self._idle.pop()
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def offered(client: Client, messages: Sequence[bytes], per_second: float, seconds: float) -> Outcome:
    """Send the messages again and again at a rate, without waiting for answers, and return how all of them ended."""
    outcome, began = Outcome(), time.monotonic()
    running: set[asyncio.Task[None]] = set()

    async def ask(message: bytes) -> None:
        outcome.ended.append(await client.ask(message))

    for number in range(int(per_second * seconds)):
        await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
        task = asyncio.create_task(ask(messages[number % len(messages)]))
        running.add(task)
        task.add_done_callback(running.discard)
    if running:
        await asyncio.wait(running)
    await client.close()
    return outcome


async def one_after_the_other(client: Client, messages: Sequence[bytes], seconds: float, pause: float) -> Outcome:
    """Send the messages again and again, each after the answer to the one before and a pause."""
    outcome, end, number = Outcome(), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        outcome.ended.append(await client.ask(messages[number % len(messages)]))
        number += 1
        await asyncio.sleep(pause)
    await client.close()
    return outcome
