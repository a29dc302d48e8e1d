"""How a one-machine Qdrant is run: the command line and its defaults."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """Settings of one server."""

    data: Path
    listen: str = "127.0.0.1:6334"
    """`HOST:PORT` (port 0: any free one) or `unix:/path`."""
    min_free_bytes: int = 256 * 2**20
    """Writes are refused when the file system has less free space."""
    writers: int = 4
    """Collections that can be written or optimized at a time, each in a process of its own."""
    open_collections: int = 64
    """Settled collections that one process keeps open."""
    own_process_bytes: int = 32 * 2**20
    """Settled collections larger than this are served by a process of their own."""
    own_processes: int = 8
    """Most processes that serve one large collection each; further large collections share one."""
    indexing_threads: int = max(1, (os.cpu_count() or 1) - 1)
    """Threads that build an index."""
    quiet_seconds: float = 0.3
    """Optimizing starts this long after the last write."""
    linger_seconds: float = 3.0
    """A settled collection stays with its writer this long, in case more writes come."""
    optimize_after_bytes: int = 2**30
    """Optimizing starts without waiting for quiet after this many bytes were written."""
    queue_length: int = 256
    """Requests that wait for one engine process; more are refused."""
    queue_bytes: int = 256 * 2**20
    """Bytes of requests that wait for one engine process; more are refused."""
    under_way_bytes: int = 512 * 2**20
    """Bytes of all requests that are carried out or wait; more are refused."""
    message_bytes: int = 64 * 2**20
    """The largest request."""
    grace_seconds: float = 5.0
    """Requests under way at SIGTERM have this long to finish."""


def parse_options(arguments: list[str] | None = None) -> Options:
    """Options from a command line; exits with a usage message when it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m local_qdrant",
        description="Serves the part of Qdrant's gRPC API that Similis uses, on one machine.",
    )
    defaults = Options(data=Path())
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="where collections are kept")
    parser.add_argument("--listen", default=defaults.listen, metavar="ADDRESS", help="HOST:PORT or unix:/path")
    parser.add_argument(
        "--min-free-mb",
        type=int,
        default=defaults.min_free_bytes // 2**20,
        metavar="MB",
        help="refuse writes when the disk has less free space",
    )
    parser.add_argument(
        "--writers",
        type=int,
        default=defaults.writers,
        metavar="N",
        help="collections written or optimized at a time",
    )
    parser.add_argument(
        "--indexing-threads",
        type=int,
        default=defaults.indexing_threads,
        metavar="N",
        help="threads that build an index",
    )
    parser.add_argument(
        "--linger-seconds",
        type=float,
        default=defaults.linger_seconds,
        metavar="S",
        help="how long an optimized collection stays in its writer process, in case more writes come",
    )
    given = parser.parse_args(arguments)
    if given.writers < 1 or given.indexing_threads < 1 or given.min_free_mb < 0:
        parser.error("--writers and --indexing-threads must be at least 1, --min-free-mb at least 0")
    return Options(
        data=given.data,
        listen=given.listen,
        min_free_bytes=given.min_free_mb * 2**20,
        writers=given.writers,
        indexing_threads=given.indexing_threads,
        linger_seconds=given.linger_seconds,
    )
