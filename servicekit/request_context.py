"""What belongs to the request being served: its id and its deadline. Both travel over every hop."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import structlog

from servicekit.errors import DeadlineExceeded

REQUEST_ID_KEY = "x-request-id"
MAX_REQUEST_ID = 128

_request_id: ContextVar[str] = ContextVar("request_id", default="")
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


def accepted_request_id(given: str | None) -> str:
    """The caller's own id if it is short and printable ASCII, else a new one."""
    if given and len(given) <= MAX_REQUEST_ID and given.isascii() and given.isprintable():
        return given
    return secrets.token_hex(8)


def request_id() -> str:
    """The id of the request being served; empty outside of one."""
    return _request_id.get()


@contextmanager
def request_scope(identifier: str, seconds: float | None) -> Iterator[None]:
    """Everything inside belongs to one request, which ends in `seconds` (None: no deadline)."""
    id_token = _request_id.set(identifier)
    deadline_token = _deadline.set(None if seconds is None else time.monotonic() + seconds)
    try:
        with structlog.contextvars.bound_contextvars(request_id=identifier):
            yield
    finally:
        _deadline.reset(deadline_token)
        _request_id.reset(id_token)


def remaining(limit: float) -> float:
    """Seconds that a call to an upstream may take: what is left of the request, `limit` at most.

    Raises DeadlineExceeded when nothing is left, so that no work starts that nobody waits for.
    """
    deadline = _deadline.get()
    if deadline is None:
        return limit
    left = deadline - time.monotonic()
    if left <= 0:
        raise DeadlineExceeded("The request took longer than it may.")
    return min(left, limit)
