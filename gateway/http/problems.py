"""The one table between the error tree and HTTP, and what an error looks like on the wire (RFC 9457)."""

import json
import math
from http import HTTPStatus

from aiohttp import web

from servicekit import errors
from servicekit.request_context import request_id

PROBLEM_JSON = "application/problem+json"

# Overload is 429, a part that is down 503: both ask to come back, and whoever watches can tell them apart.
STATUS_OF: dict[type[errors.ServiceError], HTTPStatus] = {
    errors.InvalidRequest: HTTPStatus.BAD_REQUEST,
    errors.FailedPrecondition: HTTPStatus.BAD_REQUEST,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.Overloaded: HTTPStatus.TOO_MANY_REQUESTS,
    errors.UpstreamFailed: HTTPStatus.BAD_GATEWAY,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
    errors.NoSpace: HTTPStatus.INSUFFICIENT_STORAGE,
}
ASK_TO_RETRY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
DEFAULT_RETRY_SECONDS = 1.0
# What the refusals of HTTP itself say in headers (RFC 9110).
HEADERS_OF_HTTP = ("Accept-Encoding", "Allow", "Location")
# Statuses that aiohttp's router and handlers raise themselves.
CODE_OF_STATUS = {
    HTTPStatus.NOT_FOUND: "route_not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "unsupported_encoding",
}


def status_of(error: errors.ServiceError) -> HTTPStatus:
    """The status of the error's class, or of the nearest of its bases that has one."""
    for kind in type(error).__mro__:
        if kind in STATUS_OF:
            return STATUS_OF[kind]
    return HTTPStatus.INTERNAL_SERVER_ERROR


def service_problem(error: errors.ServiceError) -> web.Response:
    """The answer to a request that failed for a reason of the tree."""
    status = status_of(error)
    headers = {}
    if status in ASK_TO_RETRY:
        seconds = DEFAULT_RETRY_SECONDS if error.retry_after is None else error.retry_after
        headers["Retry-After"] = str(max(1, math.ceil(seconds)))
    return _problem(status, error.code, error.message, headers)


def http_problem(error: web.HTTPException) -> web.Response:
    """The answer to what HTTP itself refuses: no such route, no such method of it, an encoding that is not undone."""
    status = HTTPStatus(error.status)
    headers = {name: error.headers[name] for name in HEADERS_OF_HTTP if name in error.headers}
    detail = f"{status.description}." if status.description else f"{status.phrase}."
    if "Accept-Encoding" in headers:
        detail = f"The content encoding of the body is none of these: {headers['Accept-Encoding']}."
    return _problem(status, CODE_OF_STATUS.get(status, status.name.lower()), detail, headers)


def internal_problem() -> web.Response:
    """The answer to a defect of ours: it says nothing but how to find the log's entry."""
    message = "Something went wrong on our side. The request id finds it in the logs."
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", message, {})


def _problem(status: HTTPStatus, code: str, detail: str, headers: dict[str, str]) -> web.Response:
    body = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        "code": code,
        "request_id": request_id(),
        "message": detail,
        "message_type": "error",
    }
    return web.Response(
        status=status.value,
        body=json.dumps(body).encode(),
        headers={**headers, "Cache-Control": "no-store"},
        content_type=PROBLEM_JSON,
    )
