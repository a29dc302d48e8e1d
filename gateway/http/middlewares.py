"""What happens around every request: its id, its latency, its errors, and what browsers need."""

import time
from contextlib import AbstractContextManager
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.http.cors import Cors
from gateway.http.draining import Drain
from gateway.http.problems import http_problem, internal_problem, service_problem
from gateway.http.server import ID_HEADER, SERVER
from gateway.metrics import GatewayMetrics
from servicekit.errors import ServiceError
from servicekit.request_context import accepted_request_id, request_scope
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.tracing import Kind, Span, no_span, tracer

log = get_logger(__name__)

REQUEST_ID = web.RequestKey("request_id", str)
UNMATCHED = "unmatched"
QUIET_ROUTES = ("/healthz", "/readyz", "/readyz/gateway", "/metrics")
# Labels are bounded: whatever else a client calls its method is one of "OTHER".
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
# A client that went away before its answer; only the log and the metrics see it.
CLIENT_CLOSED = 499


def observed(metrics: GatewayMetrics, drain: Drain) -> Middleware:
    """Gives the request its id, and times it."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        identifier = request[REQUEST_ID] = accepted_request_id(request.headers.get(ID_HEADER))
        started, status = time.perf_counter(), CLIENT_CLOSED
        metrics.active.inc()
        with request_scope(identifier, None), drain.request(), _traced(request) as span:
            try:
                response = await handler(request)
                status = response.status
                return response
            finally:
                span.set("http.response.status_code", status)
                if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    span.fail(str(status))
                metrics.active.dec()
                _record(metrics, request, status, time.perf_counter() - started)

    return middleware


def translated(cors: Cors) -> Middleware:
    """Turns what a request raises into an answer, and answers OPTIONS."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ServiceError as error:
            log.info("request_refused", code=error.code, reason=error.message, cause=_cause(error))
            return service_problem(error)
        except web.HTTPMethodNotAllowed as error:
            if request.method == "OPTIONS":
                return cors.preflight({*error.allowed_methods, "OPTIONS"})
            return http_problem(error)
        except web.HTTPException as error:
            return http_problem(error)
        except Exception as error:
            log.error("request_failed", exc_info=error)
            return internal_problem()

    return middleware


def mark_answers(application: web.Application, cors: Cors, drain: Drain) -> None:
    """Puts the request's id and what browsers need on every answer, streamed ones too."""

    async def mark(request: web.Request, response: web.StreamResponse) -> None:
        response.headers[ID_HEADER] = request.get(REQUEST_ID, "")
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Server"] = SERVER
        cors.allow(request, response)
        drain.mark(response)

    application.on_response_prepare.append(mark)


def _traced(request: web.Request) -> AbstractContextManager[Span]:
    """The span of a request; the start of a trace, or a part of the caller's own."""
    method, route = _template(request)
    if route in QUIET_ROUTES:
        return no_span()
    attributes = {"http.request.method": method, "http.route": route}
    return tracer().begin(f"{method} {route}", Kind.SERVER, attributes, request.headers)


def _template(request: web.Request) -> tuple[str, str]:
    resource = request.match_info.route.resource
    route = UNMATCHED if resource is None else resource.canonical
    return request.method if request.method in METHODS else "OTHER", route


def _record(metrics: GatewayMetrics, request: web.Request, status: int, seconds: float) -> None:
    method, route = _template(request)
    metrics.requests.labels(method, route, str(status)).observe(seconds)
    if route not in QUIET_ROUTES:
        log.info("request", method=method, route=route, status=status, seconds=round(seconds, 4))


def _cause(error: ServiceError) -> str | None:
    return None if error.__cause__ is None else repr(error.__cause__)[:500]
