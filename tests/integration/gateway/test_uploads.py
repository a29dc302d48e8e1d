"""Uploads of every size and form are stored byte for byte, or refused without leaving anything behind."""

import asyncio
import base64
import gzip
import io
import json
import random
import zipfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from tests.eventually import eventually
from tests.integration.gateway.api import Answer, Api
from tests.integration.gateway.conftest import Launch
from tests.integration.gateway.indexing import Indexer, content
from tests.processes import offspring

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROW = b"https://example.org/full/512,/0/1.jpg;https://repo.example.org/1\r\n"


def left_behind(spool: Path) -> list[Path]:
    """List the files that uploads have left in the spool."""
    return [path for path in spool.rglob("*") if path.is_file() and path.name != "lock"]


def spools(parent: Path) -> int:
    """Count the spool folders in a folder."""
    return len(list(parent.glob("similis-gateway-*")))


def content_processes() -> list[psutil.Process]:
    """List the content processes that this process has started."""
    return offspring("gateway.content.worker_main")


async def in_chunks(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def any_csv(chance: random.Random) -> tuple[int, bytes]:
    """Write a CSV with random URLs in one of the allowed forms. Returns its number of rows, and the bytes."""
    delimiter, end, rows = chance.choice(",;\t"), chance.choice(["\n", "\r\n"]), chance.randint(1, 5)
    printable = [character for character in map(chr, range(0x21, 0x100)) if character.isprintable()]

    def field() -> str:
        path = "".join(chance.choices(printable, k=20))
        return f'"https://a.example/{path.replace(chr(34), chr(34) * 2)}"'

    lines = [f"{field()}{delimiter}{field()}" for _ in range(rows)]
    if chance.random() < 0.5:
        lines.insert(0, f"image{delimiter}repository")
    text = end.join(lines) + chance.choice(["", end])
    return rows, chance.choice([b"", b"\xef\xbb\xbf"]) + text.encode()


@pytest.mark.parametrize("seed", range(8))
async def test_any_csv_comes_back_byte_for_byte(api: Api, seed: int) -> None:
    rows, data = any_csv(random.Random(seed))
    identifier = await api.create("bytes")
    for upload in (api.upload, api.upload_raw):
        assert (await upload(identifier, data)).pushed()["number_of_images"] == rows
        assert await api.csv(identifier) == data
        (await api.clear(identifier)).pushed()


async def test_a_large_csv_comes_back_byte_for_byte(api: Api) -> None:
    data = b"".join(b"https://example.org/%d,/0/1.jpg;https://repo.example.org/%d\r\n" % (n, n) for n in range(50_000))
    identifier = await api.create("large")
    assert (await api.upload(identifier, data)).pushed()["number_of_images"] == 50_000
    assert await api.csv(identifier) == data


@pytest.mark.parametrize(
    ("csv", "code", "line"),
    [
        ("https://a/b,c,d\n", "invalid_csv", 1),
        ("https://a/b\n", "invalid_csv", 1),
        ("https://a/b,c\nnot a url,c\n", "invalid_csv", 2),
        ("https://a/b,c\n" * 500 + "ftp://a,b\n", "invalid_csv", 501),
        ("https://a/b,c\nhttps://ü,c\n".encode("latin-1"), "invalid_csv", 2),
        ("https://a/b,c\n".encode("utf-16"), "invalid_csv", 1),
        ("https://a/b,c\0\n", "invalid_csv", 1),
        (b"https://a/b,\xed\xa0\x80\n", "invalid_csv", 1),
        ('"https://a/b,c\n', "invalid_csv", 1),
    ],
)
async def test_a_bad_csv_is_refused_with_its_line_and_changes_nothing(api: Api, csv: Any, code: str, line: int) -> None:
    data = csv if isinstance(csv, bytes) else csv.encode()
    identifier = await api.create()
    await api.upload_raw(identifier, ROW)
    before = await api.info(identifier)
    for upload in (api.upload, api.upload_raw):
        problem = (await upload(identifier, data)).refused(400, code)
        assert f"Line {line}:" in problem["detail"]
    assert (await api.info(identifier), await api.csv(identifier)) == (before, ROW)


EMPTY = [
    b"",
    b"\n\r\n",
    b"\xef\xbb\xbf",
    b"sep=;\r\n",
    b"image,link\n",
    b",\n;\n",
    b'"",""\n',
    "\u00a0,\u200b\n".encode(),
]


@pytest.mark.parametrize("data", EMPTY)
async def test_content_without_a_row_is_refused_unless_that_is_allowed(api: Api, data: bytes) -> None:
    identifier = await api.create()
    (await api.upload(identifier, data)).refused(400, "empty_content")
    await api.upload_raw(identifier, ROW)
    before = await api.info(identifier)
    path = f"/api/collection/{identifier}/updatecontent"
    for query in ("", "?allow_empty=false"):
        answer = await api.post(path + query, data=data, headers={"Content-Type": "text/csv"})
        assert "allow_empty=true" in answer.refused(400, "empty_content")["message"]
        answer = await api.post(path + query, {"content": base64.b64encode(data).decode()})
        answer.refused(400, "empty_content")
    assert (await api.info(identifier), await api.csv(identifier)) == (before, ROW)
    answer = await api.post(f"{path}?allow_empty=true", data=data, headers={"Content-Type": "text/csv"})
    assert answer.pushed()["number_of_images"] == 0
    assert (await api.info(identifier))["number_of_images"] == 0
    assert await api.csv(identifier) == data


async def test_allow_empty_must_be_true_or_false(api: Api) -> None:
    identifier = await api.create()
    path = f"/api/collection/{identifier}/updatecontent?allow_empty=maybe"
    (await api.post(path, data=ROW, headers={"Content-Type": "text/csv"})).refused(400, "invalid_allow_empty")
    assert (await api.info(identifier))["number_of_images"] == 0


async def test_an_upload_says_what_it_took_otherwise_than_written(api: Api) -> None:
    identifier = await api.create()
    data = 'foo,bar\r\n,\r\nhttps://r.example.org/\u200b1 , "https://i.example.org/full/512,/0/1.jpg"\r\n'.encode()
    for upload in (api.upload, api.upload_raw):
        answer = (await upload(identifier, data)).pushed()
        assert answer["number_of_images"] == 1
        header, swapped, removed = answer["warnings"]
        assert header == "Line 1 was taken as the header row, not as an image: “foo” and “bar”."
        assert swapped.startswith("The columns look swapped")
        assert removed.endswith("from 1 row, first in line 3: U+200B zero width space.")
        assert await api.csv(identifier) == data


async def test_a_repository_url_with_a_script_is_refused(api: Api) -> None:
    identifier = await api.create()
    await api.upload_raw(identifier, ROW)
    for value in ("javascript:alert(1)", " JavaScript:alert(1)", "data:text/html,x", "file:///etc/passwd"):
        problem = (await api.upload_raw(identifier, b"https://a/b,c\nhttps://a/b," + value.encode())).refused(
            400, "invalid_csv"
        )
        assert problem["message"].startswith("Line 2:")
    assert await api.csv(identifier) == ROW
    answer = (await api.upload_raw(identifier, b"https://a/1,obj-17\nhttps://a/2,HD:123\n")).pushed()
    assert answer["number_of_images"] == 2
    assert "warnings" not in answer


async def test_an_oversized_upload_is_a_413_in_every_form(launch: Launch, tmp_path: Path) -> None:
    api = await launch(max_csv_bytes=10_000)
    identifier = await api.create()
    await api.upload_raw(identifier, ROW)
    before = await api.info(identifier)
    large = ROW * (20_000 // len(ROW))
    bomb = gzip.compress(ROW * 100_000)
    assert len(bomb) < 30_000
    path = f"/api/collection/{identifier}/updatecontent"
    for answer in (
        await api.upload(identifier, large),
        await api.upload_raw(identifier, large),
        await api.post(path, data=in_chunks(large), headers={"Content-Type": "text/csv"}),
        await api.upload_raw(identifier, bomb, headers={"Content-Encoding": "gzip"}),
        await api.post(path, data=gzip.compress(b'{"content": "' + b"A" * 10**7), headers={"Content-Encoding": "gzip"}),
    ):
        answer.refused(413, "too_large")
    assert await api.info(identifier) == before
    assert (await api.upload_raw(identifier, ROW * (10_000 // len(ROW)))).pushed()
    assert not left_behind(tmp_path)


async def test_the_limit_of_a_csv_is_named_in_every_form(launch: Launch) -> None:
    api = await launch(max_csv_bytes=2048)
    identifier = await api.create()
    path = f"/api/collection/{identifier}/updatecontent"
    large = ROW * (200_000 // len(ROW))
    form = aiohttp.FormData()
    form.add_field("file", large, filename="a.csv")
    for answer in (
        await api.upload(identifier, large),
        await api.upload(identifier, ROW * 40),
        await api.upload_raw(identifier, large),
        await api.post(path, data=ROW * 40, headers={"Content-Type": "text/plain"}),
        await api.post(path, data=form),
    ):
        assert answer.refused(413, "too_large")["message"] == "The CSV may have at most 2048 bytes (2 KiB)."


async def test_too_many_rows_are_a_413(launch: Launch) -> None:
    api = await launch(max_csv_rows=3)
    identifier = await api.create()
    assert (await api.upload_raw(identifier, ROW * 3)).pushed()["number_of_images"] == 3
    (await api.upload_raw(identifier, ROW * 4)).refused(413, "too_large")
    assert (await api.info(identifier))["number_of_images"] == 3


@pytest.mark.parametrize("limit", [200, 5])
async def test_the_length_limit_of_names_is_configurable(launch: Launch, limit: int) -> None:
    api = await launch(max_name_characters=limit)
    assert await api.create("ü" * limit)
    (await api.post("/api/collection/create", {"name": "ü" * (limit + 1)})).refused(400, "invalid_name")
    (await api.post("/api/collection/create", {"name": "x" * 70_000})).refused(413, "too_large")


async def test_a_compressed_body_is_decompressed(api: Api) -> None:
    identifier = await api.create()
    for encoding, compress in (("gzip", gzip.compress), ("deflate", zlib.compress)):
        await api.clear(identifier)
        data = ROW * 20_000
        answer = await api.upload_raw(identifier, compress(data), headers={"Content-Encoding": encoding})
        assert answer.pushed()["number_of_images"] == 20_000
        assert await api.csv(identifier) == data


async def test_a_body_that_does_not_match_its_content_encoding_is_refused(api: Api) -> None:
    identifier = await api.create()
    await api.upload_raw(identifier, ROW)
    packed = gzip.compress(ROW * 10)
    for data in (ROW, packed[:-4], packed[:-10], packed + b"x", b""):
        answer = await api.upload_raw(identifier, data, headers={"Content-Encoding": "gzip"})
        answer.refused(400, "invalid_body")
    answer = await api.upload_raw(identifier, ROW, headers={"Content-Encoding": "br"})
    assert "gzip, deflate" in answer.refused(415, "unsupported_encoding")["detail"]
    assert answer.headers["Accept-Encoding"] == "gzip, deflate"
    assert await api.csv(identifier) == ROW


async def raw_request(api: Api, head: str, *, body: bytes = b"") -> tuple[bytes, asyncio.StreamWriter]:
    """Send a request by hand, and return the start of the response."""
    host, _, port = api.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.replace("\n", "\r\n").encode() + body)
    async with asyncio.timeout(20):
        return await reader.read(2000), writer


async def test_the_body_is_not_requested_without_a_valid_key(api: Api) -> None:
    head = "POST /api/collection/1/updatecontent HTTP/1.1\nHost: x\nContent-Length: 900000000\nExpect: 100-continue\n"
    answer, writer = await raw_request(api, head + "\n")
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"100 Continue" not in answer
    writer.close()
    identifier = await api.create()
    odd = head.replace("100-continue", "miracles")
    answer, writer = await raw_request(api, odd + "\n")
    assert answer.startswith(b"HTTP/1.1 403 ")
    writer.close()
    valid = f"{head}API-Key: {api.key}\n\n".replace("/1/", f"/{identifier}/").replace("900000000", str(len(ROW)))
    answer, writer = await raw_request(api, valid)
    assert answer == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.close()


async def test_a_client_of_http_1_0_is_not_told_to_continue(api: Api) -> None:
    path = f"/api/collection/{await api.create()}/updatecontent"
    head = f"POST {path} HTTP/1.0\nAPI-Key: {api.key}\nContent-Type: text/csv\nContent-Length: {len(ROW)}\n"
    answer, writer = await raw_request(api, head + "Expect: 100-continue\n\n", body=ROW)
    assert answer.startswith(b"HTTP/1.0 200 "), answer
    writer.close()


async def assert_times_out(api: Api, path: str) -> None:
    """Send the head and a part of a body, and check that the gateway stops waiting for the rest."""
    head = f"POST /api/collection/{path} HTTP/1.1\nHost: x\nAPI-Key: {api.key}\nContent-Type: text/csv\n"
    answer, writer = await raw_request(api, head + "Content-Length: 1000\n\n", body=b"https")
    assert answer.startswith(b"HTTP/1.1 504 "), answer
    assert b'"deadline_exceeded"' in answer
    writer.close()
    await writer.wait_closed()


async def test_a_body_that_never_arrives_is_a_504(api: Api, launch: Launch, tmp_path: Path) -> None:
    identifier = await api.create()
    api = await launch(upload_seconds=0.5, request_seconds=0.5)
    await assert_times_out(api, f"{identifier}/updatecontent")
    await assert_times_out(api, f"{identifier}/updatename")
    assert not left_behind(tmp_path)


async def test_a_search_whose_body_never_arrives_is_a_504(api: Api, launch: Launch, indexer: Indexer) -> None:
    identifier = await api.create()
    await api.upload_raw(identifier, content(range(2)))
    await indexer.index(identifier)
    await assert_times_out(await launch(request_seconds=0.5), f"{identifier}/search")


async def test_a_client_that_disconnects_leaves_no_files(launch: Launch, tmp_path: Path) -> None:
    api = await launch()
    identifier = await api.create()
    head = f"POST /api/collection/{identifier}/updatecontent HTTP/1.1\nHost: x\nAPI-Key: {api.key}\n"
    host, _, port = api.url.removeprefix("http://").rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write((head + "Content-Type: text/csv\nContent-Length: 100000\n\n").replace("\n", "\r\n").encode() + ROW)
    await writer.drain()
    await eventually(lambda: bool(left_behind(tmp_path)))
    writer.transport.abort()
    await eventually(lambda: not left_behind(tmp_path))
    assert (await api.info(identifier))["number_of_images"] == 0


async def test_a_killed_content_process_is_a_503_and_the_next_upload_works(launch: Launch, tmp_path: Path) -> None:
    api = await launch()
    identifier = await api.create()
    await api.upload_raw(identifier, ROW)
    (await upload_with_a_killed_process(api, identifier)).refused(503, "content_process_died")
    assert (await api.info(identifier))["number_of_images"] == 1
    assert (await api.upload_raw(identifier, ROW * 2)).pushed()["number_of_images"] == 2
    assert not left_behind(tmp_path)


async def upload_with_a_killed_process(api: Api, identifier: int) -> Answer:
    """Upload until a kill comes in time. A small share of the uploads finishes before the kill."""
    for _ in range(10):
        answer = await upload_and_kill(api, identifier)
        if answer.status != 200:
            break
        await api.upload_raw(identifier, ROW)
    return answer


async def upload_and_kill(api: Api, identifier: int) -> Answer:
    """Upload a large CSV, and kill its content process as soon as it runs."""
    upload = asyncio.create_task(api.upload_raw(identifier, ROW * 400_000))
    await eventually(lambda: bool(content_processes()) or upload.done())
    for process in content_processes():
        process.kill()
    return await upload


async def test_uploads_beyond_the_queue_are_a_429(launch: Launch, tmp_path: Path) -> None:
    api = await launch(upload_concurrency=1, upload_queue=0)
    identifiers = [await api.create() for _ in range(4)]
    large = ROW * 60_000
    answers = await asyncio.gather(*(api.upload_raw(identifier, large) for identifier in identifiers))
    accepted = [answer for answer in answers if answer.status == 200]
    assert accepted
    for answer in answers:
        if answer not in accepted:
            answer.refused(429, "overloaded")
    counts = [(await api.info(identifier))["number_of_images"] for identifier in identifiers]
    assert sorted(counts) == [0] * (4 - len(accepted)) + [60_000] * len(accepted)
    assert len(accepted) < 4
    assert not left_behind(tmp_path)


async def test_concurrent_uploads_leave_one_complete_content(api: Api) -> None:
    identifier = await api.create()
    contents = [b"https://a/%d,https://b/%d\n" % (n, n) * (n + 1) for n in range(4)]
    answers = await asyncio.gather(*(api.upload_raw(identifier, content) for content in contents))
    assert all(answer.status == 200 for answer in answers)
    info, stored = await api.info(identifier), await api.csv(identifier)
    assert stored in contents
    assert info["number_of_images"] == stored.count(b"\n")


async def test_the_next_start_removes_the_spool_of_a_killed_gateway(launch: Launch, tmp_path: Path) -> None:
    leftover = tmp_path / "similis-gateway-killed"
    (leftover / "upload").mkdir(parents=True)
    (leftover / "lock").touch()
    (leftover / "upload" / "body").write_bytes(b"x")
    other = tmp_path / "something-else"
    other.mkdir()
    await launch()
    assert not leftover.exists()
    assert other.exists()
    await launch()
    assert spools(tmp_path) == 2


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/octet-stream", "application/x-www-form-urlencoded", "application/json", ""],
)
async def test_a_csv_is_accepted_with_any_content_type(api: Api, content_type: str) -> None:
    identifier = await api.create()
    path = f"/api/collection/{identifier}/updatecontent"
    for csv in (ROW, b"\xef\xbb\xbf" + ROW, b'"https://a/1","https://b/1"\n', b"\n\n" + ROW):
        answer = await api.post(path, data=csv, headers={"Content-Type": content_type})
        assert answer.pushed()["number_of_images"] == 1
        assert await api.csv(identifier) == csv
    answer = await api.post(path, data=ROW, skip_auto_headers=["Content-Type"])
    assert answer.pushed()["number_of_images"] == 1


async def test_a_form_may_carry_the_csv(api: Api) -> None:
    identifier = await api.create()
    path = f"/api/collection/{identifier}/updatecontent"
    form = aiohttp.FormData()
    form.add_field("comment", "the newest")
    form.add_field("whatever", io.BytesIO(ROW * 30_000), filename="coins.csv", content_type="text/csv")
    assert (await api.post(path, data=form)).pushed()["number_of_images"] == 30_000
    assert await api.csv(identifier) == ROW * 30_000
    twice = aiohttp.FormData()
    for name in ("a", "b"):
        twice.add_field(name, ROW, filename=f"{name}.csv")
    assert "exactly one" in (await api.post(path, data=twice)).refused(400, "invalid_form")["message"]
    headers = {"Content-Type": "multipart/form-data"}
    assert "boundary" in (await api.post(path, data=ROW, headers=headers)).refused(400, "invalid_form")["message"]
    assert await api.csv(identifier) == ROW * 30_000


async def test_a_file_of_another_kind_is_called_what_it_is(api: Api) -> None:
    identifier = await api.create()
    workbook, archive = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(workbook, "w") as file:
        file.writestr("[Content_Types].xml", "<Types/>")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("coins.csv", ROW)
    for data, part in (
        (workbook.getvalue(), "Excel"),
        (archive.getvalue(), "ZIP"),
        (gzip.compress(ROW), "Content-Encoding: gzip"),
        (b"\xff\xd8\xff\xe0 JPEG", "an image"),
        (b"<!DOCTYPE html><title>Sign in</title>", "HTML"),
        (base64.encodebytes(b"\xef\xbb\xbfimage,link\n" + ROW * 20), "the field content of a JSON object"),
        (b"data:text/csv;base64," + base64.b64encode(ROW), "the field content of a JSON object"),
    ):
        for upload in (api.upload, api.upload_raw):
            assert part in (await upload(identifier, data)).refused(400, "invalid_csv")["message"]


async def test_json_is_accepted_with_any_content_type(api: Api) -> None:
    identifier = await api.create()
    body = json.dumps({"content": base64.b64encode(ROW).decode()})
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/JSON; charset=utf-8"):
        answer = await api.post(
            f"/api/collection/{identifier}/updatecontent", data=body, headers={"Content-Type": content_type}
        )
        assert answer.pushed()["number_of_images"] == 1
