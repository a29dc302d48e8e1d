"""Image hosts as a process of their own, so that what measures does not share its interpreter with them.

    python -m bench.parts.image_host FOLDER

Serves the photographs of FOLDER under their names, and under any path before the name. Prints its address, then for
each line on standard input how many requests it has had, and for how many different paths.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.parts.photographs import images_of
from demo.image_server import image_server
from servicekit.process.priority import step_back

# Hosts of images are on other machines; here they take what is left.
NICENESS = 10


class Repeated(Mapping[str, bytes]):
    """Photographs by name, and under any path before the name. asked: how often for each of these."""

    def __init__(self, photographs: dict[str, bytes]) -> None:
        self._photographs = photographs
        self.asked: Counter[str] = Counter()

    def __getitem__(self, name: str) -> bytes:
        self.asked[name] += 1
        return self._photographs[name.rpartition("/")[2]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._photographs)

    def __len__(self) -> int:
        return len(self._photographs)


@dataclass
class ImageHost:
    """A host that runs. address: the URL that a name is appended to."""

    process: "subprocess.Popen[str]"
    address: str

    def asked(self) -> tuple[int, int]:
        """How many requests it has had, and for how many different paths."""
        assert self.process.stdin, "it is a pipe"  # noqa: S101
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        requests, paths = _line(self.process).split()
        return int(requests), int(paths)


@contextmanager
def image_host(folder: Path) -> Iterator[ImageHost]:
    """Serves while entered."""
    command = (sys.executable, "-m", "bench.parts.image_host", str(folder))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        yield ImageHost(process, _line(process))
        assert process.stdin, "it is a pipe"  # noqa: S101
        process.stdin.close()


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout, "it is a pipe"  # noqa: S101
    return process.stdout.readline().strip()


def main(folder: Path) -> None:
    """Serves until standard input ends."""
    step_back(NICENESS)
    images = Repeated({path.name: path.read_bytes() for path in images_of(folder)})
    with image_server(images) as address:
        print(address, flush=True)
        for _ in sys.stdin:
            print(images.asked.total(), len(images.asked), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
