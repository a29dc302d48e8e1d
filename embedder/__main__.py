"""`python -m embedder` runs the embedder until SIGTERM or SIGINT, `python -m embedder check` tries what it needs."""

import sys

from embedder.config import EmbedderSettings
from servicekit.check.command import run_check
from servicekit.process.service import end_process, run_service
from servicekit.settings import quiet_grpc


def main() -> int:
    """Serve until SIGTERM or SIGINT and return the exit status."""
    # Before gRPC is imported. Each of the two starts sooner without the other.
    quiet_grpc()
    if sys.argv[1:2] == ["check"]:
        from embedder.check import checks

        return run_check("embedder", EmbedderSettings, checks, sys.argv[2:])
    from embedder.app import embedder

    return run_service("embedder", EmbedderSettings, embedder)


if __name__ == "__main__":
    end_process(main())
