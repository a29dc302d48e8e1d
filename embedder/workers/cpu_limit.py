"""Limit the CPU time that one image takes in this process.

At the limit, a Python signal handler raises OutOfTime, and the process goes on. It does not run while a decoder's own
code does, so after a grace period another signal ends the process. The embedder sees from its exit status why.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Never

# User time beyond the limit that a call of a decoder may take until it returns.
GRACE_SECONDS = 0.5
# Ends the process: it has no handler.
FATAL = signal.SIGVTALRM


class OutOfTime(BaseException):
    """The block took too much CPU time. No handler of Exception, such as Pillow's own, catches it."""


def prepare_cpu_limit() -> None:
    """Install the signal handler, on the main thread."""
    signal.signal(signal.SIGPROF, _interrupt)
    signal.signal(FATAL, signal.SIG_DFL)


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTime in the block, or end the process, once it has used so much CPU time."""
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds + GRACE_SECONDS)
        # The handler may run here in the inner `finally` at the latest, so the outer one always disarms both.
        try:
            signal.setitimer(signal.ITIMER_PROF, seconds)
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _interrupt(_: int, __: FrameType | None) -> Never:
    raise OutOfTime
