"""What the logs say about a request: who sent it, what it is about, and how it ended."""

import asyncio
from http import HTTPStatus
from typing import Any

from aiohttp import web

from catalog.keys.api_keys import KnownKey
from gateway.http.problems import status_of
from servicekit.errors import ServiceError
from servicekit.telemetry.audit import Outcome, audit
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

# nginx's status for a client that went away before its answer. Only logs and metrics see it.
CLIENT_CLOSED = 499


class RequestRecord:
    """The record of one request, which is filled while the request is handled."""

    def __init__(self, client: str | None) -> None:
        """client: the address of the client."""
        self.client = client
        # Set for a request that asks for a change: what it asks for.
        self.action: str | None = None
        self.key: KnownKey | None = None
        self.collection: int | None = None
        # The code of the error, if it ended with one.
        self.code: str | None = None
        # Work that continues if the client leaves.
        self.work: asyncio.Task[Any] | None = None
        self._changed = True
        self._details: dict[str, object] = {}

    @property
    def key_name(self) -> str | None:
        """The name of the API key that was checked; None if there was none."""
        return None if self.key is None else self.key.name

    def note(self, *, changed: bool = True, **details: object) -> None:
        """Add details of the change, such as its job. changed: False if there was nothing to change."""
        self._changed = changed
        self._details |= details

    def fields(self) -> dict[str, object]:
        """Return what is known about the request, for a log event."""
        found = {
            "client": self.client,
            "key_id": self.key and self.key.id,
            "key_name": self.key_name,
            "collection": self.collection,
            "code": self.code,
        }
        return {name: value for name, value in found.items() if value is not None}

    def ended(self, status: int) -> None:
        """Log the change that was asked for, if any. Work that continues without its client is logged when it ends."""
        if self.action is None:
            return
        if status == CLIENT_CLOSED and self.work is not None:
            self.work.add_done_callback(self._work_ended)
        else:
            self._audit(status)

    def _work_ended(self, work: "asyncio.Task[Any]") -> None:
        error = asyncio.CancelledError() if work.cancelled() else work.exception()
        if error is None:
            status: int = HTTPStatus.OK
        elif isinstance(error, ServiceError):
            status, self.code = status_of(error), error.code
        elif isinstance(error, asyncio.CancelledError):
            status = CLIENT_CLOSED
        else:
            status, self.code = HTTPStatus.INTERNAL_SERVER_ERROR, "internal"
            log.error("request_failed", exc_info=error)
        self._audit(status)

    def _audit(self, status: int) -> None:
        if self.action is not None:
            audit(self.action, self._outcome(status), **self.fields(), status=status, **self._details)

    def _outcome(self, status: int) -> Outcome:
        if status < HTTPStatus.BAD_REQUEST:
            return "done" if self._changed else "unchanged"
        if status in (CLIENT_CLOSED, HTTPStatus.GATEWAY_TIMEOUT):
            return "unknown"
        return "refused" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "failed"


RECORD = web.RequestKey("record", RequestRecord)


def record_of(request: web.Request) -> RequestRecord:
    """Return the record of a request that passed through the pipeline."""
    return request[RECORD]
