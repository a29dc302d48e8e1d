"""Put load on an HTTP server and measure it, with as little overhead as possible.

Started by `bench/workloads`: `python -m bench.parts.search.http_load`. Each caller keeps one connection, and sends
its next request when it has the answer to the last one.
"""

import asyncio
import struct
import time
from collections.abc import Sequence
from pathlib import Path

from bench.parts.measuring_process import Answer, answer_commands

LENGTH = struct.Struct("<I")
END_OF_HEAD = b"\r\n\r\n"
LENGTH_HEADER = b"content-length:"


def save_requests(file: Path, requests: Sequence[bytes]) -> None:
    """Write requests for `load` to a file."""
    file.write_bytes(b"".join(LENGTH.pack(len(request)) + request for request in requests))


def saved_requests(file: Path) -> list[bytes]:
    """Return the requests of a file."""
    data, place, requests = file.read_bytes(), 0, []
    while place < len(data):
        start = place + LENGTH.size
        place = start + LENGTH.unpack_from(data, place)[0]
        requests.append(data[start:place])
    return requests


class Caller(asyncio.Protocol):
    """One connection. It sends requests until `end`, on the clock of `time.perf_counter`."""

    def __init__(self, requests: Sequence[bytes], first: int, step: int, end: float) -> None:
        """first, step: which of the requests it sends."""
        self.milliseconds: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._next = first
        self._step = step
        self._end = end
        self._received = bytearray()
        self._size = 0
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 (a TCP connection)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer, and send the next request after the last part."""
        self._received += data
        if not self._size:
            self._size = answer_size(self._received)
        if not self._size or len(self._received) < self._size:
            return
        now = time.perf_counter()
        if not self._received.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(SystemExit(f"a search failed: {bytes(self._received[:2000])!r}"))
            return
        self.milliseconds.append(1000 * (now - self._began))
        self._received.clear()
        self._size = 0
        if now < self._end:
            self._send()
        else:
            self._transport.close()
            self.done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail if the server closed the connection."""
        if not self.done.done():
            self.done.set_exception(SystemExit(f"the server closed the connection: {error}"))

    def _send(self) -> None:
        self._began = time.perf_counter()
        self._transport.write(self._requests[self._next % len(self._requests)])
        self._next += self._step


def answer_size(received: bytearray) -> int:
    """Return the size of the answer that begins with these bytes; 0: its head is not complete."""
    head = received.find(END_OF_HEAD)
    if head < 0:
        return 0
    for line in bytes(received[:head]).split(b"\r\n"):
        if line.lower().startswith(LENGTH_HEADER):
            return head + len(END_OF_HEAD) + int(line[len(LENGTH_HEADER) :])
    raise SystemExit("an answer has no Content-Length")


class HttpLoad:
    """A client that measures."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._requests: dict[str, list[bytes]] = {}

    def load(self, file: str, host: str, port: int, seconds: float, clients: int) -> Answer:
        """Send the requests of a file in turns. Return the milliseconds of each, and the CPU seconds of this client."""
        if file not in self._requests:
            self._requests[file] = saved_requests(Path(file))
        return self._runner.run(self._load(self._requests[file], host, port, seconds, clients))

    async def _load(self, requests: Sequence[bytes], host: str, port: int, seconds: float, clients: int) -> Answer:
        cpu, began = time.process_time(), time.perf_counter()
        loop = asyncio.get_running_loop()
        callers = [
            (await loop.create_connection(lambda: Caller(requests, number, clients, began + seconds), host, port))[1]  # noqa: B023
            for number in range(clients)
        ]
        await asyncio.gather(*(caller.done for caller in callers))
        return {
            "seconds": time.perf_counter() - began,
            "milliseconds": [each for caller in callers for each in caller.milliseconds],
            "cpu_seconds": time.process_time() - cpu,
        }


if __name__ == "__main__":
    answer_commands({"load": HttpLoad().load})
