"""The steps around a handler, in the order in which a request passes through them.

Only what is not valid HTTP does not get here: `server.py` answers that.
"""

import asyncio
import itertools
import time
from contextlib import AbstractContextManager
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler
from opentelemetry.trace import Span, SpanKind

from catalog.keys.permissions import Scope
from gateway.access.key_check import KEY_HEADER, KEY_WAS_USED, KeyCheck
from gateway.admission.admission import Admission, Lane
from gateway.admission.client import Clients, requests_of
from gateway.admission.reception import reception
from gateway.audit.client_address import TrustedProxies
from gateway.audit.request_record import CLIENT_CLOSED, RECORD, RequestRecord, record_of
from gateway.http.cors import Cors
from gateway.http.credentials import TRUSTED, without_credentials
from gateway.http.draining import Drain
from gateway.http.hints import message_of
from gateway.http.parameters import ID
from gateway.http.problems import http_code, http_problem, internal_problem, service_problem
from gateway.http.server import ID_HEADER, SERVER
from gateway.metrics import GatewayMetrics
from gateway.upstreams.schema_wait import SchemaWait
from servicekit.errors import DeadlineExceeded, ServiceError
from servicekit.request_context import accepted_request_id, named_request, request_id, request_scope
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.tracing import fail_span, no_span, root_span

log = get_logger(__name__)

REQUEST_ID = web.RequestKey("request_id", str)
UNMATCHED = "unmatched"
# Requested every few seconds by whatever watches the gateway, and the many files of the web page.
QUIET_ROUTES = ("/healthz", "/readyz", "/readyz/gateway", "/metrics", "/web/{version}/{name}", "/embed.js")
# Labels of metrics must be bounded, so every other method counts as "OTHER".
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


async def expect_later(_: web.Request) -> None:
    """Leave `Expect: 100-continue` unanswered: the body is asked for when it is read, after the key was checked.

    Replaces aiohttp's own handler, which runs before any middleware.
    """


class RequestPipeline:
    """The steps around every handler."""

    def __init__(
        self,
        *,
        metrics: GatewayMetrics,
        drain: Drain,
        cors: Cors,
        schema: SchemaWait,
        keys: KeyCheck,
        proxies: TrustedProxies,
        clients: Clients,
        admission: Admission,
    ) -> None:
        self._metrics = metrics
        self._drain = drain
        self._cors = cors
        self._schema = schema
        self._keys = keys
        self._proxies = proxies
        self._clients = clients
        self._admission = admission
        # Latencies of the routes are compared with those of the same route only.
        self._kinds = itertools.count()
        self._lanes: dict[object, Lane] = {}

    def install(self, application: web.Application) -> None:
        """Put every request of the application through `observe` and `answer_errors`, every answer through `finish`."""
        application.middlewares.extend((self.observe, self.answer_errors))
        application.on_response_prepare.append(self.finish)

    @web.middleware
    async def observe(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Give the request its id, trace it, count and time it, and log how it ended."""
        started, status = time.perf_counter(), CLIENT_CLOSED
        identifier = request[REQUEST_ID] = accepted_request_id(request.headers.get(ID_HEADER))
        address = self._proxies.client_address(request)
        client = self._clients.name(request.headers.get(KEY_HEADER), address)
        refusal = self._refusal(request, client)
        if refusal is not None:
            method, route = _method_and_route(request)
            self._metrics.requests.labels(method, route, str(refusal.status)).observe(time.perf_counter() - started)
            return refusal
        request[RECORD] = RequestRecord(address)
        self._metrics.active.inc()
        with request_scope(identifier, None), requests_of(client), self._drain.request(), _traced(request) as span:
            try:
                response = await handler(request)
                status = response.status
                return response
            finally:
                span.set_attribute("http.response.status_code", status)
                if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    fail_span(span, str(status))
                self._metrics.active.dec()
                ended = (request, status, time.perf_counter() - started)
                if record_of(request).action is None:
                    # After the response was sent, so that it does not wait for the log.
                    asyncio.get_running_loop().call_soon(self._record, *ended)
                else:
                    # A change is logged before its client gets the response.
                    self._record(*ended)

    def _refusal(self, request: web.Request, client: str) -> web.Response | None:
        """Return the answer to a request that is refused before any work is done for it; None if it is let in.

        This is all that a request costs in a flood.
        """
        lane = self._lanes.get(request.match_info.handler)
        if lane is None:
            return None
        try:
            self._admission.check(lane, client)
        except ServiceError as error:
            log.info("request_refused", code=error.code, client=client, request_id=request[REQUEST_ID])
            with named_request(request[REQUEST_ID]):
                return service_problem(error)
        return None

    @web.middleware
    async def answer_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn what the request raises into an answer, and answer CORS preflights."""
        try:
            return await handler(request)
        except ServiceError as error:
            record_of(request).code = error.code
            cause = None if error.__cause__ is None else repr(error.__cause__)[:500]
            log.info("request_refused", code=error.code, reason=error.message, cause=cause)
            return service_problem(error)
        except web.HTTPMethodNotAllowed as error:
            if request.method == "OPTIONS":
                return self._cors.preflight(request, {*error.allowed_methods, "OPTIONS"})
            return await _http_problem(request, error)
        except web.HTTPException as error:
            return await _http_problem(request, error)
        except Exception as error:
            record_of(request).code = "internal"
            log.error("request_failed", exc_info=error)
            return internal_problem()

    def guard(
        self,
        handler: Handler,
        *,
        scope: Scope,
        always_keyed: bool,
        seconds: float | None,
        lane: Lane,
        action: str | None,
    ) -> Handler:
        """Return the handler of an API route behind its checks: admission, the database's schema, the API key.

        scope: what a key must allow. always_keyed: a key is needed even if reading needs none. seconds: the deadline;
        None: there is none. lane: of the route. action: what the audit log calls the change that the route makes; None:
        it makes none.
        """
        kind = next(self._kinds)

        async def checked(request: web.Request) -> web.StreamResponse:
            with reception():
                async with self._admission.admitted(lane, kind):
                    await self._schema.check()
                    await self._keys.check(request, scope, always_keyed=always_keyed)
                    response = await handler(request)
            if not request[TRUSTED] and isinstance(response, web.Response) and isinstance(response.body, bytes):
                response.body = without_credentials(response.body)
            return response

        async def guarded(request: web.Request) -> web.StreamResponse:
            record = record_of(request)
            record.action = action
            identifier = request.match_info.get("id", "")
            if ID.fullmatch(identifier):
                record.collection = int(identifier)
            if seconds is None:
                return await checked(request)
            with request_scope(request_id(), seconds):
                try:
                    async with asyncio.timeout(seconds) as deadline:
                        return await checked(request)
                except TimeoutError:
                    if not deadline.expired():
                        raise
                    raise DeadlineExceeded(f"The request took longer than {seconds:g} seconds.") from None

        self._lanes[guarded] = lane
        return guarded

    async def finish(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the headers that every answer has, streamed answers included."""
        response.headers[ID_HEADER] = request.get(REQUEST_ID, "")
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Server"] = SERVER
        if request.get(KEY_WAS_USED):
            # The answer is for the holder of the key only.
            response.headers["Cache-Control"] = "no-store"
        self._cors.allow(request, response)
        self._drain.close_connection(response)

    def _record(self, request: web.Request, status: int, seconds: float) -> None:
        method, route = _method_and_route(request)
        self._metrics.requests.labels(method, route, str(status)).observe(seconds)
        record = record_of(request)
        if route not in QUIET_ROUTES:
            taken = round(seconds, 4)
            log.info("request", method=method, route=route, status=status, seconds=taken, **record.fields())
        record.ended(status)


async def _http_problem(request: web.Request, error: web.HTTPException) -> web.Response:
    record_of(request).code = http_code(error)
    return http_problem(error, await message_of(request, error))


def _traced(request: web.Request) -> AbstractContextManager[Span]:
    """Begin the span of a request: a new trace, or a part of the caller's."""
    method, route = _method_and_route(request)
    if route in QUIET_ROUTES:
        return no_span()
    attributes = {"http.request.method": method, "http.route": route}
    return root_span(f"{method} {route}", attributes, kind=SpanKind.SERVER, headers=request.headers)


def _method_and_route(request: web.Request) -> tuple[str, str]:
    resource = request.match_info.route.resource
    route = UNMATCHED if resource is None else resource.canonical
    return request.method if request.method in METHODS else "OTHER", route
