"""A compressed body is decompressed only as far as what was sent allows."""

import asyncio
import gzip
import os
import zlib
from unittest import mock

import pytest
from aiohttp import StreamReader
from aiohttp.test_utils import make_mocked_request

from gateway.http.body import CHUNK_BYTES, FREE_EXPANSION_BYTES, MAX_EXPANSION, chunks
from servicekit.errors import InvalidRequest

LIMIT = 100 << 20


async def read(sent: bytes, max_expansion: int | None, encoding: str = "gzip") -> list[bytes]:
    """Return the pieces of a compressed body that has arrived."""
    content = StreamReader(mock.Mock(_reading_paused=False), 2**16, loop=asyncio.get_running_loop())
    content.feed_data(sent)
    content.feed_eof()
    request = make_mocked_request("POST", "/", headers={"Content-Encoding": encoding}, payload=content)
    return [piece async for piece in chunks(request, LIMIT, max_expansion=max_expansion)]


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_body_that_expands_too_much_is_refused(encoding: str, compress: type[bytes]) -> None:
    with pytest.raises(InvalidRequest, match=f"{MAX_EXPANSION} times") as refused:
        await read(compress(bytes(10_000_000)), MAX_EXPANSION, encoding)
    assert refused.value.code == "invalid_body"


async def test_a_small_body_may_expand_as_much_as_it_likes() -> None:
    assert b"".join(await read(gzip.compress(bytes(FREE_EXPANSION_BYTES)), MAX_EXPANSION)) == bytes(
        FREE_EXPANSION_BYTES
    )


async def test_a_body_that_compresses_as_usual_is_read() -> None:
    text = os.urandom(30_000).hex().encode() * 4
    assert b"".join(await read(gzip.compress(text), MAX_EXPANSION)) == text


async def test_other_bodies_may_expand_as_far_as_their_limit() -> None:
    assert sum(map(len, await read(gzip.compress(bytes(10_000_000)), None))) == 10_000_000


async def test_others_get_a_turn_between_the_pieces_of_a_body() -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    others = asyncio.create_task(take_turns())
    pieces = await read(gzip.compress(bytes(20 * CHUNK_BYTES)), None)
    others.cancel()
    assert sum(map(len, pieces)) == 20 * CHUNK_BYTES
    assert turns >= 20
