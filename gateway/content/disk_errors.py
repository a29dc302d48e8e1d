"""A full disk as a service error, in the gateway and in its content processes."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from servicekit.errors import NoSpace

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def disk_errors() -> Iterator[None]:
    """Map a full disk, or an exceeded quota, to NoSpace."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise NoSpace("The gateway's disk for uploads is full.") from error
        raise
