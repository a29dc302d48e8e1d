"""Run a worker process: `python -m embedder.workers PARENT ARENA`. Only the embedder starts it.

ARENA is the file descriptor of the shared memory, or -1 if the worker needs none.
"""

import sys

from embedder.workers.worker import run_worker
from servicekit.process.parent_link import ParentLink


def main() -> int:
    """Work until the parent hangs up."""
    parent, arena = (int(argument) for argument in sys.argv[1:3])
    run_worker(ParentLink.open(parent), arena)
    return 0


if __name__ == "__main__":
    sys.exit(main())
