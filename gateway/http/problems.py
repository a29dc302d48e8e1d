"""How an error is answered: the HTTP status of each service error, and the body (RFC 9457)."""

import json
import math
from http import HTTPStatus

from aiohttp import web

from servicekit import errors
from servicekit.request_context import request_id

PROBLEM_JSON = "application/problem+json"

# Overload (429), a part that is down (503) and one that is too slow (504) ask for a retry. Monitoring tells them apart.
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
ASK_TO_RETRY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
DEFAULT_RETRY_SECONDS = 1.0
# Headers of aiohttp's own errors that clients need (RFC 9110).
HEADERS_OF_HTTP = ("Accept-Encoding", "Allow", "Location")
# Errors that aiohttp's router and our handlers raise as HTTP statuses.
CODE_OF_STATUS = {
    HTTPStatus.NOT_FOUND: "route_not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "unsupported_encoding",
}


def status_of(error: errors.ServiceError) -> HTTPStatus:
    """Return the status of the error's class, or of its nearest base class that has one."""
    for kind in type(error).__mro__:
        if kind in STATUS_OF:
            return STATUS_OF[kind]
    return HTTPStatus.INTERNAL_SERVER_ERROR


def service_problem(error: errors.ServiceError) -> web.Response:
    """Return the answer to a service error."""
    status = status_of(error)
    headers = {}
    if status in ASK_TO_RETRY:
        seconds = DEFAULT_RETRY_SECONDS if error.retry_after is None else error.retry_after
        headers["Retry-After"] = str(max(1, math.ceil(seconds)))
    return _response(problem_fields(error), headers)


def problem_fields(error: errors.ServiceError) -> dict[str, object]:
    """Return the body of the answer to a service error."""
    return _fields(status_of(error), error.code, error.message, hint=error.hint)


def http_problem(error: web.HTTPException, message: str | None = None) -> web.Response:
    """Return the answer to an error of HTTP itself: an unknown route, method or content encoding.

    message: what to tell the client; None for a general text.
    """
    headers = {name: error.headers[name] for name in HEADERS_OF_HTTP if name in error.headers}
    return _problem(HTTPStatus(error.status), http_code(error), message or _http_message(error), headers)


def http_code(error: web.HTTPException) -> str:
    """Return the code of an error of HTTP itself."""
    status = HTTPStatus(error.status)
    return CODE_OF_STATUS.get(status, status.name.lower())


def internal_problem() -> web.Response:
    """Return the answer to an internal error. It reveals only the request id, to find the error in the logs."""
    message = "An internal error occurred. Quote the request_id when you report it."
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", message, {})


def _http_message(error: web.HTTPException) -> str:
    if "Accept-Encoding" in error.headers:
        return f"The Content-Encoding is not supported. Supported: {error.headers['Accept-Encoding']}."
    return f"{HTTPStatus(error.status).phrase}."


def _problem(status: HTTPStatus, code: str, message: str, headers: dict[str, str]) -> web.Response:
    return _response(_fields(status, code, message), headers)


def _fields(status: HTTPStatus, code: str, message: str, *, hint: str | None = None) -> dict[str, object]:
    return {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": message if hint is None else f"{message}. {hint}",
        "code": code,
        "request_id": request_id(),
        "message": message,
        "message_type": "error",
    }


def _response(fields: dict[str, object], headers: dict[str, str]) -> web.Response:
    return web.Response(
        status=int(str(fields["status"])),
        body=json.dumps(fields).encode(),
        headers={**headers, "Cache-Control": "no-store"},
        content_type=PROBLEM_JSON,
    )
