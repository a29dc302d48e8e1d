"""Image hosts as a process of their own, so that what measures does not share its interpreter with them.

    python -m bench.image_host FOLDER

Serves the photographs of FOLDER under their names, and under any path before the name; prints its address.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.photographs import images_of
from demo.image_server import image_server
from similis.servicekit.priority import step_back

# Hosts of images are on other machines; here they take what is left.
NICENESS = 10


class Repeated(Mapping[str, bytes]):
    """Photographs by name, and under any path before the name."""

    def __init__(self, photographs: dict[str, bytes]) -> None:
        self._photographs = photographs

    def __getitem__(self, name: str) -> bytes:
        return self._photographs[name.rpartition("/")[2]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._photographs)

    def __len__(self) -> int:
        return len(self._photographs)


@contextmanager
def image_host(folder: Path) -> Iterator[str]:
    """Serves while entered; yields the URL that a name is appended to."""
    command = (sys.executable, "-m", "bench.image_host", str(folder))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdout, "it is a pipe"  # noqa: S101
        assert process.stdin, "it is a pipe"  # noqa: S101
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def main(folder: Path) -> None:
    """Serves until standard input ends."""
    step_back(NICENESS)
    with image_server(Repeated({path.name: path.read_bytes() for path in images_of(folder)})) as address:
        print(address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
