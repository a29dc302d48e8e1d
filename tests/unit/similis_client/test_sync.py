"""The client without asyncio."""

import asyncio
import inspect
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from similis_client import CollectionNotFound, Similis, SimilisSync
from tests.unit.similis_client.conftest import Service
from tests.unit.similis_client.test_client import INFO

FAILURE = {"image_url": "u", "repo_url": "r", "reason": "not_found", "detail": "404"}


def client_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "similis-client"]


@pytest.fixture
def outside() -> Iterator[ThreadPoolExecutor]:
    """Threads without an event loop. The test's own loop runs the service."""
    with ThreadPoolExecutor() as executor:
        yield executor


def test_it_has_every_method_of_the_client() -> None:
    def public(kind: type) -> set[str]:
        return {name for name, value in vars(kind).items() if not name.startswith("_") and callable(value)}

    assert public(SimilisSync) == public(Similis)


def test_methods_keep_their_documentation_and_parameters() -> None:
    assert SimilisSync.info.__doc__ == Similis.info.__doc__
    assert inspect.signature(SimilisSync.upload) == inspect.signature(Similis.upload)


async def test_it_works_in_a_script(service: Service) -> None:
    service.answer({"failures": [FAILURE], "next": 1})
    service.answer({"failures": [FAILURE], "next": None})
    service.answer({"job_id": 4, "message": "", "message_type": "push"})
    service.answer(INFO | {"finetuning_state": "done"})
    service.refuse(400, "collection_not_found")

    def script() -> list[object]:
        with SimilisSync(service.url, "k") as similis:
            reasons = [failure.reason for failure in similis.failures(1)]
            finetune = similis.finetune(1)
            states = [info.finetuning_state for info in finetune.watch(interval=0)]
            with pytest.raises(CollectionNotFound):
                similis.info(2)
            return [reasons, finetune.job_id, states]

    assert await asyncio.to_thread(script) == [["not_found", "not_found"], 4, ["done"]]


async def test_it_works_where_an_event_loop_is_running(service: Service, outside: ThreadPoolExecutor) -> None:
    """As in a notebook: its cells run inside a coroutine."""
    service.answer(INFO)

    async def cell() -> str:
        with SimilisSync(service.url) as similis:
            return similis.info(1).name

    assert await asyncio.wrap_future(outside.submit(asyncio.run, cell())) == "coins"


async def test_an_iterator_may_be_left(service: Service) -> None:
    service.answer({"failures": [FAILURE, FAILURE], "next": 2})

    def script() -> str:
        with SimilisSync(service.url) as similis:
            return next(similis.failures(1)).reason

    assert await asyncio.to_thread(script) == "not_found"
    assert len(service.received) == 1
    assert client_threads() == []


async def test_a_closed_client_says_so(service: Service) -> None:
    similis = SimilisSync(service.url)
    similis.close()
    similis.close()
    with pytest.raises(RuntimeError, match="closed"):
        similis.info(1)


async def test_a_client_that_was_forgotten_ends_its_thread(service: Service) -> None:
    service.answer(INFO)

    def script() -> None:
        similis = SimilisSync(service.url)
        assert similis.info(1).id == 1

    await asyncio.to_thread(script)
    assert client_threads() == []
