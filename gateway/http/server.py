"""aiohttp's server, with our own answers to invalid HTTP.

aiohttp would quote its parser in the answer, and log a traceback for every port scan.
"""

import asyncio
import json
import time
from http import HTTPStatus
from typing import Any, cast

from aiohttp import web

from gateway.admission.connections import Connection, Connections
from gateway.http.cors import Cors
from gateway.http.problems import PROBLEM_JSON, internal_problem, problem_fields, service_problem
from servicekit.errors import InvalidRequest, Unavailable
from servicekit.request_context import accepted_request_id, request_scope
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

ID_HEADER = "X-Request-Id"
# Hides the names and versions of our libraries.
SERVER = "similis"
# The least that the client has read when asyncio wants more to send: the difference of its two water marks.
WATER_MARKS = 48 * 1024
# How long a refused connection stays open, so that the client can read why.
REFUSAL_SECONDS = 0.5


class ProblemProtocol(web.RequestHandler):
    """One connection."""

    def __init__(self, manager: web.Server, *, cors: Cors, connections: Connections, **options: Any) -> None:
        super().__init__(manager, **options)
        self._cors = cors
        self._connections = connections
        self._connection: Connection | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve a connection, or refuse it if there are too many."""
        stream = cast(asyncio.Transport, transport)
        self._connection = self._connections.open(stream)
        if self._connection is None:
            _refuse(stream)
            return
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End what was begun for a connection."""
        if self._connection is not None:
            self._connections.close(self._connection)
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read a part of a request, and note whether its headers are complete."""
        connection = self._connection
        if connection is None:
            return
        super().data_received(data)
        if self._messages:
            connection.is_idle, connection.head_since = False, None
        elif connection.is_idle and connection.head_since is None and data:
            connection.head_since = time.monotonic()

    def resume_writing(self) -> None:
        """Note that the client has read something."""
        if self._connection is not None:
            self._connection.has_read(WATER_MARKS)
        super().resume_writing()

    async def _handle_request(self, *arguments: Any) -> Any:
        try:
            return await super()._handle_request(*arguments)
        finally:
            if self._connection is not None and not self._messages:
                self._connection.is_idle, self._connection.idle_since = True, time.monotonic()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to broken HTTP. Raises ConnectionError if another answer has already been started."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has already been started") from exc
        identifier = accepted_request_id(None)
        with request_scope(identifier, None):
            if status == HTTPStatus.BAD_REQUEST:
                log.info("invalid_http_refused", reason=type(exc).__name__, client=request.remote)
                message = "The request is not valid HTTP, or its headers are too long."
                response = service_problem(InvalidRequest(message, code="invalid_http"))
            else:
                log.error("request_failed_outside_handler", status=status, reason=message, exc_info=exc)
                response = internal_problem()
        response.headers[ID_HEADER] = identifier
        response.headers["Server"] = SERVER
        response.headers["X-Content-Type-Options"] = "nosniff"
        self._cors.allow(request, response)
        response.force_close()
        return response


class ProblemServer(web.Server):
    """Create a ProblemProtocol for each connection."""

    def __init__(self, handler: Any, *, cors: Cors, connections: Connections, **options: Any) -> None:
        super().__init__(handler, **options)
        self._cors = cors
        self._clients_connections = connections

    def __call__(self) -> web.RequestHandler:
        """Return the protocol of a new connection."""
        return ProblemProtocol(
            self, loop=self._loop, cors=self._cors, connections=self._clients_connections, **self._kwargs
        )


class ProblemRunner(web.AppRunner):
    """Run an application on a ProblemServer."""

    def __init__(self, application: web.Application, *, cors: Cors, connections: Connections, **options: Any) -> None:
        super().__init__(application, **options)
        self._cors = cors
        self._connections = connections

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        # aiohttp has no public way to choose the protocol. A test checks that this works with the installed version.
        return ProblemServer(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            cors=self._cors,
            connections=self._connections,
            **made._kwargs,  # noqa: SLF001
        )


def _refuse(transport: asyncio.Transport) -> None:
    """Answer 503 on a new connection, whatever is asked, and close it."""
    error = Unavailable("There are too many connections. Try again in a moment.", code="too_many_connections")
    body = json.dumps(problem_fields(error)).encode()
    head = (
        "HTTP/1.1 503 Service Unavailable",
        f"Content-Type: {PROBLEM_JSON}",
        f"Content-Length: {len(body)}",
        "Retry-After: 2",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        f"Server: {SERVER}",
        "Connection: close",
    )
    transport.write("\r\n".join([*head, "", ""]).encode() + body)
    if transport.can_write_eof():
        transport.write_eof()
    asyncio.get_running_loop().call_later(REFUSAL_SECONDS, transport.abort)
