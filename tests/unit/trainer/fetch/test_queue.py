"""What waits for its download: bounded, fair to hosts, and one download for equal URLs."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.image_versions import UNKNOWN, ImageVersion
from trainer.fetch.queue import DownloadQueue


async def at_once(queue: DownloadQueue) -> list[str]:
    """What is given out before anything is done."""
    given_out = []
    while True:
        try:
            async with asyncio.timeout(0.01):
                wanted = await queue.get()
        except TimeoutError:
            return given_out
        assert wanted is not None
        given_out.append(wanted.url)


async def test_a_host_gets_so_many_at_once_and_others_are_not_held_up() -> None:
    queue = DownloadQueue(look_ahead=100, per_host=2)
    for number in range(10):
        await queue.put(number, f"http://slow.example/{number}")
    await queue.put(10, "http://Quick.example/a")
    await queue.put(11, "http://user@quick.example/b")
    await queue.put(12, "http://quick.example/c")
    assert sorted(await at_once(queue)) == [
        "http://Quick.example/a",
        "http://slow.example/0",
        "http://slow.example/1",
        "http://user@quick.example/b",
    ]


async def test_a_place_that_is_free_again_is_taken() -> None:
    queue = DownloadQueue(look_ahead=100, per_host=1)
    for number in range(3):
        await queue.put(number, f"http://example.org/{number}")
    await queue.close()
    for number in range(3):
        wanted = await queue.get()
        assert wanted is not None
        assert await queue.done(wanted) == [number]
    assert await queue.get() is None
    assert await queue.get() is None


async def test_equal_urls_share_a_download_also_while_it_runs() -> None:
    queue = DownloadQueue(look_ahead=100, per_host=1)
    await queue.put(1, "http://example.org/a")
    await queue.put(2, "http://example.org/a")
    wanted = await queue.get()
    assert wanted is not None
    await queue.put(3, "http://example.org/a")
    assert await queue.done(wanted) == [1, 2, 3]
    await queue.put(4, "http://example.org/a")
    again = await queue.get()
    assert again is not None
    assert await queue.done(again) == [4]


async def test_a_url_of_which_something_is_known_is_another_download() -> None:
    queue = DownloadQueue(look_ahead=100, per_host=3)
    version = ImageVersion('"one"')
    await queue.put(1, "http://example.org/a", version)
    await queue.put(2, "http://example.org/a")
    await queue.put(3, "http://example.org/a", version)
    await queue.close()
    found = [wanted for _ in range(2) if (wanted := await queue.get()) is not None]
    assert [(wanted.known, wanted.ids) for wanted in found] == [(version, [1, 3]), (UNKNOWN, [2])]
    assert [await queue.done(wanted) for wanted in found] == [[1, 3], [2]]


async def test_no_more_wait_than_the_look_ahead() -> None:
    queue = DownloadQueue(look_ahead=2, per_host=5)
    await queue.put(1, "http://example.org/a")
    await queue.put(2, "http://example.org/a")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await queue.put(3, "http://example.org/b")
    wanted = await queue.get()
    assert wanted is not None
    await queue.done(wanted)
    async with asyncio.timeout(20):
        await queue.put(3, "http://example.org/b")


async def test_those_who_wait_are_told_that_nothing_will_come() -> None:
    queue = DownloadQueue(look_ahead=2, per_host=5)
    waiting = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    await queue.close()
    assert await asyncio.gather(*waiting) == [None] * 3


async def test_a_url_that_is_none_is_a_download_like_any_other() -> None:
    queue = DownloadQueue(look_ahead=5, per_host=5)
    await queue.put(1, "http://[::1/a")
    wanted = await queue.get()
    assert wanted is not None
    assert await queue.done(wanted) == [1]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=60),
    st.integers(1, 3),
    st.integers(1, 10),
    st.integers(1, 6),
)
def test_every_image_comes_out_once_and_limits_hold(
    images: list[tuple[int, int]], per_host: int, look_ahead: int, workers: int
) -> None:
    running: dict[str, int] = {}
    out: list[int] = []

    async def work(queue: DownloadQueue) -> None:
        while (wanted := await queue.get()) is not None:
            running[wanted.host] = running.get(wanted.host, 0) + 1
            assert running[wanted.host] <= per_host
            for _ in range(len(wanted.url) % 3):
                await asyncio.sleep(0)
            running[wanted.host] -= 1
            out.extend(await queue.done(wanted))

    async def run() -> None:
        queue = DownloadQueue(look_ahead=look_ahead, per_host=per_host)
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(work(queue))
            for number, (host, path) in enumerate(images):
                await queue.put(number, f"http://host{host}.example/{'x' * path}")
            await queue.close()

    asyncio.run(run())
    assert sorted(out) == list(range(len(images)))
