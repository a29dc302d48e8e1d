"""Collections over HTTP: list, info, create, rename, delete, finetune, and the images that could not be indexed."""

from collections.abc import AsyncIterator, Sequence
from json import loads

from aiohttp import web

from catalog.collections import Collection, Collections, NewestJob
from catalog.image_versions import ImageVersions, WarnedImage
from catalog.indexes import Indexes
from catalog.jobs import Job, Jobs
from catalog.sources.sources import NewSource, Source, Sources
from gateway.access.key_check import readable_collections
from gateway.audit.request_record import record_of
from gateway.content.disk_space import DiskSpace
from gateway.content.upload import Uploads
from gateway.heidicon.importer import READ_IN_BACKGROUND, TakesLonger
from gateway.http import parameters
from gateway.http.body import fields_without_meaning, read_object
from gateway.http.draining import Drain
from gateway.http.json_object import JsonObject
from gateway.http.responses import data, prefers_csv, push, send_csv, table, timestamp
from gateway.sources.source_answers import described as described_source
from gateway.sources.source_fields import invalid_source, new_source
from gateway.upstreams.embedder import Embedder
from gateway.upstreams.trainer import TrainerClient
from servicekit.process.fault_points import FaultPoint

FINETUNE_OPTIONS = ("force", "refresh")
FAILURES_PER_PAGE, MAX_FAILURES_PER_PAGE = 1000, 10_000
WARNING_DETAILS = {"truncated": "The end of the file is missing. The part of the image that there is was indexed."}


class CollectionHandlers:
    """The routes of collections, except for content and search."""

    def __init__(
        self,
        *,
        collections: Collections,
        jobs: Jobs,
        sources: Sources,
        indexes: Indexes,
        versions: ImageVersions,
        uploads: Uploads,
        embedder: Embedder,
        trainer: TrainerClient,
        disk: DiskSpace,
        drain: Drain,
        max_name_characters: int,
    ) -> None:
        self._collections = collections
        self._jobs = jobs
        self._sources = sources
        self._indexes = indexes
        self._versions = versions
        self._uploads = uploads
        self._embedder = embedder
        self._trainer = trainer
        self._disk = disk
        self._drain = drain
        self._max_name_characters = max_name_characters

    async def list(self, request: web.Request) -> web.Response:
        """`GET /api/collection/list`."""
        found, readable = await self._collections.names(), readable_collections(request)
        if readable is not None:
            found = [(identifier, name) for identifier, name in found if identifier in readable]
        names = [{"value": identifier, "id": identifier, "name": name} for identifier, name in found]
        ids = [identifier for identifier, _ in found]
        return data({"ids": ids, "names": names}, warnings=parameters.unknown_parameters(request.query))

    async def info(self, request: web.Request) -> web.Response:
        """`GET /api/collection/{id}/info`."""
        collection = await self._collections.get(parameters.collection_id(request.match_info["id"]))
        _, failures = await self._indexes.newest_failures(collection.id)
        source = None if collection.source_type is None else await self._sources.find(collection.id)
        described = _described(collection, await self._embedder.served_backbone(), failures, source)
        return data(described, warnings=parameters.unknown_parameters(request.query))

    async def create(self, request: web.Request) -> web.Response:
        """`POST /api/collection/create`."""
        body = await read_object(request)
        name = parameters.name(body, self._max_name_characters)
        tag = parameters.heidicon_tag(body)
        source = new_source(body)
        warnings = _warnings(request, body, ("name", "heidicon_tag", "source"))
        record_of(request).note(name=name, heidicon_tag=tag, source=source and source.url)
        if source is not None:
            if tag is not None:
                raise invalid_source("and heidicon_tag exclude each other")
            return await self._create_from_source(request, name, source, warnings)
        if tag is not None:
            work = self._create_from_heidicon(request, name, tag, warnings)
            return await self._drain.to_the_end(request, work)
        record_of(request).collection = identifier = await self._collections.create(name)
        FaultPoint.CREATED.reach()
        return push("Collection created", id=identifier, warnings=warnings)

    async def _create_from_source(
        self, request: web.Request, name: str, source: NewSource, warnings: Sequence[str]
    ) -> web.Response:
        created, reading = await self._sources.create_collection(name, source, record_of(request).key_name)
        record_of(request).collection = created
        self._trainer.nudge()
        return push("Collection created", id=created, reading_id=reading, warnings=warnings)

    async def _create_from_heidicon(
        self, request: web.Request, name: str, tag: str, warnings: Sequence[str]
    ) -> web.Response:
        key_name = record_of(request).key_name
        try:
            created = await self._uploads.create_from_heidicon(name, tag, key_name)
        except TakesLonger as longer:
            identifier, reading = await self._sources.create_from_heidicon(
                name, tag, longer.instance, longer.tag, key_name
            )
            record_of(request).collection = identifier
            self._trainer.nudge()
            warnings = [READ_IN_BACKGROUND, *longer.warnings, *warnings]
            return push("Collection created", id=identifier, reading_id=reading, warnings=warnings)
        record_of(request).collection = created.id
        return push("Collection created", id=created.id, warnings=[*created.warnings, *warnings])

    async def update_name(self, request: web.Request) -> web.Response:
        """`POST /api/collection/{id}/updatename`."""
        identifier = parameters.collection_id(request.match_info["id"])
        body = await read_object(request)
        name = parameters.name(body, self._max_name_characters)
        await self._collections.rename(identifier, name)
        record_of(request).note(name=name)
        return push("Collection updated", warnings=_warnings(request, body, ("name",)))

    async def delete(self, request: web.Request) -> web.Response:
        """`POST /api/collection/{id}/delete`."""
        name = await self._collections.mark_deleting(parameters.collection_id(request.match_info["id"]))
        FaultPoint.DELETED.reach()
        record_of(request).note(name=name)
        self._trainer.nudge()
        return push("Collection deleted", warnings=parameters.unknown_parameters(request.query))

    async def finetune(self, request: web.Request) -> web.Response:
        """`POST /api/collection/{id}/finetune`."""
        identifier = parameters.collection_id(request.match_info["id"])
        self._disk.check()
        force, refresh = parameters.boolean(request.query, "force"), parameters.boolean(request.query, "refresh")
        backbone = await self._embedder.served_backbone()
        job, created = await self._jobs.enqueue(identifier, backbone=backbone, force=force, refresh=refresh)
        record_of(request).note(changed=created, job=job and job.id, force=force, refresh=refresh)
        warnings = await _finetune_warnings(request)
        if job is None:
            message = "Nothing to finetune: search already uses the newest content. Use force=true to finetune anyway."
            return push(message, job_id=None, warnings=warnings)
        self._trainer.nudge()
        return push(_finetune_message(job, created), job_id=job.id, warnings=warnings)

    async def cancel(self, request: web.Request) -> web.Response:
        """`POST /api/collection/{id}/finetune/cancel`."""
        collection = await self._collections.get(parameters.collection_id(request.match_info["id"]))
        job = await self._jobs.cancel_active(collection.id)
        record_of(request).note(changed=job is not None, job=job and job.id)
        warnings = parameters.unknown_parameters(request.query)
        if job is None:
            return push("No finetune is queued or running.", job_id=None, warnings=warnings)
        self._trainer.nudge()
        message = "The finetune was cancelled." if job.state.ended else "The finetune is being cancelled."
        return push(message, job_id=job.id, warnings=warnings)

    async def failures(self, request: web.Request) -> web.StreamResponse:
        """`GET /api/collection/{id}/failures`: a page as JSON, or all failures as CSV with `Accept: text/csv`.

        `limit`: rows of a page, warnings included. `after`: the `next` of the previous page.
        """
        identifier = parameters.collection_id(request.match_info["id"])
        limit = parameters.whole_number(request.query, "limit", FAILURES_PER_PAGE, most=MAX_FAILURES_PER_PAGE)
        after = parameters.whole_number(request.query, "after", 0, least=0)
        collection = await self._collections.get(identifier)
        index_id, number = await self._indexes.newest_failures(identifier)
        if prefers_csv(request):
            return await self._failures_table(request, collection.name, index_id)
        failed = await self._indexes.failed_images(index_id, after=after, limit=limit + 1)
        warned = await self._versions.warned(index_id, after=after, limit=limit + 1)
        ids = sorted([row.image_id for row in failed] + [row.image_id for row in warned])
        last = ids[limit - 1] if len(ids) > limit else None
        failures = [
            {"image_url": row.image_url, "repo_url": row.repo_url, "reason": row.reason, "detail": row.detail}
            for row in failed
            if last is None or row.image_id <= last
        ]
        image_warnings = [_warning(row) for row in warned if last is None or row.image_id <= last]
        found = {"failures": failures, "number_of_failures": number, "image_warnings": image_warnings, "next": last}
        return data(found, warnings=parameters.unknown_parameters(request.query, ("limit", "after")))

    async def _failures_table(self, request: web.Request, name: str, index_id: int | None) -> web.StreamResponse:
        async def rows() -> AsyncIterator[list[tuple[str, ...]]]:
            after = 0
            while page := await self._indexes.failed_images(index_id, after=after, limit=FAILURES_PER_PAGE):
                yield [(row.image_url, row.repo_url, row.reason, row.detail) for row in page]
                after = page[-1].image_id

        return await send_csv(request, f"{name} failures", table(("image_url", "repo_url", "reason", "detail"), rows()))


def _warnings(request: web.Request, body: JsonObject, known: Sequence[str]) -> Sequence[str]:
    return [*parameters.unknown_fields(body, known), *parameters.unknown_parameters(request.query)]


async def _finetune_warnings(request: web.Request) -> Sequence[str]:
    fields = await fields_without_meaning(request)
    misplaced = [
        f"The field {name} is ignored. Send it as a query parameter: ?{name}=true."
        for name in FINETUNE_OPTIONS
        if name in fields
    ]
    unknown = parameters.unknown_fields(name for name in fields if name not in FINETUNE_OPTIONS)
    return [*misplaced, *unknown, *parameters.unknown_parameters(request.query, FINETUNE_OPTIONS)]


def _warning(row: WarnedImage) -> dict[str, str]:
    detail = WARNING_DETAILS.get(row.warning, "Something was wrong with the image, but it was indexed.")
    return {"image_url": row.image_url, "repo_url": row.repo_url, "reason": row.warning, "detail": detail}


def _finetune_message(job: Job, created: bool) -> str:
    if created:
        return "Model finetuning started"
    return f"A finetune is already {job.state.value}."


def _counts(job: NewestJob) -> dict[str, int] | None:
    if job.phase_done is None or job.phase_total is None:
        return None
    return {"done": job.phase_done, "total": job.phase_total}


def _seconds_left(job: NewestJob) -> int | None:
    return None if job.seconds_left is None else round(job.seconds_left)


def _described(collection: Collection, backbone: str | None, failures: int, source: Source | None) -> dict[str, object]:
    job = collection.job
    failed = job is not None and job.state == "failed"
    return {
        "id": collection.id,
        "name": collection.name,
        "number_of_images": collection.row_count,
        "number_of_indexed_images": collection.live_images,
        "number_of_failures": failures,
        "requires_finetuning": collection.requires_finetuning(backbone),
        "last_modified": timestamp(collection.last_modified),
        "last_finetuned": timestamp(collection.last_finetuned),
        # The contract has this spelling.
        "finetuning_progess": round(job.progress, 1) if job is not None and job.active else None,
        "heidicon_tag": collection.heidicon_tag,
        "source": described_source(source),
        "finetuning_state": "never" if job is None else job.state,
        "finetuning_phase": job.phase if job is not None and job.active else None,
        "finetuning_counts": _counts(job) if job is not None and job.active else None,
        "finetuning_seconds_left": _seconds_left(job) if job is not None and job.active else None,
        "finetuning_paced_by": loads(job.paced_by) if job is not None and job.active and job.paced_by else [],
        "finetuning_warnings": list(job.warnings) if job is not None else [],
        "quality": loads(collection.live_quality) if collection.live_quality else None,
        "finetuning_error": {"code": job.error_code, "message": job.error_message} if job and failed else None,
    }
