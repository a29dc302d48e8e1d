"""Run the embedder as a process: `python -m embedder`. Configure it with SIMILIS_ environment variables."""

from embedder.app import embedder
from embedder.config import EmbedderSettings
from servicekit.process.service import end_process, run_service


def main() -> int:
    """Serve until SIGTERM or SIGINT and return the exit status."""
    return run_service("embedder", EmbedderSettings, embedder)


if __name__ == "__main__":
    end_process(main())
