"""A worker process: `python -m embedder.workers SOCKET PARENT ARENA`; started by the embedder only.

ARENA is the descriptor of the shared memory, -1 where the worker needs none.
"""

import signal
import socket
import sys

from embedder.workers.worker import work
from servicekit.process.lifeline import die_with_parent


def main() -> int:
    """Works until the other end of the socket is closed."""
    descriptor, parent, arena = (int(argument) for argument in sys.argv[1:4])
    die_with_parent(parent)
    # Ctrl-C reaches the whole terminal's group; the serving process decides when its workers stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=descriptor) as connection:
        work(connection, arena)
    return 0


if __name__ == "__main__":
    sys.exit(main())
