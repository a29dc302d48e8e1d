"""Searches that are answered with a IIIF manifest if the client asks for one."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler

from catalog.images import Images
from catalog.sources.records import Records
from gateway.audit.client_address import TrustedProxies
from gateway.http.json_object import JsonObject
from gateway.iiif.asked_examples import AskedRegion, asked_regions, in_words
from gateway.iiif.negotiation import FORMAT, MEDIA_TYPE, wants_manifest
from gateway.iiif.result_manifest import Asked, Result, result_manifest
from gateway.search.handlers import EXAMPLES
from gateway.search.question import Example
from servicekit.errors import InvalidRequest

# How "more like this" names its examples.
NAMES = {"image_id": "image {}", "image_url": "{}", "repo_url": "the images of {}"}


class ManifestAnswers:
    """Puts the results of searches into manifests."""

    def __init__(self, records: Records, images: Images, proxies: TrustedProxies, *, serves_thumbnails: bool) -> None:
        self._records = records
        self._images = images
        self._proxies = proxies
        self._serves_thumbnails = serves_thumbnails

    def offered(self, handler: Handler) -> Handler:
        """Return a handler of a search that answers with a manifest if the client asks for one. Errors stay."""

        async def answer(request: web.Request) -> web.StreamResponse:
            if not wants_manifest(request):
                response = await handler(request)
                response.headers["Vary"] = _varies(response)
                return response
            asked = _without_form(request)
            response = await handler(asked)
            if response.status != 200 or not isinstance(response, web.Response) or not response.body:
                return response
            return await self._manifest(request, response, asked.get(EXAMPLES, ()))

        return answer

    async def _manifest(
        self, request: web.Request, response: web.Response, examples: Sequence[Example]
    ) -> web.Response:
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
        asked = self._asked(request, response, answer, examples)
        asked = replace(asked, regions=await self._regions(_collection(request), examples))
        manifest = result_manifest(asked, results, details, warnings)
        body = json.dumps(manifest, ensure_ascii=False).encode()
        made = web.Response(body=body, headers={"Content-Type": MEDIA_TYPE})
        return _like(made, response, None if response.etag is None else f"{response.etag.value}-iiif")

    def _asked(
        self, request: web.Request, response: web.Response, answer: JsonObject, examples: Sequence[Example]
    ) -> Asked:
        site = self._proxies.own_address(request)
        collection, address = f"{site}{request.path.rpartition('/')[0]}", f"{site}{request.rel_url}"
        if request.method == "POST":
            # Answers to different bodies must not share an address.
            digest = hashlib.sha256(cast("bytes", response.body)).hexdigest()[:16]
            address += f"{'&' if request.query_string else '?'}answer={digest}"
        index_id = cast("int | None", answer.get("index_id"))
        return Asked(
            address=address,
            query=_query(request) or in_words(examples),
            index_id=index_id,
            index_url=f"{collection}/indexes" + ("" if index_id is None else f"/{index_id}"),
            images_url=f"{collection}/images" if self._serves_thumbnails else None,
        )

    async def _regions(self, collection: int, examples: Sequence[Example]) -> list[AskedRegion]:
        """Return the parts of images that were asked for, as far as the images have an address."""
        wanted = {each.image_id for each in examples if each.region is not None and each.image_id is not None}
        urls = {}
        for identifier in wanted:
            try:
                urls[identifier] = await self._images.url(collection, identifier)
            except InvalidRequest:
                # The image was removed after it was searched for.
                continue
        return asked_regions(examples, urls)


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


def _without_form(request: web.Request) -> web.Request:
    """Return the request without what only concerns the form of the answer. The tags of manifests are their own."""
    query = [(name, value) for name, value in request.query.items() if name != FORMAT]
    headers = request.headers.copy()
    headers.popall("If-None-Match", None)
    return request.clone(rel_url=request.rel_url.with_query(query), headers=headers)


def _query(request: web.Request) -> str | None:
    """Return what "more like this" asked for, in words; None if the request is another search."""
    if request.method == "POST":
        return None
    return next((words.format(request.query[name]) for name, words in NAMES.items() if name in request.query), None)


def _varies(response: web.StreamResponse) -> str:
    given = response.headers.get("Vary")
    return "Accept" if given is None else f"{given}, Accept"
