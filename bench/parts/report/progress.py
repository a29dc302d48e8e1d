"""Lines that tell a person what a benchmark is doing."""

import time
from collections.abc import Mapping
from typing import Any


class Progress:
    """Says what happens, with the seconds since the workload began. Repeats of long work are said now and then."""

    def __init__(self, workload: str, every: float = 10.0) -> None:
        """every: seconds between two lines of `now_and_then`."""
        self._workload = workload
        self._every = every
        self._began = time.monotonic()
        self._said = self._began

    def __call__(self, what: str) -> None:
        """Say something."""
        self._said = time.monotonic()
        print(f"[{self._said - self._began:6.1f} s] {self._workload}: {what}", flush=True)

    def now_and_then(self, what: str) -> None:
        """Say something unless a line was printed a moment ago."""
        if time.monotonic() - self._said >= self._every:
            self(what)

    def rows_written(self, rows: int) -> None:
        """Say now and then how many rows of a collection are written."""
        self.now_and_then(f"{rows:,} images are written")

    def finetuning(self, info: Mapping[str, Any]) -> None:
        """Say now and then how far a finetune is. info: of its collection."""
        percent = info["finetuning_progess"] or 0.0
        self.now_and_then(f"{info['finetuning_phase'] or 'queued'}, {percent:.0f} %")
