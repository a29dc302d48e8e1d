"""The embedder as a process: `python -m similis.embedder`, told by SIMILIS_* what to do."""

from similis.embedder.app import embedder
from similis.embedder.config import EmbedderSettings
from similis.servicekit.process import end_process, run_service


def main() -> int:
    """Serves until SIGTERM or SIGINT; gives the exit status."""
    return run_service("embedder", EmbedderSettings, embedder)


if __name__ == "__main__":
    end_process(main())
