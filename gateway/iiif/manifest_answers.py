"""Searches that are answered with a IIIF manifest if the client asks for one."""

import json
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler

from catalog.sources.records import Records
from gateway.http.json_object import JsonObject
from gateway.iiif.negotiation import FORMAT, MEDIA_TYPE, wants_manifest
from gateway.iiif.result_manifest import Asked, Result, result_manifest

NAMES = {"image_id": "image {}", "image_url": "{}", "repo_url": "the images of {}"}
SENT = "the query"


class ManifestAnswers:
    """Puts the results of searches into manifests."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def offered(self, handler: Handler) -> Handler:
        """Return a handler of a search that answers with a manifest if the client asks for one. Errors stay."""

        async def answer(request: web.Request) -> web.StreamResponse:
            if not wants_manifest(request):
                response = await handler(request)
                response.headers["Vary"] = _varies(response)
                return response
            response = await handler(_without_form(request))
            if response.status != 200 or not isinstance(response, web.Response) or not response.body:
                return response
            return await self._manifest(request, response)

        return answer

    async def _manifest(self, request: web.Request, response: web.Response) -> web.Response:
        if response.etag is not None:
            tag = f"{response.etag.value}-iiif"
            if any(known.value == tag for known in request.if_none_match or ()):
                return _like(web.Response(status=304), response, tag)
        found = json.loads(cast("bytes", response.body))
        # Without JSON as the body, a search answers with the bare list.
        answer = cast("JsonObject", found) if isinstance(found, dict) else {"results": found}
        results = [Result.of(one) for one in cast("list[JsonObject]", answer["results"])]
        details = await self._records.details(_collection(request), [result.image_url for result in results])
        warnings = cast("list[str]", answer.get("warnings", []))
        manifest = result_manifest(_asked(request, answer), results, details, warnings)
        body = json.dumps(manifest, ensure_ascii=False).encode()
        made = web.Response(body=body, headers={"Content-Type": MEDIA_TYPE})
        return _like(made, response, None if response.etag is None else f"{response.etag.value}-iiif")


def _like(made: web.Response, response: web.Response, tag: str | None) -> web.Response:
    """Return an answer with those headers of another one that say how long it may be kept."""
    if "Cache-Control" in response.headers:
        made.headers["Cache-Control"] = response.headers["Cache-Control"]
    if tag is not None:
        made.etag = tag
    made.headers["Vary"] = _varies(response)
    return made


def _collection(request: web.Request) -> int:
    return int(request.match_info["id"])


def _asked(request: web.Request, answer: JsonObject) -> Asked:
    path = request.path.rpartition("/")[0]
    address = f"{request.scheme}://{request.host}"
    index_id = cast("int | None", answer.get("index_id"))
    return Asked(
        address=f"{address}{request.rel_url}",
        query=_query(request),
        index_id=index_id,
        index_url=f"{address}{path}/indexes" + ("" if index_id is None else f"/{index_id}"),
    )


def _without_form(request: web.Request) -> web.Request:
    """Return the request without what only concerns the form of the answer. The tags of manifests are their own."""
    query = [(name, value) for name, value in request.query.items() if name != FORMAT]
    headers = request.headers.copy()
    headers.popall("If-None-Match", None)
    return request.clone(rel_url=request.rel_url.with_query(query), headers=headers)


def _query(request: web.Request) -> str:
    for name, words in NAMES.items():
        if name in request.query:
            return words.format(request.query[name])
    return SENT


def _varies(response: web.StreamResponse) -> str:
    given = response.headers.get("Vary")
    return "Accept" if given is None else f"{given}, Accept"
