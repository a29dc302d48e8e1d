"""Requests: keys, errors, retries, and answers that are not those of Similis."""

import asyncio
from pathlib import Path

import pytest

from similis_client import (
    ApiError,
    CollectionNotFound,
    ConnectionFailed,
    Forbidden,
    InvalidRequest,
    NotFinetuned,
    Overloaded,
    ServerFailure,
    Similis,
    TemporaryFailure,
    TooLarge,
    UnexpectedAnswer,
)
from tests.unit.similis_client.conftest import Service

LIST = {"ids": [1], "names": [{"value": 1, "id": 1, "name": "coins"}], "a field of a later version": [{}]}


@pytest.mark.parametrize("suffix", ["", "/", "/api", "/api/"])
async def test_the_url_may_have_the_base_path(service: Service, suffix: str) -> None:
    service.answer(LIST)
    async with Similis(service.url + suffix) as similis:
        assert [(found.id, found.name) for found in await similis.collections()] == [(1, "coins")]
    assert service.received[0].path == "/api/collection/list"


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://example.org", "", "https://"])
def test_a_url_without_http_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must begin with http"):
        Similis(url)


async def test_the_key_is_sent_and_never_shown(service: Service) -> None:
    service.answer({"message": "API key is valid", "message_type": "push"})
    async with Similis(service.url, "secret") as similis:
        await similis.verify()
        assert "secret" not in repr(similis)
    assert service.received[0].headers["API-Key"] == "secret"


async def test_no_key_is_sent_without_one(service: Service) -> None:
    service.answer(LIST)
    async with Similis(service.url) as similis:
        await similis.collections()
    assert "API-Key" not in service.received[0].headers


async def test_a_redirect_is_not_followed_with_the_key(service: Service) -> None:
    service.answer({}, 302, {"Location": "https://elsewhere.example.org/"})
    async with Similis(service.url, "secret") as similis:
        with pytest.raises(UnexpectedAnswer, match=r"redirects to https://elsewhere\.example\.org/"):
            await similis.collections()
    assert len(service.received) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid_csv", InvalidRequest),
        (400, "collection_not_found", CollectionNotFound),
        (400, "not_finetuned", NotFinetuned),
        (400, "backbone_changed", NotFinetuned),
        (403, "forbidden", Forbidden),
        (403, "key_not_allowed", Forbidden),
        (413, "image_too_large", TooLarge),
        (415, "unsupported_encoding", InvalidRequest),
        (429, "overloaded", Overloaded),
        (500, "internal", ServerFailure),
        (502, "heidicon_unavailable", TemporaryFailure),
        (503, "qdrant_unavailable", TemporaryFailure),
        (504, "deadline_exceeded", TemporaryFailure),
        (507, "no_space", ServerFailure),
    ],
)
async def test_an_error_has_its_class_and_its_parts(
    service: Service, status: int, code: str, kind: type[ApiError]
) -> None:
    service.refuse(status, code, {"Retry-After": "7"})
    async with Similis(service.url, attempts=1) as similis:
        with pytest.raises(ApiError) as caught:
            await similis.info(1)
    error = caught.value
    assert type(error) is kind
    assert (error.code, error.status, error.detail, error.request_id) == (code, status, f"{code} happened", "r1")
    assert error.retry_after == 7
    assert str(error) == f"{code} happened"


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_service_is_asked_again_when_it_says_so(service: Service, status: int) -> None:
    service.refuse(status, "overloaded", {"Retry-After": "1"})
    service.answer(LIST)
    started = asyncio.get_running_loop().time()
    async with Similis(service.url) as similis:
        assert len(await similis.collections()) == 1
    assert asyncio.get_running_loop().time() - started >= 1
    assert len(service.received) == 2


async def test_the_body_of_a_file_is_sent_again(service: Service, tmp_path: Path) -> None:
    service.refuse(429, "overloaded", {"Retry-After": "0"})
    service.answer({"number_of_images": 1, "message": "", "message_type": "push"})
    csv = tmp_path / "images.csv"
    csv.write_bytes(b"https://example.org/1.jpg,1\n" * 10_000)
    async with Similis(service.url) as similis:
        assert (await similis.upload(4, csv)).number_of_images == 1
    assert [request.body == csv.read_bytes() for request in service.received] == [True, True]
    assert service.received[1].headers["Content-Type"] == "text/csv"
    assert service.received[1].path == "/api/collection/4/updatecontent"


async def test_a_busy_service_is_asked_a_bounded_number_of_times(service: Service) -> None:
    service.refuse(503, "qdrant_unavailable", {"Retry-After": "0"})
    async with Similis(service.url, attempts=3) as similis:
        with pytest.raises(TemporaryFailure):
            await similis.info(1)
    assert len(service.received) == 3


async def test_a_long_pause_is_left_to_the_caller(service: Service) -> None:
    service.refuse(429, "overloaded", {"Retry-After": "3600"})
    async with Similis(service.url) as similis:
        with pytest.raises(Overloaded) as caught:
            await similis.info(1)
    assert caught.value.retry_after == 3600
    assert len(service.received) == 1


@pytest.mark.parametrize("status", [400, 403, 413, 500, 502, 504, 507])
async def test_other_errors_are_not_repeated(service: Service, status: int) -> None:
    service.refuse(status, "some_code", {"Retry-After": "0"})
    async with Similis(service.url) as similis:
        with pytest.raises(ApiError):
            await similis.info(1)
    assert len(service.received) == 1


async def test_a_service_that_is_not_there_is_named() -> None:
    # Nothing listens on port 1.
    async with Similis("http://127.0.0.1:1") as similis:
        with pytest.raises(
            ConnectionFailed, match=r"127\.0\.0\.1:1 could not be reached: Connection refused\.$"
        ) as caught:
            await similis.collections()
    assert (caught.value.code, caught.value.status) == ("connection_failed", None)


async def test_a_service_that_does_not_answer_times_out() -> None:
    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    ended = asyncio.Event()
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Similis(f"http://127.0.0.1:{port}", timeout=0.1) as similis:
            with pytest.raises(ConnectionFailed) as caught:
                await similis.collections()
        assert caught.value.code == "timeout"
        ended.set()


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"", b'{"names": 5}', b"[]", b"\xff"])
async def test_an_answer_of_something_else_is_an_error(service: Service, body: bytes) -> None:
    service.answer({})
    service.answers[0].body = body
    async with Similis(service.url) as similis:
        with pytest.raises(UnexpectedAnswer, match="/api/collection/list") as caught:
            await similis.collections()
    assert caught.value.code == "unexpected_answer"


async def test_the_error_page_of_another_server_is_an_error(service: Service) -> None:
    service.answer({}, 404)
    service.answers[0].body = b"<html>Not here</html>"
    async with Similis(service.url) as similis:
        with pytest.raises(UnexpectedAnswer, match=r"status 404.*Check the URL"):
            await similis.collections()


async def test_a_proxy_without_the_service_behind_it_is_a_temporary_failure(service: Service) -> None:
    service.answer({}, 502)
    service.answers[0].body = b"<html>Bad Gateway</html>"
    async with Similis(service.url) as similis:
        with pytest.raises(TemporaryFailure, match="behind its proxy"):
            await similis.collections()
