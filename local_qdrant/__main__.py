"""Runs the one-machine Qdrant: `python -m local_qdrant --data DIR --listen ADDRESS`."""

import asyncio
import sys

from local_qdrant.app import run
from local_qdrant.options import parse_options
from servicekit.process.descriptors import raise_descriptor_limit
from servicekit.telemetry.logs import configure_logging


def main() -> None:
    """Run the server and exit with its status."""
    options = parse_options()
    configure_logging("qdrant")
    raise_descriptor_limit()
    sys.exit(asyncio.run(run(options)))


if __name__ == "__main__":
    main()
