"""`similis up` for a benchmark, without its log between the lines of the benchmark."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo.instance import NotStarted, instance


@contextmanager
def similis(data: Path) -> Iterator[str]:
    """Run an instance on `data` while entered, and yield its address. Raises NotStarted, with what it has logged."""
    with tempfile.TemporaryFile("w+") as log:
        try:
            with instance(data, 0, log=log) as address:
                yield address
        except NotStarted as error:
            log.seek(0)
            raise NotStarted(f"{log.read()}{error}") from None
