"""Answers as CSV: who gets one, and what a spreadsheet makes of it."""

from collections.abc import AsyncIterator, Sequence

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway.http.responses import prefers_csv, table


@pytest.mark.parametrize(
    ("accept", "csv"),
    [
        ("text/csv", True),
        ("TEXT/CSV", True),
        ("text/csv;q=0.1", True),
        ("text/csv; charset=utf-8; q=1.000", True),
        ("text/csv, */*;q=0.1", True),
        ("text/csv, */*", True),
        ("application/json;q=0.5, text/csv;q=0.9", True),
        ("text/csv;q=0", False),
        ("text/csv;q=0.000", False),
        ("text/csv ; q=0", False),
        ("text/csv;q=nan", False),
        ("text/csv;q=0.5, application/json", False),
        ("text/csv;q=0.5, */*", False),
        ("text/csvx", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_csv_is_for_clients_that_prefer_it(accept: str, csv: bool) -> None:
    assert prefers_csv(make_mocked_request("GET", "/", headers={"Accept": accept})) is csv


def test_json_is_for_clients_that_accept_anything() -> None:
    assert not prefers_csv(make_mocked_request("GET", "/"))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
async def test_a_cell_that_a_spreadsheet_would_run_becomes_text(start: str) -> None:
    async def pages() -> AsyncIterator[Sequence[Sequence[str]]]:
        yield [(f"{start}cmd|' /C calc'!A0", "https://images.example/=1")]

    found = b"".join([piece async for piece in table(["image_url", "repo_url"], pages())]).decode()
    assert found.splitlines()[0] == "image_url,repo_url"
    assert f"'{start}cmd|" in found
    assert "'https" not in found
