"""Sources over HTTP: see one, read it again, cancel that, and change when it is read."""

from aiohttp import web

from catalog.collections import Collections
from catalog.sources.readings import Readings
from catalog.sources.sources import Source, Sources
from gateway.audit.request_record import record_of
from gateway.http import parameters
from gateway.http.body import read_object
from gateway.http.responses import data, push
from gateway.sources.source_answers import described
from gateway.sources.source_fields import SCHEDULE, schedule
from gateway.upstreams.trainer import TrainerClient
from servicekit.errors import InvalidRequest

FAILURES_PER_PAGE, MAX_FAILURES_PER_PAGE = 100, 10_000


class SourceHandlers:
    """The routes of a collection's source."""

    def __init__(
        self, *, collections: Collections, sources: Sources, readings: Readings, trainer: TrainerClient
    ) -> None:
        self._collections = collections
        self._sources = sources
        self._readings = readings
        self._trainer = trainer

    async def one(self, request: web.Request) -> web.Response:
        """`GET /api/collection/{id}/source`: the source, and a page of the records that brought no image.

        `limit`: records of a page. `after`: the `next` of the previous page.
        """
        source = await self._source(request)
        limit = parameters.whole_number(request.query, "limit", FAILURES_PER_PAGE, most=MAX_FAILURES_PER_PAGE)
        after = parameters.whole_number(request.query, "after", 0, least=0)
        found = await self._sources.failures(source.collection_id, after=after, limit=limit + 1)
        failures = [{"record": one.identifier, "reason": one.reason, "detail": one.detail} for one in found[:limit]]
        answer = {
            "source": described(source),
            "failure_counts": await self._sources.failure_counts(source.collection_id),
            "failures": failures,
            "next": found[limit - 1].ordinal if len(found) > limit else None,
        }
        return data(answer, warnings=parameters.unknown_parameters(request.query, ("limit", "after")))

    async def read(self, request: web.Request) -> web.Response:
        """`POST /api/collection/{id}/source/read`. `full`: ask for everything, not only for what has changed."""
        source = await self._source(request)
        full = parameters.boolean(request.query, "full")
        reading = await self._sources.enqueue(source.collection_id, whole=full, key_name=record_of(request).key_name)
        record_of(request).note(changed=reading.new, reading=reading.id, full=full)
        self._trainer.nudge()
        message = "The reading has been queued." if reading.new else f"A reading is already {reading.state}."
        return push(message, reading_id=reading.id, warnings=parameters.unknown_parameters(request.query, ("full",)))

    async def cancel(self, request: web.Request) -> web.Response:
        """`POST /api/collection/{id}/source/cancel`."""
        source = await self._source(request)
        reading = await self._readings.cancel_active(source.collection_id)
        record_of(request).note(changed=reading is not None, reading=reading and reading.id)
        warnings = parameters.unknown_parameters(request.query)
        if reading is None:
            return push("No reading is queued or running.", reading_id=None, warnings=warnings)
        self._trainer.nudge()
        return push("The reading is being cancelled.", reading_id=reading.id, warnings=warnings)

    async def schedule(self, request: web.Request) -> web.Response:
        """`POST /api/collection/{id}/source/schedule`: `refresh` and `then`, both or none."""
        source = await self._source(request)
        body = await read_object(request)
        refresh, then_finetune = schedule(body)
        await self._sources.schedule(source.collection_id, refresh, then_finetune=then_finetune)
        record_of(request).note(refresh=refresh, then_finetune=then_finetune)
        message = "The source is read on request only." if refresh is None else f"The source is read {refresh}."
        warnings = [*parameters.unknown_fields(body, SCHEDULE), *parameters.unknown_parameters(request.query)]
        return push(message, warnings=warnings)

    async def _source(self, request: web.Request) -> Source:
        collection = await self._collections.get(parameters.collection_id(request.match_info["id"]))
        source = await self._sources.find(collection.id)
        if source is not None:
            return source
        advice = (
            "Upload a CSV instead." if collection.heidicon_tag is None else "Call updatecontent to read HeidICON again."
        )
        message = f"Collection {collection.id} has no IIIF or OAI-PMH source. {advice}"
        raise InvalidRequest(message, code="no_source")
