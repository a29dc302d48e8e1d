"""Hints for requests that miss a route by little: a slash too many, no `/api`, no action, a wrong method."""

import re
from collections.abc import Iterator
from difflib import get_close_matches

from aiohttp import web
from yarl import URL

# Paths that are longer are not looked at.
MAX_PATH = 300
ONE = re.compile(r"/api/collection/([^/]+)")
OF_ONE = re.compile(r"(/api/collection/[^/]+/)(.+)")
OF_ONE_TEMPLATE = "/api/collection/{id}/"
# What a client means that asks for the collection itself with a method, as in other APIs.
ACTIONS = {"DELETE": "delete", "PATCH": "updatename", "PUT": "updatename"}
# How alike two paths must be.
SIMILARITY = 0.7


async def message_of(request: web.Request, error: web.HTTPException) -> str | None:
    """Return what to tell the client about an unknown route or method; None for any other error."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = " or ".join(sorted(set(error.allowed_methods) - {"HEAD", "OPTIONS"}))
        return f"{error.method} is not allowed for {request.path}. Use {allowed}."
    if not isinstance(error, web.HTTPNotFound):
        return None
    if len(request.path) > MAX_PATH or not request.path.isprintable():
        return "The API has no route with this path."
    message = f"The API has no route {request.path}."
    suggestion = await _suggestion(request)
    return message if suggestion is None else f"{message} Did you mean {suggestion}?"


async def _suggestion(request: web.Request) -> str | None:
    """Return method and path of a route that the client may have meant."""
    for path in _similar_paths(request):
        if method := await _method(request, path):
            return f"{method} {path}"
    return None


def _similar_paths(request: web.Request) -> Iterator[str]:
    path = re.sub(r"/{2,}", "/", request.path).rstrip("/")
    yield path or "/"
    path = path.lower()
    path = path if path.startswith("/api/") or path == "/api" else f"/api{path}"
    path = path.replace("/api/collections", "/api/collection")
    if path == "/api/collection" and request.method == "POST":
        yield "/api/collection/create"
    yield path
    if ONE.fullmatch(path):
        yield f"{path}/{ACTIONS.get(request.method, 'info')}"
    if path in ("/api", "/api/collection", "/api/list"):
        yield "/api/collection/list"
    yield from _close_paths(request, path)


def _close_paths(request: web.Request, path: str) -> Iterator[str]:
    """Yield the path of a route that is spelt similarly."""
    templates = [resource.canonical for resource in request.app.router.resources()]
    of_one = OF_ONE.fullmatch(path)
    if of_one is None:
        yield from get_close_matches(path, [text for text in templates if "{" not in text], n=1, cutoff=SIMILARITY)
        return
    # Only the action is compared: what all these paths share would make any two of them alike.
    actions = [text.removeprefix(OF_ONE_TEMPLATE) for text in templates if text.startswith(OF_ONE_TEMPLATE)]
    for action in get_close_matches(of_one[2], actions, n=1, cutoff=SIMILARITY):
        yield of_one[1] + action


async def _method(request: web.Request, path: str) -> str | None:
    """Return the method of the route with this path, the request's own if it is allowed; None if there is none."""
    found = await request.app.router.resolve(request.clone(rel_url=URL.build(path=path)))
    if found.http_exception is None:
        return "GET" if request.method == "HEAD" else request.method
    if isinstance(found.http_exception, web.HTTPMethodNotAllowed):
        return min(found.http_exception.allowed_methods)
    return None
