"""Run an image host in a separate process: `python -m bench.parts.image_host FOLDER`.

It serves the photographs of FOLDER under their names, after any path. It prints its address, and answers each line on
standard input with the number of requests so far and the number of different paths among them.
"""

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.parts.photographs import image_files
from servicekit.process.priority import step_back
from standalone.process.tether import tethered

# Real image hosts are on other machines, so this one only gets the CPU time that nothing else wants.
NICENESS = 10
END_OF_HEAD = b"\r\n\r\n"


class Repeated(Mapping[str, bytes]):
    """Photographs by name, after any path, read when they are asked for. requests: their number, by path and name."""

    def __init__(self, photographs: Sequence[Path]) -> None:
        self._photographs = {path.name: path for path in photographs}
        self.requests: Counter[str] = Counter()

    def __getitem__(self, name: str) -> bytes:
        self.requests[name] += 1
        return self._photographs[name.rpartition("/")[2]].read_bytes()

    def __iter__(self) -> Iterator[str]:
        return iter(self._photographs)

    def __len__(self) -> int:
        return len(self._photographs)


@dataclass
class ImageHost:
    """A running host. address: the URL of its folder, to which a name is appended."""

    process: "subprocess.Popen[str]"
    address: str

    def cpu_seconds(self) -> float:
        """Return the CPU time that it has taken so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def requests(self) -> tuple[int, int]:
        """Return the number of requests so far, and the number of different paths among them."""
        assert self.process.stdin, "it is a pipe"  # noqa: S101
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        requests, paths = _line(self.process).split()
        return int(requests), int(paths)


@contextmanager
def image_host(folder: Path) -> Iterator[ImageHost]:
    """Run a host while entered."""
    command = tethered([sys.executable, "-m", "bench.parts.image_host", str(folder)], signal.SIGKILL)
    pipe = subprocess.PIPE
    # In a separate session, so that Ctrl-C reaches only the caller. It ends when its input is closed.
    with subprocess.Popen(command, stdout=pipe, stdin=pipe, text=True, start_new_session=True) as process:
        yield ImageHost(process, _line(process))


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout, "it is a pipe"  # noqa: S101
    return process.stdout.readline().strip()


class Connection(asyncio.Protocol):
    """A connection of a client that sends GET requests. A whole web server would take more of the measured machine."""

    def __init__(self, images: Mapping[str, bytes]) -> None:
        self._images = images
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 (a TCP connection)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer the requests that are complete."""
        self._received += data
        while END_OF_HEAD in self._received:
            head, _, self._received = self._received.partition(END_OF_HEAD)
            name = head.split(b" ", 2)[1].decode().removeprefix("/")
            image = self._images.get(name)
            status = b"404 Not Found" if image is None else b"200 OK"
            body = image or b""
            self._transport.write(
                b"HTTP/1.1 %b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)
            )


async def serve(images: Repeated) -> None:
    """Serve until standard input ends."""
    server = await asyncio.get_running_loop().create_server(lambda: Connection(images), "127.0.0.1", 0)
    async with server:
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(images.requests.total(), len(images.requests), flush=True)


if __name__ == "__main__":
    step_back(NICENESS)
    asyncio.run(serve(Repeated(image_files(Path(sys.argv[1])))))
