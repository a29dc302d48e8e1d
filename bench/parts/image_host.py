"""Run an image host in a process of its own: `python -m bench.parts.image_host FOLDER`.

It serves the photographs of FOLDER under their names, after any path. It prints its address, and answers each line on
standard input with the number of requests so far and the number of different paths among them.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.parts.photographs import image_files
from demo.image_server import image_server
from servicekit.process.priority import step_back

# Real image hosts are on other machines, so this one only gets the CPU time that nothing else wants.
NICENESS = 10


class Repeated(Mapping[str, bytes]):
    """Photographs by name, after any path. requests: their number, by path and name."""

    def __init__(self, photographs: dict[str, bytes]) -> None:
        self._photographs = photographs
        self.requests: Counter[str] = Counter()

    def __getitem__(self, name: str) -> bytes:
        self.requests[name] += 1
        return self._photographs[name.rpartition("/")[2]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._photographs)

    def __len__(self) -> int:
        return len(self._photographs)


@dataclass
class ImageHost:
    """A running host. address: the URL of its folder, to which a name is appended."""

    process: "subprocess.Popen[str]"
    address: str

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
    command = (sys.executable, "-m", "bench.parts.image_host", str(folder))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        yield ImageHost(process, _line(process))
        assert process.stdin, "it is a pipe"  # noqa: S101
        process.stdin.close()


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout, "it is a pipe"  # noqa: S101
    return process.stdout.readline().strip()


def main(folder: Path) -> None:
    """Serve until standard input ends."""
    step_back(NICENESS)
    images = Repeated({path.name: path.read_bytes() for path in image_files(folder)})
    with image_server(images) as address:
        print(address, flush=True)
        for _ in sys.stdin:
            print(images.requests.total(), len(images.requests), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
