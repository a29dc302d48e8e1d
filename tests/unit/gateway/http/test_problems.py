"""Each service error has its HTTP status and the body that the contract promises."""

import json

import pytest
from aiohttp import web

from catalog.vectors.client import VectorsMissing
from gateway.http.problems import http_problem, internal_problem, service_problem, status_of
from servicekit import errors
from servicekit.request_context import request_scope


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.InvalidRequest, 400),
        (errors.FailedPrecondition, 400),
        (errors.Forbidden, 403),
        (errors.NotFound, 404),
        (errors.TooLarge, 413),
        (errors.Overloaded, 429),
        (errors.UpstreamFailed, 502),
        (errors.Unavailable, 503),
        (VectorsMissing, 503),
        (errors.DeadlineExceeded, 504),
        (errors.NoSpace, 507),
        (errors.ServiceError, 500),
    ],
)
def test_an_error_has_the_status_of_its_nearest_base(kind: type[errors.ServiceError], status: int) -> None:
    with request_scope("id-1", None):
        response = service_problem(kind("What happened."))
    assert response.status == status
    assert response.content_type == "application/problem+json"
    assert isinstance(response.body, bytes)
    body = json.loads(response.body)
    assert body["status"] == status
    assert (body["code"], body["request_id"]) == (kind.default_code, "id-1")
    assert body["detail"] == body["message"] == "What happened."
    assert ("Retry-After" in response.headers) == (status in (429, 503, 504))


def test_every_service_error_has_a_status() -> None:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.ServiceError) and kind is not errors.ServiceError:
            assert status_of(kind("x")) != 500, kind


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (web.HTTPNotFound(), 404, "route_not_found"),
        (web.HTTPMethodNotAllowed("PUT", ["POST", "GET"]), 405, "method_not_allowed"),
        (web.HTTPUnsupportedMediaType(headers={"Accept-Encoding": "gzip"}), 415, "unsupported_encoding"),
        (web.HTTPExpectationFailed(), 417, "expectation_failed"),
    ],
)
def test_errors_of_http_have_the_same_body(error: web.HTTPException, status: int, code: str) -> None:
    response = http_problem(error)
    assert response.status == status
    assert isinstance(response.body, bytes)
    body = json.loads(response.body)
    assert (body["status"], body["code"]) == (status, code)
    assert body["detail"] == body["message"]


@pytest.mark.parametrize(("seconds", "header"), [(None, "1"), (0.2, "1"), (1.5, "2"), (30, "30")])
def test_retry_after_is_in_whole_seconds(seconds: float | None, header: str) -> None:
    assert service_problem(errors.Unavailable("x", retry_after=seconds)).headers["Retry-After"] == header


def test_a_defect_reveals_nothing() -> None:
    response = internal_problem()
    assert response.status == 500
    assert isinstance(response.body, bytes)
    assert json.loads(response.body)["code"] == "internal"
