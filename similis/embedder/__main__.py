"""The embedder as a process: `python -m similis.embedder`, told by SIMILIS_* what to do."""

import sys

from similis.embedder.app import embedder
from similis.embedder.config import EmbedderSettings
from similis.servicekit.process import run_service


def main() -> int:
    """Serves until SIGTERM or SIGINT; gives the exit status."""
    return run_service("embedder", EmbedderSettings, embedder)


if __name__ == "__main__":
    sys.exit(main())
