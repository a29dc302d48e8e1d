"""Numerical work: one thread for numpy, off the event loop."""

from concurrent.futures import Executor, ThreadPoolExecutor

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]


def numerics_executor() -> Executor:
    """Return an executor with one thread, whose linear algebra uses one thread too.

    BLAS threads wait for each other in busy loops: beside other busy processes an eigendecomposition of 0.5 s on one
    thread took 4 s on two. The trainer always has busy neighbours on one machine.
    """
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="numerics", initializer=_single_threaded)


def _single_threaded() -> None:
    threadpool_limits(limits=1, user_api="blas")
