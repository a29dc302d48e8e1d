"""Runs the one-machine Qdrant: `python -m similis.standalone.qdrant --data DIR --listen ADDRESS`."""

import asyncio
import sys

from similis.servicekit.logs import configure_logging
from similis.standalone.qdrant.app import run
from similis.standalone.qdrant.options import parse_options


def main() -> None:
    """Run until told to stop."""
    options = parse_options()
    configure_logging("qdrant")
    sys.exit(asyncio.run(run(options)))


if __name__ == "__main__":
    main()
