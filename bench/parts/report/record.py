"""A file with the newest figures of each workload, so that workloads can be measured one at a time."""

import json
import os
import platform
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.parts.report.measured import Measured
from embedder.hardware import usable_cores


class Record:
    """The newest run of each workload, by its name. Each is written as soon as it has ended."""

    def __init__(self, file: Path) -> None:
        """file: it may be missing. Raises SystemExit if it holds something else."""
        self._file = file
        self._runs: dict[str, dict[str, Any]] = {}
        if not file.exists():
            return
        try:
            self._runs = dict(json.loads(file.read_text(encoding="utf-8")))
            dict(self.measured())
        except (ValueError, TypeError, KeyError, AttributeError):
            raise SystemExit(f"{file} was not written by this program. Delete it, or name another file") from None

    def measured(self) -> Iterator[tuple[str, Measured]]:
        """Yield each workload with what was measured."""
        for workload, run in self._runs.items():
            yield workload, Measured.from_json(run)

    def add(self, workload: str, measured: Measured, run: Mapping[str, object]) -> None:
        """Replace the run of a workload, and write the file. run: what else to say of the run."""
        self._runs[workload] = {**run, **measured.to_json()}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(".partial")
        partial.write_text(json.dumps(self._runs, indent=2) + "\n", encoding="utf-8")
        partial.replace(self._file)


def machine() -> dict[str, object]:
    """Return what to know of this machine now: the time, the cores, and the load before a run."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": usable_cores(),
        "processor": _processor(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
