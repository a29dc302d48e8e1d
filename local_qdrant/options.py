"""The options of the one-machine Qdrant: its command line and the defaults."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20


@dataclass(frozen=True)
class Options:
    """Settings of one server."""

    data: Path
    listen: str = "127.0.0.1:6334"
    """`HOST:PORT` (port 0 takes any free one) or `unix:/path`."""
    min_free_bytes: int = 256 * MIB
    """Writes are refused when the file system has less free space than this."""
    writers: int = 4
    """How many collections can be written or optimized at a time, each in its own process."""
    open_collections: int = 64
    """How many collections one reader process keeps open."""
    own_reader_bytes: int = 32 * MIB
    """Collections larger than this get their own reader process."""
    own_readers: int = 8
    """How many collections may have their own reader. Further large collections share one."""
    indexing_threads: int = max(1, (os.cpu_count() or 1) - 1)
    """Threads that build an index."""
    quiet_seconds: float = 0.3
    """Optimizing starts this long after the last write."""
    optimize_after_bytes: int = 1024 * MIB
    """Optimizing starts without a pause once this many bytes were written."""
    linger_seconds: float = 3.0
    """A settled collection stays with its writer this long, in case more writes come."""
    queue_length: int = 256
    """How many requests may wait for one engine process. More are refused."""
    queue_bytes: int = 256 * MIB
    """How many bytes of requests may wait for one engine process. More are refused."""
    pending_bytes: int = 512 * MIB
    """How many bytes of requests may run or wait in all. More are refused."""
    message_bytes: int = 64 * MIB
    """The largest request."""
    silent_seconds: float = 60.0
    """How long an engine process may make no progress on its request before it is killed and replaced. 0: for ever."""
    grace_seconds: float = 5.0
    """How long requests may take to finish after SIGTERM."""


def parse_options(arguments: list[str] | None = None) -> Options:
    """Return the options of a command line. Exit with a usage message when they are wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m local_qdrant",
        description="Serves the part of Qdrant's gRPC API that Similis uses, on one machine.",
    )
    defaults = Options(data=Path())
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="where collections are kept")
    parser.add_argument(
        "--listen", default=defaults.listen, metavar="ADDRESS", help="HOST:PORT or unix:/path (default: %(default)s)"
    )
    parser.add_argument(
        "--min-free-mb",
        type=int,
        default=defaults.min_free_bytes // MIB,
        metavar="MB",
        help="refuse writes when less disk space is free (default: %(default)s)",
    )
    parser.add_argument(
        "--writers",
        type=int,
        default=defaults.writers,
        metavar="N",
        help="how many collections can be written at a time (default: %(default)s)",
    )
    parser.add_argument(
        "--indexing-threads",
        type=int,
        default=defaults.indexing_threads,
        metavar="N",
        help="threads that build an index (default: %(default)s)",
    )
    parser.add_argument(
        "--linger-seconds",
        type=float,
        default=defaults.linger_seconds,
        metavar="S",
        help="how long a writer process waits for more writes before it ends (default: %(default)s)",
    )
    parser.add_argument(
        "--silent-seconds",
        type=float,
        default=defaults.silent_seconds,
        metavar="S",
        help="how long a process may stall on a request before it is killed, 0: for ever (default: %(default)s)",
    )
    parsed = parser.parse_args(arguments)
    if parsed.writers < 1 or parsed.indexing_threads < 1 or parsed.min_free_mb < 0:
        parser.error("--writers and --indexing-threads must be at least 1, --min-free-mb at least 0")
    return Options(
        data=parsed.data,
        listen=parsed.listen,
        min_free_bytes=parsed.min_free_mb * MIB,
        writers=parsed.writers,
        indexing_threads=parsed.indexing_threads,
        linger_seconds=parsed.linger_seconds,
        silent_seconds=parsed.silent_seconds,
    )
