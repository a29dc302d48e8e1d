"""aiohttp's server, with our own answers to invalid HTTP.

aiohttp would quote its parser in the answer, and log a traceback for every port scan.
"""

from http import HTTPStatus
from typing import Any

from aiohttp import web

from gateway.http.cors import Cors
from gateway.http.problems import internal_problem, service_problem
from servicekit.errors import InvalidRequest
from servicekit.request_context import accepted_request_id, request_scope
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

ID_HEADER = "X-Request-Id"
# Hides the names and versions of our libraries.
SERVER = "similis"


class ProblemProtocol(web.RequestHandler):
    """One connection."""

    def __init__(self, manager: web.Server, *, cors: Cors, **options: Any) -> None:
        super().__init__(manager, **options)
        self._cors = cors

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
        self._cors.allow(request, response)
        response.force_close()
        return response


class ProblemServer(web.Server):
    """Create a ProblemProtocol for each connection."""

    def __init__(self, handler: Any, *, cors: Cors, **options: Any) -> None:
        super().__init__(handler, **options)
        self._cors = cors

    def __call__(self) -> web.RequestHandler:
        """Return the protocol of a new connection."""
        return ProblemProtocol(self, loop=self._loop, cors=self._cors, **self._kwargs)


class ProblemRunner(web.AppRunner):
    """Run an application on a ProblemServer."""

    def __init__(self, application: web.Application, cors: Cors, **options: Any) -> None:
        super().__init__(application, **options)
        self._cors = cors

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        # aiohttp has no public way to choose the protocol. A test checks that this works with the installed version.
        return ProblemServer(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            cors=self._cors,
            **made._kwargs,  # noqa: SLF001
        )
