"""Run a few calls at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

Result = TypeVar("Result")


async def concurrently(calls: Iterable[Callable[[], Awaitable[Result]]], *, at_once: int) -> list[Result]:
    """Return the results of the calls in their order. The first error cancels the other calls, and is raised."""
    calls = list(calls)
    if len(calls) == 1:
        return [await calls[0]()]
    places = asyncio.Semaphore(at_once)

    async def run(call: Callable[[], Awaitable[Result]]) -> Result:
        async with places:
            return await call()

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run(call)) for call in calls]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
