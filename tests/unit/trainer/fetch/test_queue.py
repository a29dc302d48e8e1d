"""The download queue: bounded, fair to hosts, and one download for equal URLs."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.download.image_version import UNKNOWN, ImageVersion
from trainer.fetch.queue import DownloadQueue


async def available(queue: DownloadQueue) -> list[str]:
    """The URLs that the queue hands out before any download is done."""
    urls: list[str] = []
    while True:
        try:
            async with asyncio.timeout(0.01):
                download = await queue.get()
        except TimeoutError:
            return urls
        assert download is not None
        urls.append(download.url)


async def test_a_host_has_a_limit_of_its_own_and_does_not_hold_up_others() -> None:
    queue = DownloadQueue(look_ahead=100, places=lambda _: 2)
    for number in range(10):
        await queue.put(number, f"http://slow.example/{number}")
    await queue.put(10, "http://Quick.example/a")
    await queue.put(11, "http://user@quick.example:80/b")
    await queue.put(12, "http://quick.example/c")
    assert sorted(await available(queue)) == [
        "http://Quick.example/a",
        "http://slow.example/0",
        "http://slow.example/1",
        "http://user@quick.example:80/b",
    ]


async def test_a_finished_download_makes_room_for_the_next_of_its_host() -> None:
    queue = DownloadQueue(look_ahead=100, places=lambda _: 1)
    for number in range(3):
        await queue.put(number, f"http://example.org/{number}")
    await queue.close()
    for number in range(3):
        download = await queue.get()
        assert download is not None
        assert await queue.done(download) == [number]
    assert await queue.get() is None
    assert await queue.get() is None


async def test_an_image_that_is_being_embedded_holds_no_place_at_its_host() -> None:
    queue = DownloadQueue(look_ahead=100, places=lambda _: 1)
    for number in range(3):
        await queue.put(number, f"http://example.org/{number}")
    first = await queue.get()
    assert first is not None
    assert await available(queue) == []
    await queue.arrived(first)
    # An image with the same URL shares the result that is not known yet.
    await queue.put(9, "http://example.org/0")
    assert await available(queue) == ["http://example.org/1"]
    assert await queue.done(first) == [0, 9]
    # Its place was freed once.
    assert await available(queue) == []


async def test_a_host_that_gets_slower_has_fewer_downloads_at_a_time_and_never_none() -> None:
    places = 3
    queue = DownloadQueue(look_ahead=100, places=lambda _: places)
    for number in range(8):
        await queue.put(number, f"http://example.org/{number}")
    running = [await queue.get() for _ in range(3)]
    places = 1
    for download in running[:2]:
        assert download is not None
        await queue.done(download)
        assert await available(queue) == []
    assert list(queue.hosts) == ["http://example.org:80"]
    assert running[2] is not None
    await queue.done(running[2])
    assert await available(queue) == ["http://example.org/3"]


async def test_equal_urls_share_a_download_even_while_it_runs() -> None:
    queue = DownloadQueue(look_ahead=100, places=lambda _: 1)
    await queue.put(1, "http://example.org/a")
    await queue.put(2, "http://example.org/a")
    download = await queue.get()
    assert download is not None
    await queue.put(3, "http://example.org/a")
    assert await queue.done(download) == [1, 2, 3]
    await queue.put(4, "http://example.org/a")
    again = await queue.get()
    assert again is not None
    assert await queue.done(again) == [4]


async def test_a_url_with_a_known_version_is_a_separate_download() -> None:
    queue = DownloadQueue(look_ahead=100, places=lambda _: 3)
    version = ImageVersion('"one"')
    await queue.put(1, "http://example.org/a", version)
    await queue.put(2, "http://example.org/a")
    await queue.put(3, "http://example.org/a", version)
    await queue.close()
    found = [download for _ in range(2) if (download := await queue.get()) is not None]
    assert [(download.version, download.image_ids) for download in found] == [(version, [1, 3]), (UNKNOWN, [2])]
    assert [await queue.done(download) for download in found] == [[1, 3], [2]]


async def test_the_look_ahead_limits_the_images_in_the_queue() -> None:
    queue = DownloadQueue(look_ahead=2, places=lambda _: 5)
    await queue.put(1, "http://example.org/a")
    await queue.put(2, "http://example.org/a")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await queue.put(3, "http://example.org/b")
    download = await queue.get()
    assert download is not None
    await queue.done(download)
    async with asyncio.timeout(20):
        await queue.put(3, "http://example.org/b")


async def test_closing_the_queue_ends_all_waiting_workers() -> None:
    queue = DownloadQueue(look_ahead=2, places=lambda _: 5)
    waiting = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    await queue.close()
    assert await asyncio.gather(*waiting) == [None] * 3


async def test_an_invalid_url_is_queued_like_any_other() -> None:
    queue = DownloadQueue(look_ahead=5, places=lambda _: 5)
    await queue.put(1, "http://[::1/a")
    download = await queue.get()
    assert download is not None
    assert await queue.done(download) == [1]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=60),
    st.integers(1, 3),
    st.integers(1, 10),
    st.integers(1, 6),
)
def test_each_image_comes_out_once_and_the_limits_hold(
    images: list[tuple[int, int]], per_host: int, look_ahead: int, workers: int
) -> None:
    running: dict[str, int] = {}
    out: list[int] = []

    async def work(queue: DownloadQueue) -> None:
        while (download := await queue.get()) is not None:
            running[download.host] = running.get(download.host, 0) + 1
            assert running[download.host] <= per_host
            for _ in range(len(download.url) % 3):
                await asyncio.sleep(0)
            running[download.host] -= 1
            out.extend(await queue.done(download))

    async def run() -> None:
        queue = DownloadQueue(look_ahead=look_ahead, places=lambda _: per_host)
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(work(queue))
            for number, (host, path) in enumerate(images):
                await queue.put(number, f"http://host{host}.example/{'x' * path}")
            await queue.close()

    asyncio.run(run())
    assert sorted(out) == list(range(len(images)))
