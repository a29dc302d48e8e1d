"""The embedder as a process: `python -m embedder`, told by SIMILIS_* what to do."""

from embedder.app import embedder
from embedder.config import EmbedderSettings
from servicekit.process.service import end_process, run_service


def main() -> int:
    """Serves until SIGTERM or SIGINT; gives the exit status."""
    return run_service("embedder", EmbedderSettings, embedder)


if __name__ == "__main__":
    end_process(main())
