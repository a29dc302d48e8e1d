"""Retries: transient errors only, for a limited time."""

import asyncio

import pytest

from catalog.jobs import LeaseLost
from catalog.vectors.client import VectorsMissing
from servicekit.errors import NoSpace, Overloaded, ServiceError, Unavailable
from trainer.jobs.retry import Retry


class Store:
    """A store whose calls fail with `errors`, last first."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def double(self, number: int, *, extra: int) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop()
        return 2 * number + extra

    def name(self) -> str:
        return "store"


async def test_transient_errors_are_retried() -> None:
    errors: list[ServiceError] = [Unavailable("away", retry_after=None), Overloaded("busy", retry_after=0.01)]
    store = Store(*errors)
    assert await Retry(10).call(store.double, 3, extra=1) == 7
    assert store.calls == 3


async def test_a_wrapped_store_retries_its_coroutines_and_passes_on_everything_else() -> None:
    store = Store(Unavailable("away", retry_after=None))
    wrapped = Retry(10).wrap(store)
    assert await wrapped.double(3, extra=1) == 7
    assert (wrapped.calls, wrapped.name()) == (2, "store")
    with pytest.raises(AttributeError):
        wrapped.missing  # type: ignore[attr-defined] # noqa: B018 (that it is missing is what is tested)


@pytest.mark.parametrize("error", [NoSpace("full"), VectorsMissing("gone"), LeaseLost("lost"), ValueError("defect")])
async def test_permanent_errors_are_raised_at_once(error: Exception) -> None:
    store = Store(error)
    with pytest.raises(type(error)):
        await Retry(60).call(store.double, 3, extra=1)
    assert store.calls == 1


async def test_the_last_error_is_raised_when_time_is_up() -> None:
    async def call() -> None:
        raise Unavailable("away", code="qdrant_unavailable", retry_after=None)

    async with asyncio.timeout(5):
        with pytest.raises(Unavailable) as caught:
            await Retry(0.3).call(call)
    assert caught.value.code == "qdrant_unavailable"
