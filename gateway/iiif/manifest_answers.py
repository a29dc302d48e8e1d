"""Searches that are answered with a IIIF manifest if the client asks for one."""

import json
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.http.json_object import JsonObject
from gateway.iiif.negotiation import FORMAT, MEDIA_TYPE, wants_manifest
from gateway.iiif.result_manifest import Asked, Result, result_manifest

NAMES = {"image_id": "image {}", "image_url": "{}", "repo_url": "the images of {}"}
SENT = "the query that was sent"


def with_manifest(handler: Handler) -> Handler:
    """Return a handler of a search that answers with a manifest if the client asks for one. Errors stay as they are."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if not wants_manifest(request):
            response = await handler(request)
            response.headers["Vary"] = _varies(response)
            return response
        response = await handler(_without_format(request))
        if response.status != 200 or not isinstance(response, web.Response) or not isinstance(response.body, bytes):
            return response
        return _manifest(request, response, json.loads(response.body))

    return answer


def _manifest(request: web.Request, response: web.Response, found: object) -> web.StreamResponse:
    # Without JSON as the body, a search answers with the bare list.
    answer = cast("JsonObject", found) if isinstance(found, dict) else {"results": found}
    path = request.path.rpartition("/")[0]
    address = f"{request.scheme}://{request.host}"
    index_id = cast("int | None", answer.get("index_id"))
    asked = Asked(
        address=f"{address}{request.rel_url}",
        query=_query(request),
        index_id=index_id,
        index_url=f"{address}{path}/indexes" + ("" if index_id is None else f"/{index_id}"),
    )
    results = [Result.of(one) for one in cast("list[JsonObject]", answer["results"])]
    manifest = result_manifest(asked, results, cast("list[str]", answer.get("warnings", [])))
    changed = web.Response(body=json.dumps(manifest, ensure_ascii=False).encode(), headers={"Content-Type": MEDIA_TYPE})
    if "Cache-Control" in response.headers:
        changed.headers["Cache-Control"] = response.headers["Cache-Control"]
    if response.etag is not None:
        tag = f"{response.etag.value}-iiif"
        if any(known.value == tag for known in request.if_none_match or ()):
            changed = web.Response(status=304, headers={"Cache-Control": response.headers["Cache-Control"]})
        changed.etag = tag
    changed.headers["Vary"] = _varies(response)
    return changed


def _without_format(request: web.Request) -> web.Request:
    """Return the request without the parameter that only concerns the form of the answer."""
    query = [(name, value) for name, value in request.query.items() if name != FORMAT]
    return request.clone(rel_url=request.rel_url.with_query(query))


def _query(request: web.Request) -> str:
    for name, words in NAMES.items():
        if name in request.query:
            return words.format(request.query[name])
    return SENT


def _varies(response: web.StreamResponse) -> str:
    given = response.headers.get("Vary")
    return "Accept" if given is None else f"{given}, Accept"
