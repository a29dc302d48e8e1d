"""The client for code without asyncio, such as scripts and notebooks."""

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from similis_client.answers import CollectionInfo
from similis_client.client import Similis
from similis_client.finetune import INTERVAL_SECONDS, Finetune

# How long a call may take to end after it was interrupted.
CANCEL_SECONDS = 5.0

P = ParamSpec("P")
T = TypeVar("T")


class _Loop:
    """An event loop in a separate thread. It does not disturb a loop in the caller's thread, as notebooks have one."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="similis-client", daemon=True)
        self._thread.start()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Return the result of a coroutine. It is cancelled if the caller is interrupted."""
        if self._loop.is_closed():
            call.close()
            raise RuntimeError("This client is closed.")
        ended = threading.Event()
        future = asyncio.run_coroutine_threadsafe(_announced(call, ended), self._loop)
        try:
            return future.result()
        except BaseException:
            # An iterator can only be closed when its last step has ended.
            if future.cancel():
                ended.wait(CANCEL_SECONDS)
            raise

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """Yield the items of an asynchronous iterator."""
        try:
            while True:
                try:
                    yield self.run(_next(items))
                except StopAsyncIteration:
                    return
        finally:
            if not self._loop.is_closed():
                self.run(_closed(items))

    def close(self, similis: Similis) -> None:
        """Close the client and end the thread."""
        if self._loop.is_closed():
            return
        self.run(similis.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _announced(call: Coroutine[Any, Any, T], ended: threading.Event) -> T:
    try:
        return await call
    finally:
        ended.set()


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items)


async def _closed(items: AsyncIterator[T]) -> None:
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()


def _blocking(
    method: Callable[Concatenate[Similis, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["SimilisSync", P], T]:
    @wraps(method)
    def call(self: "SimilisSync", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._loop.run(method(self._similis, *args, **kwargs))

    return call


def _iterating(
    method: Callable[Concatenate[Similis, P], AsyncIterator[T]],
) -> Callable[Concatenate["SimilisSync", P], Iterator[T]]:
    @wraps(method)
    def call(self: "SimilisSync", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self._loop.iterate(method(self._similis, *args, **kwargs))

    return call


class FinetuneSync:
    """A finetune that was started. job_id: None if there is nothing new to learn. message: what the service said."""

    def __init__(self, loop: _Loop, finetune: Finetune) -> None:
        self._loop = loop
        self._finetune = finetune
        loop.run(finetune.start())

    @property
    def job_id(self) -> int | None:
        """The job, or None if there is nothing new to learn."""
        return self._finetune.job_id

    @property
    def message(self) -> str:
        """What the service answered."""
        return self._finetune.message

    def watch(self, interval: float = INTERVAL_SECONDS) -> Iterator[CollectionInfo]:
        """Yield the state of the collection, every `interval` seconds, until the finetune has ended.

        Raises FinetuneFailed if it failed or was cancelled.
        """
        return self._loop.iterate(self._finetune.watch(interval))

    def wait(self, interval: float = INTERVAL_SECONDS) -> CollectionInfo:
        """Return the state of the collection after the finetune. Raises FinetuneFailed like `watch`."""
        return self._loop.run(self._finetune.wait(interval))


class SimilisSync:
    """A Similis service. The methods are those of `Similis`, without `await`; its iterators are ordinary ones.

    Use it with `with`, or call `close` at the end. It also works where an event loop is running, as in notebooks.
    """

    def __init__(self, url: str, key: str | None = None, *, attempts: int = 5, timeout: float = 70.0) -> None:
        self._similis = Similis(url, key, attempts=attempts, timeout=timeout)
        self._loop = _Loop()
        # Also runs when the interpreter exits.
        self._close = weakref.finalize(self, self._loop.close, self._similis)

    def __repr__(self) -> str:
        return repr(self._similis).replace(Similis.__name__, type(self).__name__, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._close()

    service = _blocking(Similis.service)
    specification = _blocking(Similis.specification)
    verify = _blocking(Similis.verify)
    collections = _blocking(Similis.collections)
    info = _blocking(Similis.info)
    create = _blocking(Similis.create)
    rename = _blocking(Similis.rename)
    delete = _blocking(Similis.delete)
    upload = _blocking(Similis.upload)
    reimport = _blocking(Similis.reimport)
    source = _blocking(Similis.source)
    read_source = _blocking(Similis.read_source)
    cancel_reading = _blocking(Similis.cancel_reading)
    schedule_source = _blocking(Similis.schedule_source)
    csv = _blocking(Similis.csv)
    download = _blocking(Similis.download)
    revisions = _blocking(Similis.revisions)
    images = _iterating(Similis.images)
    image = _blocking(Similis.image)
    add_images = _blocking(Similis.add_images)
    remove_images = _blocking(Similis.remove_images)
    watch = _iterating(Similis.watch)
    cancel_finetune = _blocking(Similis.cancel_finetune)
    failures = _iterating(Similis.failures)
    failure_pages = _iterating(Similis.failure_pages)
    failures_csv = _blocking(Similis.failures_csv)
    indexes = _blocking(Similis.indexes)
    index = _blocking(Similis.index)
    duplicates = _iterating(Similis.duplicates)
    duplicate_pages = _iterating(Similis.duplicate_pages)
    duplicates_csv = _blocking(Similis.duplicates_csv)
    search = _blocking(Similis.search)
    results = _iterating(Similis.results)
    similar = _blocking(Similis.similar)
    search_batch = _blocking(Similis.search_batch)
    search_collections = _blocking(Similis.search_collections)

    def finetune(self, collection: int, *, force: bool = False, refresh: bool = False) -> FinetuneSync:
        """Start a finetune and return it. Follow it with `watch` or `wait`.

        force: even if nothing changed. refresh: also download every image again.
        """
        return FinetuneSync(self._loop, self._similis.finetune(collection, force=force, refresh=refresh))
