"""One image cannot take more CPU time than is allowed, whether a decoder returns in time or not."""

import signal
import subprocess
import sys
import time

import pytest

from embedder.workers.cpu_limit import FATAL, OutOfTime, cpu_limit, prepare_cpu_limit

SECONDS = 0.05
# One call into C code, which no signal handler of Python interrupts.
LONG_CALL = """
from embedder.workers import cpu_limit
cpu_limit.GRACE_SECONDS = 0.1
cpu_limit.prepare_cpu_limit()
with cpu_limit.cpu_limit(0.05):
    sum(range(10**12))
"""


@pytest.fixture(autouse=True)
def _handlers() -> None:
    prepare_cpu_limit()


def work(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_work_that_takes_too_long_is_interrupted() -> None:
    before = time.process_time()
    with pytest.raises(OutOfTime), cpu_limit(SECONDS):
        work(10)
    assert time.process_time() - before < 2


def work_whatever_is_raised() -> None:
    try:
        work(10)
    except Exception:
        work(10)


def test_handlers_of_all_exceptions_do_not_hide_the_end_of_the_time() -> None:
    with pytest.raises(OutOfTime), cpu_limit(SECONDS):
        work_whatever_is_raised()


def test_the_limit_ends_with_the_block() -> None:
    with cpu_limit(SECONDS):
        pass
    with pytest.raises(OutOfTime), cpu_limit(SECONDS):
        work(10)
    assert signal.getitimer(signal.ITIMER_PROF)[0] == signal.getitimer(signal.ITIMER_VIRTUAL)[0] == 0
    work(2 * SECONDS)


def test_a_call_that_does_not_return_ends_the_process() -> None:
    ended = subprocess.run([sys.executable, "-c", LONG_CALL], check=False, timeout=60)
    assert ended.returncode == -FATAL
