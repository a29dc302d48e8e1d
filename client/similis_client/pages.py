"""Reading lists page by page."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol, TypeVar

Cursor = int | str | None


class Page(Protocol):
    """A part of a list. next: where the next part starts, None on the last one."""

    @property
    def next(self) -> Cursor: ...


P = TypeVar("P", bound=Page)


async def pages(read: Callable[[Cursor], Awaitable[P]]) -> AsyncIterator[P]:
    """Yield all pages. read: returns the page that starts at a cursor, the first one for None."""
    after: Cursor = None
    while True:
        page = await read(after)
        yield page
        after = page.next
        if after is None:
            return
