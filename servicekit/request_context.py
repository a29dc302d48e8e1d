"""The id and the deadline of the current request. Both are passed on to every hop."""

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
    """Return the caller's id if it is short and printable ASCII, and a new one otherwise."""
    if given and len(given) <= MAX_REQUEST_ID and given.isascii() and given.isprintable():
        return given
    return secrets.token_hex(8)


def request_id() -> str:
    """Return the id of the current request, or an empty string outside a request."""
    return _request_id.get()


@contextmanager
def request_scope(identifier: str, seconds: float | None) -> Iterator[None]:
    """Make the block part of one request, whose deadline is in `seconds` (None: no deadline)."""
    id_token = _request_id.set(identifier)
    deadline_token = _deadline.set(None if seconds is None else time.monotonic() + seconds)
    try:
        with structlog.contextvars.bound_contextvars(request_id=identifier):
            yield
    finally:
        _deadline.reset(deadline_token)
        _request_id.reset(id_token)


@contextmanager
def named_request(identifier: str) -> Iterator[None]:
    """Give the block the id of a request, without the rest of `request_scope`, whose cost a flood would multiply."""
    token = _request_id.set(identifier)
    try:
        yield
    finally:
        _request_id.reset(token)


def remaining(limit: float) -> float:
    """Return the seconds until the request's deadline, `limit` at most, as the timeout of a call to an upstream.

    Raises DeadlineExceeded after the deadline, so that no work starts for a caller that has stopped waiting.
    """
    deadline = _deadline.get()
    if deadline is None:
        return limit
    left = deadline - time.monotonic()
    if left <= 0:
        raise DeadlineExceeded("The request timed out.")
    return min(left, limit)
