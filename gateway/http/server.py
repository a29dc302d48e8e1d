"""aiohttp's server with our answers to what never becomes a request: broken HTTP, headers that are too long.

aiohttp would answer with text that quotes its parser, and log a traceback for everybody who knocks with something else.
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
# Which libraries answer is nobody's business.
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
        """The answer where there is no request to answer. Raises ConnectionError when one was begun already."""
        if request.writer.output_size > 0:
            raise ConnectionError("a response was begun") from exc
        identifier = accepted_request_id(None)
        with request_scope(identifier, None):
            if status == HTTPStatus.BAD_REQUEST:
                log.info("http_refused", reason=type(exc).__name__)
                response = service_problem(InvalidRequest("This is not valid HTTP.", code="invalid_http"))
            else:
                log.error("http_failed", status=status, reason=message, exc_info=exc)
                response = internal_problem()
        response.headers[ID_HEADER] = identifier
        response.headers["Server"] = SERVER
        self._cors.allow(request, response)
        response.force_close()
        return response


class ProblemServer(web.Server):
    """Makes our protocol for each connection."""

    def __init__(self, handler: Any, *, cors: Cors, **options: Any) -> None:
        super().__init__(handler, **options)
        self._cors = cors

    def __call__(self) -> web.RequestHandler:
        """The protocol of a new connection."""
        return ProblemProtocol(self, loop=self._loop, cors=self._cors, **self._kwargs)


class ProblemRunner(web.AppRunner):
    """Runs an application on our server."""

    def __init__(self, application: web.Application, cors: Cors, **options: Any) -> None:
        super().__init__(application, **options)
        self._cors = cors

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        # There is no public way to say which protocol is used; a test holds this to the installed aiohttp.
        return ProblemServer(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            cors=self._cors,
            **made._kwargs,  # noqa: SLF001
        )
