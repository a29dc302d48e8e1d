"""Credentials in URLs are hidden, and nothing else changes."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.credentials import with_masked_credentials, without_credentials

UNCHANGED = [
    "https://example.org/a@b.jpg",
    "https://example.org?mail=a@b",
    "https://example.org#a@b",
    "http://example.org/1,me@example.org",
    "write to me@example.org",
    "ftp://me@example.org/",
]
PASSWORDS = st.text(st.characters(exclude_characters="/?#\r\n", codec="utf-8"), min_size=1, max_size=12)


@pytest.mark.parametrize("text", UNCHANGED)
def test_a_text_without_credentials_is_unchanged(text: str) -> None:
    assert without_credentials(text.encode()) == text.encode()


def masked(data: bytes, size: int) -> bytes:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), size):
            yield data[start : start + size]

    async def collect() -> bytes:
        return b"".join([piece async for piece in with_masked_credentials(pieces())])

    return asyncio.run(collect())


@given(PASSWORDS)
def test_no_password_is_left_in_json(password: str) -> None:
    found = {"image_url": f"https://me:{password}@example.org/a.jpg", "next": "x@y"}
    hidden = without_credentials(json.dumps(found, ensure_ascii=False).encode())
    assert json.loads(hidden) == {"image_url": "https://example.org/a.jpg", "next": "x@y"}


@given(PASSWORDS, st.integers(1, 50))
def test_a_masked_csv_has_the_same_length_and_no_password(password: str, size: int) -> None:
    text = io.StringIO()
    rows = [(f"HTTP://me:{password}@example.org/a.jpg", "https://r.example.org/1"), ("http://b.example/@", "x@y")]
    csv.writer(text).writerows(rows)
    data = text.getvalue().encode()
    found = masked(data, size)
    assert len(found) == len(data)
    (first, entry), second = csv.reader(io.StringIO(found.decode()))
    assert first.strip("HTP:/*") == "@example.org/a.jpg"
    assert (entry, tuple(second)) == ("https://r.example.org/1", rows[1])


def test_a_line_without_end_is_passed_on_in_pieces() -> None:
    data = b"x" * 1_000_000
    assert masked(data, 100_000) == data
