"""A worker process: `python -m embedder.workers PARENT ARENA`; started by the embedder only.

ARENA is the descriptor of the shared memory, -1 where the worker needs none.
"""

import sys

from embedder.workers.worker import work
from servicekit.process.parent_link import ParentLink


def main() -> int:
    """Works until the other end of the socket is closed."""
    parent, arena = (int(argument) for argument in sys.argv[1:3])
    work(ParentLink.open(parent), arena)
    return 0


if __name__ == "__main__":
    sys.exit(main())
