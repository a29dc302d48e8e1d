"""How long `similis up` takes from its command to ready: on a new data directory, and on one that is there."""

import tempfile
import time
from pathlib import Path

from bench.parts.instance.memory import watched_memory
from bench.parts.instance.running import similis
from bench.parts.report.figures import at_most, figure
from bench.parts.report.measured import Measured
from bench.parts.report.progress import Progress
from bench.workloads.options import Options


def seconds_to_ready(data: Path) -> float:
    """Start an instance, stop it again, and return the seconds until it was ready."""
    began = time.monotonic()
    with similis(data):
        return time.monotonic() - began


def measure(options: Options, say: Progress) -> Measured:
    """Start on a new data directory, which also creates databases and converts the model, and then again."""
    with tempfile.TemporaryDirectory() as folder, watched_memory("start") as watch:
        say("start on a new data directory")
        cold = seconds_to_ready(Path(folder))
        warm = []
        for number in range(options.starts):
            say(f"start again, {number + 1} of {options.starts}")
            warm.append(seconds_to_ready(Path(folder)))
    return Measured(
        [
            figure("cold, until ready", cold, "s"),
            figure("warm, until ready", warm, "s", bar=at_most(5.0)),
            figure("peak memory", watch.peaks["start"], "MB"),
        ],
        details={"cold": cold, "warm": warm, "peak_mb": watch.roles},
    )
