"""Run a worker process: `python -m embedder.workers PARENT ARENA CURRENT`. Only the embedder starts it.

ARENA is the file descriptor of the memory for pixels, or -1 if the worker needs none. CURRENT is that of the memory for
the number of the request that it works on.
"""

import sys

from embedder.workers.current_request import CurrentRequest
from embedder.workers.worker import run_worker
from servicekit.process.parent_link import ParentLink


def main() -> int:
    """Work until the parent hangs up."""
    parent, arena, current = (int(argument) for argument in sys.argv[1:4])
    run_worker(ParentLink.open(parent), arena, CurrentRequest(current))
    return 0


if __name__ == "__main__":
    sys.exit(main())
