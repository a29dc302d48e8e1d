"""`gateway/about/openapi.yaml` describes every route, and no others."""

from unittest.mock import AsyncMock, Mock

from aiohttp import web

from catalog.keys.permissions import Scope
from gateway.http.routes import about_routes, add_status_routes, api_routes
from tests.specification import DOCUMENT, operations

# The page for people, which is no part of the API.
PAGES = {"GET /"}


def test_the_specification_describes_every_route() -> None:
    routes = {f"{route.method} {route.path}" for route in api_routes(Mock(), request_seconds=1, upload_seconds=1)}
    routes |= {f"GET {path}" for path, _ in about_routes(Mock())}
    application = web.Application()
    add_status_routes(application, AsyncMock(), metrics=True)
    routes |= {f"GET {resource.canonical}" for resource in application.router.resources()}
    assert {f"{operation.method} {operation.path}" for operation in operations()} == routes - PAGES


def test_an_operation_needs_the_key_that_its_route_needs() -> None:
    for route in api_routes(Mock(), request_seconds=1, upload_seconds=1):
        security = DOCUMENT["paths"][route.path][route.method.lower()]["security"]
        optional = route.scope is Scope.READ and not route.always_keyed
        assert security == [*([{}] if optional else []), {"ApiKey": [route.scope.value]}], route.path
