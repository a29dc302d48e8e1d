"""Runs the one-machine Qdrant: `python -m local_qdrant --data DIR --listen ADDRESS`."""

import asyncio
import sys

from local_qdrant.app import run
from local_qdrant.options import parse_options
from servicekit.telemetry.logs import configure_logging


def main() -> None:
    """Run the server and exit with its status."""
    options = parse_options()
    configure_logging("qdrant")
    sys.exit(asyncio.run(run(options)))


if __name__ == "__main__":
    main()
