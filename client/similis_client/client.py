"""The client for asyncio."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from similis_client.answers import (
    BatchAnswers,
    CollectionInfo,
    CollectionList,
    CollectionName,
    Confirmation,
    Created,
    DuplicateGroup,
    DuplicatePage,
    Failure,
    FailurePage,
    FinetuneStarted,
    Image,
    ImagePage,
    ImagesAdded,
    Index,
    Indexes,
    KeyInfo,
    MergedAnswer,
    Problem,
    Result,
    Revision,
    Revisions,
    SearchAnswer,
    ServiceInfo,
    Uploaded,
)
from similis_client.errors import ApiError, UnexpectedAnswer, error_class
from similis_client.finetune import INTERVAL_SECONDS, Finetune, watched
from similis_client.pages import Cursor, pages
from similis_client.queries import ImageSource, NewImage, Query
from similis_client.sources import IiifSource, OaiSource, ReadingStarted, SourceStatus
from similis_client.transport import CHUNK_BYTES, Content, Transport

CSV = {"Accept": "text/csv"}


class Similis:
    """A Similis service. Use it with `async with`, or call `close` at the end.

    url: of the service, such as `https://similis.example.org`. key: the API key; searches usually need none. attempts:
    how often a request is sent in all while the service is too busy (429) or a part of it is down (503); it is repeated
    when the service says so. timeout: the seconds to wait for an answer.

    Every method raises SimilisError: an ApiError if the service refused, ConnectionFailed if it could not be reached.
    """

    def __init__(self, url: str, key: str | None = None, *, attempts: int = 5, timeout: float = 70.0) -> None:
        self._http = Transport(url, key, attempts=attempts, timeout=timeout)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._http.url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    # About the service

    async def service(self) -> ServiceInfo:
        """Return the version, the backbone and the limits of the service."""
        return await self._http.get("/api/info", ServiceInfo)

    async def specification(self) -> dict[str, object]:
        """Return the OpenAPI specification of the service."""
        return await self._http.get("/api/openapi.json", dict[str, object])

    async def verify(self) -> KeyInfo:
        """Return what the API key may do. Raises Forbidden if it is not valid."""
        return await self._http.post("/api/verify", KeyInfo)

    # Collections

    async def collections(self) -> list[CollectionName]:
        """Return the ids and names of all collections, by id."""
        return (await self._http.get("/api/collection/list", CollectionList)).names

    async def info(self, collection: int) -> CollectionInfo:
        """Return a collection and the state of its newest finetune."""
        return await self._http.get(_path(collection, "info"), CollectionInfo)

    async def create(
        self, name: str, *, heidicon_tag: str | int | None = None, source: IiifSource | OaiSource | None = None
    ) -> Created:
        """Create a collection. heidicon_tag: the tag in HeidICON that its images have; they are read at once.

        source: where its images are kept; the service reads it afterwards. See `source`.
        """
        body: dict[str, object] = {"name": name}
        if heidicon_tag is not None:
            body["heidicon_tag"] = heidicon_tag
        if source is not None:
            body["source"] = source.as_json()
        return await self._http.post("/api/collection/create", Created, body)

    async def rename(self, collection: int, name: str) -> Confirmation:
        """Give a collection another name."""
        return await self._http.post(_path(collection, "updatename"), Confirmation, {"name": name})

    async def delete(self, collection: int) -> Confirmation:
        """Delete a collection with all that belongs to it."""
        return await self._http.post(_path(collection, "delete"), Confirmation)

    # Content

    async def upload(self, collection: int, csv: Content, *, allow_empty: bool = False) -> Uploaded:
        """Replace the content with a CSV: its bytes, or its path. Search uses it after the next finetune.

        allow_empty: accept a CSV without images, which removes all images.
        """
        parameters = {"allow_empty": allow_empty or None}
        return await self._http.post(_path(collection, "updatecontent"), Uploaded, content=csv, parameters=parameters)

    async def reimport(self, collection: int) -> Uploaded:
        """Read the content of a collection with a HeidICON tag again."""
        return await self._http.post(_path(collection, "updatecontent"), Uploaded)

    async def source(self, collection: int, *, page_size: int | None = None, after: int | None = None) -> SourceStatus:
        """Return the source of a collection, and records that brought no image. after: `next` of the page before."""
        parameters = {"limit": page_size, "after": after}
        return await self._http.get(_path(collection, "source"), SourceStatus, parameters)

    async def read_source(self, collection: int, *, full: bool = False) -> ReadingStarted:
        """Queue a reading of the source. full: ask for everything, not only for what has changed."""
        parameters = {"full": full or None}
        return await self._http.post(_path(collection, "source/read"), ReadingStarted, parameters=parameters)

    async def cancel_reading(self, collection: int) -> ReadingStarted:
        """Cancel the queued or running reading. The content stays as it was."""
        return await self._http.post(_path(collection, "source/cancel"), ReadingStarted)

    async def schedule_source(
        self, collection: int, *, refresh: str | None = None, then: str | None = None
    ) -> Confirmation:
        """Change when the source is read. refresh: `daily` or `weekly`. then: `finetune`. None switches it off."""
        body = {"refresh": refresh, "then": then}
        return await self._http.post(_path(collection, "source/schedule"), Confirmation, body)

    async def csv(self, collection: int, *, revision: int | None = None) -> bytes:
        """Return the content as it was uploaded. revision: an earlier one, as in `revisions`."""
        path = _path(collection, "csvfile")
        async with self._http.request("GET", path, parameters={"revision": revision}) as response:
            return await response.read()

    async def download(self, collection: int, path: os.PathLike[str], *, revision: int | None = None) -> None:
        """Write the content to a file, as it was uploaded. The file appears when the download is complete."""
        route = _path(collection, "csvfile")
        async with self._http.request("GET", route, parameters={"revision": revision}) as response:
            target = Path(path)
            part = target.with_name(f".{target.name}.part")
            file = await asyncio.to_thread(part.open, "wb")
            try:
                with file:
                    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                        await asyncio.to_thread(file.write, chunk)
                await asyncio.to_thread(part.replace, target)
            finally:
                part.unlink(missing_ok=True)

    async def revisions(self, collection: int) -> list[Revision]:
        """Return the last contents, newest first."""
        return (await self._http.get(_path(collection, "revisions"), Revisions)).revisions

    # Images

    async def images(
        self, collection: int, *, state: str | None = None, repo_url: str | None = None, page_size: int | None = None
    ) -> AsyncIterator[Image]:
        """Yield the images. state: only those that are `pending`, `indexed` or `failed`. repo_url: only those of it."""

        async def read(after: Cursor) -> ImagePage:
            parameters = {"limit": page_size, "after": after, "state": state, "repo_url": repo_url}
            return await self._http.get(_path(collection, "images"), ImagePage, parameters)

        async for page in pages(read):
            for image in page.images:
                yield image

    async def image(self, collection: int, image: int) -> Image:
        """Return one image."""
        return await self._http.get(_path(collection, f"images/{image}"), Image)

    async def add_images(self, collection: int, images: Iterable[NewImage]) -> list[int]:
        """Append images to the content, at most 10,000, and return their ids. Search finds them after a finetune."""
        body = {"images": [image.body() for image in images]}
        return (await self._http.post(_path(collection, "images"), ImagesAdded, body)).image_ids

    async def remove_images(self, collection: int, images: Iterable[int]) -> Confirmation:
        """Remove images from the content. An unknown id is an error, and then nothing is removed."""
        return await self._http.post(_path(collection, "images/delete"), Confirmation, {"image_ids": list(images)})

    # Finetuning

    def finetune(self, collection: int, *, force: bool = False, refresh: bool = False) -> Finetune:
        """Return a finetune. Await it to start it, or follow it: `async for info in similis.finetune(1).watch()`.

        force: even if nothing changed. refresh: also download every image again.
        """
        parameters = {"force": force or None, "refresh": refresh or None}

        async def start() -> FinetuneStarted:
            return await self._http.post(_path(collection, "finetune"), FinetuneStarted, parameters=parameters)

        return Finetune(start, lambda: self.info(collection))

    async def watch(self, collection: int, *, interval: float = INTERVAL_SECONDS) -> AsyncIterator[CollectionInfo]:
        """Yield the state of a collection, every `interval` seconds, until no finetune is queued or running.

        Raises FinetuneFailed if the newest one failed or was cancelled.
        """
        async for info in watched(lambda: self.info(collection), interval):
            yield info

    async def cancel_finetune(self, collection: int) -> FinetuneStarted:
        """Cancel the queued or running finetune. The previous index stays in use."""
        return await self._http.post(_path(collection, "finetune/cancel"), FinetuneStarted)

    async def failures(self, collection: int, *, page_size: int | None = None) -> AsyncIterator[Failure]:
        """Yield the images that the newest finetune could not index."""
        async for page in self.failure_pages(collection, page_size=page_size):
            for failure in page.failures:
                yield failure

    async def failure_pages(self, collection: int, *, page_size: int | None = None) -> AsyncIterator[FailurePage]:
        """Yield the pages of failures, which also have warnings about images that were indexed."""

        async def read(after: Cursor) -> FailurePage:
            parameters = {"limit": page_size, "after": after}
            return await self._http.get(_path(collection, "failures"), FailurePage, parameters)

        async for page in pages(read):
            yield page

    async def failures_csv(self, collection: int) -> bytes:
        """Return all failures as a CSV with a header row."""
        async with self._http.request("GET", _path(collection, "failures"), headers=CSV) as response:
            return await response.read()

    async def indexes(self, collection: int) -> list[Index]:
        """Return the last published indexes, newest first."""
        return (await self._http.get(_path(collection, "indexes"), Indexes)).indexes

    async def index(self, collection: int, index: int) -> Index:
        """Return one published index, also if it was replaced."""
        return await self._http.get(_path(collection, f"indexes/{index}"), Index)

    async def duplicates(
        self, collection: int, *, kind: str | None = None, page_size: int | None = None
    ) -> AsyncIterator[DuplicateGroup]:
        """Yield the groups of duplicates in the index. kind: only `identical` or `copy`."""
        async for page in self.duplicate_pages(collection, kind=kind, page_size=page_size):
            for group in page.duplicates:
                yield group

    async def duplicate_pages(
        self, collection: int, *, kind: str | None = None, page_size: int | None = None
    ) -> AsyncIterator[DuplicatePage]:
        """Yield the pages of duplicates, which say whether duplicates were searched for, and why not."""

        async def read(after: Cursor) -> DuplicatePage:
            parameters = {"kind": kind, "limit": page_size, "after": after}
            return await self._http.get(_path(collection, "duplicates"), DuplicatePage, parameters)

        async for page in pages(read):
            yield page

    async def duplicates_csv(self, collection: int, *, kind: str | None = None) -> bytes:
        """Return all groups of duplicates as a CSV with a header row."""
        path = _path(collection, "duplicates")
        async with self._http.request("GET", path, parameters={"kind": kind}, headers=CSV) as response:
            return await response.read()

    # Search

    async def search(self, collection: int, query: Query | ImageSource) -> SearchAnswer:
        """Find what looks most like a query, best first. An image alone stands for `Query(image=…)`."""
        return await self._http.post(_path(collection, "search"), SearchAnswer, await _read(query))

    async def results(self, collection: int, query: Query | ImageSource) -> AsyncIterator[Result]:
        """Yield results, best first, as many as are asked for: `num_results` is the size of a page here."""
        body = await _read(query)
        offset: int | None = None
        while True:
            asked = body if offset is None else {**body, "offset": offset}
            answer = await self._http.post(_path(collection, "search"), SearchAnswer, asked)
            for result in answer.results:
                yield result
            offset = answer.next_offset
            if offset is None:
                return

    async def similar(
        self,
        collection: int,
        *,
        image_id: int | None = None,
        image_url: str | None = None,
        repo_url: str | None = None,
        num_results: int | None = None,
        offset: int | None = None,
        group_by: str | None = None,
        min_percentile: float | None = None,
    ) -> SearchAnswer:
        """Find images like one of the collection. Exactly one of the first three is given; nothing is downloaded."""
        parameters = {
            "image_id": image_id,
            "image_url": image_url,
            "repo_url": repo_url,
            "num_results": num_results,
            "offset": offset,
            "group_by": group_by,
            "min_percentile": min_percentile,
        }
        return await self._http.get(_path(collection, "similar"), SearchAnswer, parameters)

    async def search_batch(
        self, collection: int, queries: Sequence[Query | ImageSource]
    ) -> list[SearchAnswer | ApiError]:
        """Run up to 64 searches, and return the answer or the error of each."""
        body = {"queries": [await _read(query) for query in queries]}
        answers = await self._http.post(_path(collection, "search/batch"), BatchAnswers, body)
        return [_answer_or_error(answer) for answer in answers.answers]

    async def search_collections(
        self, query: Query | ImageSource, collections: Sequence[int] | None = None
    ) -> MergedAnswer:
        """Search several collections, or all for None. Results are merged by percentile."""
        body = await _read(query)
        if collections is not None:
            body["collections"] = list(collections)
        return await self._http.post("/api/search", MergedAnswer, body)


def _path(collection: int, action: str) -> str:
    return f"/api/collection/{collection}/{action}"


async def _read(query: Query | ImageSource) -> dict[str, object]:
    """Return the body of a search, with the images that are files."""
    asked = query if isinstance(query, Query) else Query(image=query)
    return await asyncio.to_thread(asked.body)


def _answer_or_error(answer: dict[str, object]) -> SearchAnswer | ApiError:
    try:
        if "results" in answer:
            return msgspec.convert(answer, SearchAnswer)
        problem = msgspec.convert(answer, Problem)
    except msgspec.ValidationError as error:
        raise UnexpectedAnswer("unexpected_answer", f"The service sent an unexpected answer: {error}") from error
    detail = problem.detail or problem.message or problem.code
    return error_class(problem.status, problem.code)(
        problem.code, detail, status=problem.status, request_id=problem.request_id
    )
