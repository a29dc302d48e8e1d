"""Makes processes die, or stop, at fault points, and puts their clock wrong.

Python imports this in every process that has this folder in PYTHONPATH. SIMILIS_TEST_FAULTS names a folder. A file
there with the name of a fault point has the signal that the first process which reaches the point sends itself.
SIMILIS_TEST_CLOCK is by how many seconds the clock is ahead, for all that Python code asks.
"""

from __future__ import annotations

import datetime
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from servicekit.process.fault_points import FaultPoint

FOLDER = os.environ.get("SIMILIS_TEST_FAULTS")
AHEAD = float(os.environ.get("SIMILIS_TEST_CLOCK", "0"))


def _reached(point: FaultPoint) -> None:
    armed = Path(FOLDER or "", point.value)
    taken = armed.with_name(f"{point.value}.{os.getpid()}")
    try:
        armed.rename(taken)
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.Signals[taken.read_text()])


def _put_clock_wrong() -> None:
    now, now_ns = time.time, time.time_ns
    real = datetime.datetime

    class Kind(type):
        def __instancecheck__(cls, found: object) -> bool:
            return isinstance(found, real)

    class Wrong(datetime.datetime, metaclass=Kind):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
            return real.now(tz) + datetime.timedelta(seconds=AHEAD)

    time.time = lambda: now() + AHEAD
    time.time_ns = lambda: now_ns() + int(AHEAD * 1e9)
    datetime.datetime = Wrong  # type: ignore[misc]


if AHEAD:
    _put_clock_wrong()
if FOLDER is not None:
    # Another program may run with this environment that has none of our code.
    with suppress(ImportError):
        from servicekit.process.fault_points import watch

        watch(_reached)
