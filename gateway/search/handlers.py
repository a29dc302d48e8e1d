"""Search over HTTP: a JSON object asks; or an image does, as base64, in a form, or as the body itself."""

import hashlib
import json
from dataclasses import replace
from functools import partial

from aiohttp import web

from catalog.indexes import Index
from gateway.access.key_check import readable_collections
from gateway.admission.client import current_client
from gateway.http import parameters
from gateway.http.credentials import TRUSTED
from gateway.http.json_object import JsonObject
from gateway.http.problems import problem_fields
from gateway.http.responses import data
from gateway.search import question_fields, several_fields
from gateway.search.across import CollectionsSearch
from gateway.search.answers import answered, described, merged
from gateway.search.bodies import SearchBodies, Sent, SentObject
from gateway.search.concurrency import concurrently
from gateway.search.costly_images import CostlyImages
from gateway.search.question import Example, Question
from gateway.search.service import SearchAnswer, SearchService
from gateway.search.similar import read_similar, similar_warnings
from servicekit.errors import ServiceError
from servicekit.limits import ByteAccount
from servicekit.version import VERSION

# How long caches may answer "more like this" without asking. A finetune can change the answer.
SIMILAR_SECONDS = 60
# How many queries of a batch are answered at a time. Each of them needs a place among all searches.
ANSWERED_AT_ONCE = 8
# The examples of a request, without their images, for those who describe its answer.
EXAMPLES = web.RequestKey("examples", tuple[Example, ...])
# The most that a batch may have besides its images.
BATCH_BYTES = 1024 * 1024


class SearchHandlers:
    """The search routes."""

    def __init__(
        self, *, searches: SearchService, across: CollectionsSearch, bodies: SearchBodies, costly: CostlyImages
    ) -> None:
        self._searches = searches
        self._across = across
        self._bodies = bodies
        self._costly = costly

    async def search(self, request: web.Request) -> web.Response:
        """`POST /api/collection/{id}/search`. A JSON object gets an object as the answer, other bodies a bare list."""
        client = current_client()
        self._costly.check(client)
        identifier = parameters.collection_id(request.match_info["id"])
        await self._searches.require_index(identifier)
        with self._bodies.memory() as account, self._costly.charging(client):
            sent = await self._bodies.read(request, account, question_fields.IMAGE_PATHS)
            question = _question(request, sent)
            request[EXAMPLES] = tuple(replace(each, image=None) for each in question.examples)

            async def search(index: Index) -> SearchAnswer:
                return await self._searches.search(index, question, account)

            answer = await self._searches.on_live_index(identifier, search)
        if sent.fields is None:
            return data([described(result) for result in answer.results])
        warnings = question_fields.search_warnings(sent.fields, request.query)
        paged = not question_fields.has_first_fields_only(sent.fields, request.query)
        return data(answered(answer, paged=paged), warnings=[*warnings, *answer.warnings])

    async def similar(self, request: web.Request) -> web.Response:
        """`GET /api/collection/{id}/similar`. The answer can be cached: it stays the same until the next index."""
        identifier = parameters.collection_id(request.match_info["id"])
        wanted = read_similar(request.query)
        if request.if_none_match:
            tag = _entity_tag(request, (await self._searches.find_index(identifier)).id)
            if any(tag == known.value for known in request.if_none_match):
                return _cacheable(web.Response(status=304), tag)
        with self._bodies.memory() as account:

            async def search(index: Index) -> SearchAnswer:
                question = wanted.question(await self._searches.named(index, wanted.source))
                return await self._searches.search(index, question, account)

            answer = await self._searches.on_live_index(identifier, search)
        response = data(answered(answer), warnings=[*similar_warnings(request.query), *answer.warnings])
        return _cacheable(response, _entity_tag(request, answer.index_id))

    async def search_collections(self, request: web.Request) -> web.Response:
        """`POST /api/search`: several collections, or all of them."""
        client = current_client()
        self._costly.check(client)
        with self._bodies.memory() as account, self._costly.charging(client):
            paths = question_fields.IMAGE_PATHS
            sent = await self._bodies.read_object(request, account, paths, example='{"image": "…"}')
            collections = several_fields.collections(sent.fields)
            question = question_fields.question(sent.fields, sent.images, request.query)
            answer = await self._across.search(collections, readable_collections(request), question, account)
        known = (several_fields.COLLECTIONS,)
        warnings = question_fields.search_warnings(sent.fields, request.query, also=known)
        return data(merged(answer), warnings=[*warnings, *answer.warnings])

    async def search_batch(self, request: web.Request) -> web.Response:
        """`POST /api/collection/{id}/search/batch`: several questions. Each gets an answer or a problem."""
        client = current_client()
        self._costly.check(client)
        index = await self._searches.find_index(parameters.collection_id(request.match_info["id"]))
        with self._bodies.memory() as account:
            sent = await self._bodies.read_object(
                request,
                account,
                several_fields.BATCH_IMAGE_PATHS,
                example='{"queries": [{"image": "…"}]}',
                other_bytes=BATCH_BYTES,
                keeps_errors=True,
            )
            queries = enumerate(several_fields.queries(sent.fields))
            calls = (partial(self._answer, client, index, sent, query, place, account) for place, query in queries)
            answers = await concurrently(calls, at_once=ANSWERED_AT_ONCE)
        unknown = parameters.unknown_fields(sent.fields, (several_fields.QUERIES,)) + parameters.unknown_parameters(
            request.query
        )
        return data({"answers": answers}, warnings=unknown)

    async def _answer(
        self, client: str, index: Index, sent: SentObject, query: object, place: int, memory: ByteAccount
    ) -> JsonObject:
        """Return the answer to one query of a batch, or its problem."""
        try:
            question, warnings = several_fields.query_of_batch(query, place, sent.images, sent.errors)
            self._costly.check(client)
            with self._costly.charging(client):
                answer = await self._searches.search(index, question, memory, pinned=True)
        except ServiceError as error:
            return problem_fields(error)
        fields = answered(answer)
        if warnings or answer.warnings:
            fields["warnings"] = [*warnings, *answer.warnings]
        return fields


def _question(request: web.Request, sent: Sent) -> Question:
    if sent.fields is None:
        return question_fields.image_question(sent.images[0], {**request.query, **sent.form})
    return question_fields.question(sent.fields, sent.images, request.query)


def _cacheable(response: web.Response, tag: str) -> web.Response:
    response.etag = tag
    response.headers["Cache-Control"] = f"max-age={SIMILAR_SECONDS}"
    # Without a key, credentials in URLs are left out.
    response.headers["Vary"] = "API-Key"
    return response


def _entity_tag(request: web.Request, index_id: int) -> str:
    """Return the tag of what an index answers to the query parameters of a request."""
    decides = [VERSION, index_id, request[TRUSTED], sorted(request.query.items())]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:32]
