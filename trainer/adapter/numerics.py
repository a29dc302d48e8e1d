"""Numerical work: as few threads for numpy as were planned, off the event loop.

BLAS threads wait for each other in busy loops: beside other busy processes an eigendecomposition of 0.5 s on one
thread took 4 s on two. The trainer always has busy neighbours on one machine.
"""

from concurrent.futures import Executor, ThreadPoolExecutor

from threadpoolctl import threadpool_limits


def numerics_executor() -> Executor:
    """Return an executor with one thread, whose linear algebra uses one thread too."""
    return ThreadPoolExecutor(
        max_workers=1, thread_name_prefix="numerics", initializer=limit_blas_threads, initargs=(1,)
    )


def limit_blas_threads(threads: int) -> None:
    """Let numpy's linear algebra use at most so many threads in this process."""
    threadpool_limits(limits=threads, user_api="blas")
