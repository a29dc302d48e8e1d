"""The downloader and hosts that are not quite as they should be."""

import asyncio
import contextlib
import dataclasses
import gzip
import ssl
import zlib
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from servicekit.download import client
from servicekit.download.client import Download, Downloader
from servicekit.download.failures import ImageFailed, Reason
from servicekit.download.limits import DownloadLimits, DownloadRoute, trusted_authorities, user_agent
from servicekit.settings import SettingsError
from tests.unit.servicekit.download.raw_host import JPEG, Asked, RawHost, raw_host, redirect, response

LIMITS = DownloadLimits(
    max_bytes=100_000,
    concurrency=8,
    per_host=8,
    attempts=2,
    max_redirects=3,
    total_seconds=20.0,
    connect_seconds=10.0,
    first_byte_seconds=10.0,
    read_seconds=10.0,
    patience_seconds=10.0,
)
ROUTE = DownloadRoute(allow_private_addresses=True, user_agent=user_agent("images@example.org"))


async def download(url: str, limits: DownloadLimits = LIMITS, route: DownloadRoute = ROUTE) -> Download:
    async with asyncio.timeout(20), Downloader.open(limits, route) as downloader, downloader.download(url) as found:
        return found


async def failure(url: str, route: DownloadRoute = ROUTE) -> ImageFailed:
    with pytest.raises(ImageFailed) as caught:
        await download(url, route=route)
    return caught.value


def always(answer: bytes) -> Callable[[Asked], bytes]:
    return lambda _: answer


TARGETS = ["/http%3A%2F%2Fa%27%20b.jpg?Signature=q%2FX%3D&x", "/full/!8,8/0/default.jpg?", "/%7Euser//x/../y+z%e9"]


@pytest.mark.parametrize("target", TARGETS)
async def test_the_target_of_a_request_and_of_a_redirect_is_sent_as_it_is_written(target: str) -> None:
    async with raw_host(lambda asked: redirect(target) if asked.target == "/go" else response()) as host:
        for url in (host.url(target), host.url("/go")):
            assert (await download(url)).body == JPEG
    assert [asked.target for asked in host.asked] == [target, "/go", target]


async def test_a_location_may_have_any_bytes() -> None:
    async with raw_host(lambda asked: redirect("/caf\xe9 \xff.jpg") if asked.target == "/go" else response()) as host:
        assert (await download(host.url("/go"))).body == JPEG
    assert host.asked[1].target == "/caf%E9%20%FF.jpg"


async def test_hosts_see_which_software_asks_and_whom_to_contact() -> None:
    async with raw_host(always(response())) as host:
        await download(host.url("/"))
    agent = host.asked[0].headers["user-agent"]
    assert agent.startswith("similis/")
    assert "https://" in agent
    assert "images@example.org" in agent


async def test_a_gate_that_wants_its_cookie_back_is_passed() -> None:
    def answer(asked: Asked) -> bytes:
        if asked.headers.get("cookie") == 'seen=1"2; also=x':
            return response()
        return redirect(asked.target, 'Set-Cookie: seen=1"2; Path=/; HttpOnly', "Set-Cookie: also=x")

    async with raw_host(answer) as host:
        assert (await download(host.url("/a.jpg"))).body == JPEG
        # The next download begins without cookies.
        assert (await download(host.url("/b.jpg"))).body == JPEG
    assert len(host.asked) == 4


async def test_a_page_that_sets_a_cookie_is_asked_for_once_more() -> None:
    def answer(asked: Asked) -> bytes:
        if "cookie" in asked.headers and asked.target == "/a.jpg":
            return response()
        return response(b"<html>Please wait", "200 OK", "Set-Cookie: seen=1", kind="text/html")

    async with raw_host(answer) as host:
        assert (await download(host.url("/a.jpg"))).body == JPEG
        assert (await failure(host.url("/b.jpg"))).reason is Reason.WEB_PAGE
    assert len(host.asked) == 4


async def test_credentials_are_kept_within_their_origin_and_go_nowhere_else() -> None:
    async with raw_host(always(response())) as other:

        def answer(asked: Asked) -> bytes:
            return redirect({"/a": "/b", "/b": host.url("/c")}.get(asked.target, other.url("/d")))

        async with raw_host(answer) as host:
            assert (await download(host.url("/a", user_info="me:p%C3%A4ss%3A@"))).body == JPEG
    expected = f"Basic {b64encode('me:päss:'.encode()).decode()}"
    assert [asked.headers.get("authorization") for asked in host.asked] == [expected] * 3
    assert "authorization" not in other.asked[0].headers


PLAIN = response().decode("latin-1")
LENGTH = f"Content-Length: {len(JPEG)}\r\n"
BODY = JPEG.decode("latin-1")
CHUNKED = f"{len(JPEG):x}\r\n{BODY}\r\n0\r\n\r\n"


def chunks(*parts: str, line_end: str = "\r\n", end: str = "0\r\n\r\n", size: str = "{:x}") -> str:
    """Return a response in chunks. size: the format of a size, with what follows it in its line."""
    body = "".join(f"{size.format(len(part))}{line_end}{part}{line_end}" for part in parts)
    return PLAIN.replace(LENGTH, "Transfer-Encoding: chunked\r\n").replace(BODY, body + end)


def coded(coding: str, body: bytes, name: str = "Transfer-Encoding") -> str:
    """Return a response with an encoded body."""
    return PLAIN.replace(LENGTH, f"{name}: {coding}\r\n").replace(BODY, body.decode("latin-1"))


# Each of these is accepted by curl.
LENIENT = {
    "only line feeds": PLAIN.replace("\r\n", "\n"),
    "CR CR LF": PLAIN.replace("\r\n", "\r\r\n"),
    "no reason": PLAIN.replace("200 OK", "200"),
    "a version without a dot": PLAIN.replace("HTTP/1.1", "HTTP/2"),
    "lower case": PLAIN.replace("HTTP/1.1", "http/1.1"),
    "two spaces": PLAIN.replace("HTTP/1.1 ", "HTTP/1.1  "),
    "a reason in Latin-1": PLAIN.replace("OK", "Gef\xfcnden"),
    "a space before the colon": PLAIN.replace("Content-Length:", "Content-Length :"),
    "a space in a name": PLAIN.replace("Connection:", "X Foo: 1\r\nConnection:"),
    "an empty name": PLAIN.replace("Connection:", ": 1\r\nConnection:"),
    "a name in Latin-1": PLAIN.replace("Connection:", "X-\xfcml: 1\r\nConnection:"),
    "a value in Latin-1": PLAIN.replace("Connection:", "X-A: \xfc\r\nConnection:"),
    "control characters in a value": PLAIN.replace("Connection:", "X-A: \x01\x7f\r\nConnection:"),
    "a CR in a value": PLAIN.replace("Connection:", "X-A: a\rb\r\nConnection:"),
    "a folded value": PLAIN.replace("Connection:", "X-A: a\r\n  b\r\nConnection:"),
    "the length twice": PLAIN.replace(LENGTH, LENGTH * 2),
    "the length as a list": PLAIN.replace(LENGTH, LENGTH.replace("\r\n", f", {len(JPEG)}\r\n")),
    "a length with a plus": PLAIN.replace("Length: ", "Length: +"),
    "a length with a unit": PLAIN.replace(LENGTH, LENGTH.replace("\r\n", " bytes\r\n")),
    "no length": PLAIN.replace(LENGTH, ""),
    "identity as the encoding": PLAIN.replace(LENGTH, f"{LENGTH}Transfer-Encoding: identity\r\n"),
    "a length and chunks": PLAIN.replace(LENGTH, f"{LENGTH}Transfer-Encoding: chunked\r\n").replace(
        JPEG.decode("latin-1"), CHUNKED
    ),
    "more than the length": PLAIN + "<!-- cached -->" * 100,
    "an early hint": "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + PLAIN,
    "a field of 60 KiB": PLAIN.replace("Connection:", f"X-A: {'a' * 61_000}\r\nConnection:"),
    "200 fields": PLAIN.replace("Connection:", "X-A: 1\r\n" * 200 + "Connection:"),
    "a claim to be compressed": PLAIN.replace("Connection:", "Content-Encoding: gzip\r\nConnection:"),
    "an unknown encoding": PLAIN.replace("Connection:", "Content-Encoding: sdch\r\nConnection:"),
    "chunks with line feeds": chunks(BODY[:9], BODY[9:], line_end="\n", end="0\n\n"),
    "chunks with line feeds and a trailer": chunks(BODY, line_end="\n", end="0\nX-A: 1\n\n"),
    "a chunk with a line feed after its size": chunks(BODY).replace(f"{len(JPEG):x}\r\n", f"{len(JPEG):x}\n"),
    "a chunk with a line feed after its data": chunks(BODY).replace(f"{BODY}\r\n", f"{BODY}\n"),
    "chunks of one byte": chunks(*BODY),
    "a chunk with an extension": chunks(BODY, size='{:x}; a="b;c" ; d', end="0 ;e\r\n\r\n"),
    "a chunk with something after its size": chunks(BODY, size="{:x}zz"),
    "a chunk with capital letters and zeros": chunks(BODY, size="{:016X}"),
    "a chunk with a space after its size": chunks(BODY, size="{:x}  "),
    "trailers": chunks(BODY, end="0\r\nX-A: 1\r\nnonsense\r\n\r\n"),
    "more than the chunks": chunks(BODY) + "<!-- cached -->",
    "chunks twice": chunks(BODY).replace("Connection:", "Transfer-Encoding: chunked\r\nConnection:"),
    "identity and chunks": chunks(BODY).replace(": chunked", ": identity, Chunked"),
    "chunks in HTTP/1.0": chunks(BODY).replace("HTTP/1.1", "HTTP/1.0"),
    "compressed on its way": coded("gzip", gzip.compress(JPEG)),
    "compressed twice": coded("gzip, gzip", gzip.compress(gzip.compress(JPEG)), "Content-Encoding"),
    "said twice to be compressed": coded("gzip, gzip", gzip.compress(JPEG), "Content-Encoding"),
    "compressed without its checksum": coded("gzip", gzip.compress(JPEG)[:-8], "Content-Encoding"),
    "a status without a space": PLAIN.replace("200 OK", "200OK"),
    "a length beyond all numbers": PLAIN.replace(LENGTH, f"Content-Length: {'9' * 30}\r\n"),
    "a negative length": PLAIN.replace("Content-Length: ", "Content-Length: -"),
    "5,000 fields": PLAIN.replace("Connection:", "X-A: 1\r\n" * 5000 + "Connection:"),
    "the whole as a range": PLAIN.replace("200 OK", "206 Partial Content").replace(
        "Connection:", f"Content-Range: bytes 0-{len(JPEG) - 1}/{len(JPEG)}\r\nConnection:"
    ),
    "just created": PLAIN.replace("200 OK", "201 Created"),
    "a malformed cookie": PLAIN.replace("Connection:", 'Set-Cookie: a b;c=\x01"; =x\r\nConnection:'),
}


@pytest.mark.parametrize("piece", [0, 7], ids=["at once", "in pieces"])
async def test_what_curl_accepts_is_accepted(piece: int) -> None:
    answers = [text.encode("latin-1") for text in LENIENT.values()]
    serving = raw_host(lambda asked: answers[int(asked.target[1:])], piece=piece)
    async with serving as host, Downloader.open(LIMITS, ROUTE) as downloader:
        for number, name in enumerate(LENIENT):
            async with downloader.download(host.url(f"/{number}")) as found:
                assert found.body == JPEG, name


async def test_two_responses_on_one_connection_do_not_mix() -> None:
    """The rest of the first response is not the beginning of the second one."""
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                served += 1
                keep = response().replace(b"Connection: close", b"Connection: keep-alive")
                writer.write(keep + (b"\n\n<!-- rest -->" if served % 2 else b""))
        except asyncio.IncompleteReadError:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with Downloader.open(LIMITS, ROUTE) as downloader:
            for _ in range(6):
                async with downloader.download(url) as found:
                    assert found.body == JPEG
    assert served == 6


async def test_a_head_that_is_too_long_fails_and_is_not_kept_for_good() -> None:
    async with raw_host(always(response(JPEG, "200 OK", f"X-A: {'a' * 100_000}"))) as host:
        assert (await failure(host.url("/"))).reason is Reason.HTTP_ERROR


HALF = len(BODY) // 2
# Curl rejects these, too. None of them may pass as a whole image.
INCOMPLETE = {
    "chunks without an end": chunks(BODY, end=""),
    "chunks without their last line": chunks(BODY, end="0\r\n"),
    "a part of a chunk": chunks(BODY)[: -len(BODY) // 2],
    "less than the length": PLAIN.replace("Content-Length: ", "Content-Length: 1"),
    "no size": chunks(BODY, size="zz"),
    "no chunk at all": PLAIN.replace(LENGTH, "Transfer-Encoding: chunked\r\n"),
    "a blank line between chunks": chunks(BODY[:HALF], end=f"\r\n{len(BODY) - HALF:x}\r\n{BODY[HALF:]}\r\n0\r\n\r\n"),
    "a chunk longer than its size": chunks(BODY).replace(f"{len(JPEG):x}", f"{len(JPEG) - 5:x}"),
    "a size that is too large": chunks(BODY, size="f" * 40),
}


@pytest.mark.parametrize("piece", [0, 1, 7], ids=["at once", "by bytes", "in pieces"])
async def test_an_incomplete_or_malformed_body_fails_at_once(piece: int) -> None:
    answers = [text.encode("latin-1") for text in INCOMPLETE.values()]
    serving = raw_host(lambda asked: answers[int(asked.target[1:])], piece=piece)
    limits = dataclasses.replace(LIMITS, attempts=1)
    async with asyncio.timeout(limits.read_seconds / 2), serving as host:
        for number, name in enumerate(INCOMPLETE):
            with pytest.raises(ImageFailed) as caught:
                await download(host.url(f"/{number}"), limits)
            assert caught.value.reason is Reason.CONNECTION_ERROR, name


async def test_a_part_that_nobody_asked_for_is_no_image() -> None:
    part = response(JPEG, "206 Partial Content", f"Content-Range: bytes 0-{len(JPEG) - 1}/{len(JPEG) + 1}")
    async with raw_host(always(part)) as host:
        assert (await failure(host.url("/"))).reason is Reason.HTTP_ERROR


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(JPEG)),
        ("x-gzip", gzip.compress(JPEG)),
        ("deflate", zlib.compress(JPEG)),
        ("deflate", zlib.compress(JPEG, wbits=-15)),
    ],
    ids=["gzip", "x-gzip", "deflate", "deflate without a header"],
)
async def test_a_body_that_is_compressed_although_we_asked_for_none_is_decompressed(encoding: str, body: bytes) -> None:
    async with raw_host(always(response(body, "200 OK", f"Content-Encoding: {encoding}"))) as host:
        assert (await download(host.url("/"))).body == JPEG


async def test_a_body_that_becomes_too_large_is_not_decompressed_to_its_end() -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    async with raw_host(always(response(bomb, "200 OK", "Content-Encoding: gzip"))) as host:
        assert (await failure(host.url("/"))).reason is Reason.TOO_LARGE


async def test_a_changed_image_from_a_proxy_is_an_image() -> None:
    async with raw_host(always(response(JPEG, "203 Non-Authoritative Information"))) as host:
        assert (await download(host.url("/"))).body == JPEG


async def test_an_image_that_is_being_made_is_asked_for_again() -> None:
    answers = [response(JPEG, "202 Accepted", "Retry-After: 0"), response()]
    async with raw_host(lambda _: answers.pop(0)) as host:
        assert (await download(host.url("/"))).body == JPEG


def answering(asked: Asked, kind: str, document: str) -> bytes:
    return redirect("/info.json") if asked.target == "/base" else response(document.encode(), kind=kind)


INFO = '{"@context": "http://iiif.io/api/image/2/context.json", "@id": "https://iiif.example/1", "width": 600}'
MANIFEST = '\ufeff{"@context": ["http://iiif.io/api/presentation/3/context.json"], "type": "Manifest", "items": []}'


@pytest.mark.parametrize(
    ("kind", "document", "reason", "words"),
    [
        ("application/ld+json", INFO, Reason.NOT_AN_IMAGE, ["IIIF info.json", "https://iiif.example/1/full/"]),
        ("application/json", MANIFEST, Reason.NOT_AN_IMAGE, ["IIIF manifest"]),
        ("application/json", '[{"a": 1}]', Reason.NOT_AN_IMAGE, ["JSON"]),
        ("image/jpeg", "<!DOCTYPE html><html><title>Wartung</title>", Reason.WEB_PAGE, ["web page"]),
        ("text/html", "<?xml version='1.0'?>\n<!-- x -->\n<html xmlns='x'>", Reason.WEB_PAGE, ["web page"]),
        ("image/svg+xml", "<svg xmlns='x'></svg>", Reason.NOT_AN_IMAGE, ["SVG"]),
        ("text/xml", "<mets:mets xmlns:mets='x'/>", Reason.NOT_AN_IMAGE, ["XML"]),
        ("application/pdf", "%PDF-1.7", Reason.NOT_AN_IMAGE, ["PDF"]),
        ("text/html", "<center><h1>503</h1></center>", Reason.WEB_PAGE, ["web page"]),
        (
            "text/plain",
            "Rate limit\nexceeded. ",
            Reason.WEB_PAGE,
            ["text instead of an image: “Rate limit exceeded.”"],
        ),
        ("image/jpeg", "Bild nicht verfügbar", Reason.NOT_AN_IMAGE, ["“Bild nicht verfügbar”"]),
        ("text/plain", "Bitte versuchen Sie es später", Reason.WEB_PAGE, ["versuchen Sie es später"]),
        ("application/json", '{"error": "Service Unavailable"}', Reason.WEB_PAGE, ["Service Unavailable"]),
        ("text/xml", "<?xml version='1.0'?><Error><Code>SlowDown</Code></Error>", Reason.WEB_PAGE, ["SlowDown"]),
        ("text/xml", "<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", Reason.NOT_AN_IMAGE, ["XML"]),
        ("text/plain", "Please try again. " * 200, Reason.NOT_AN_IMAGE, ["Please try again."]),
        ("text/plain", "x" * 5000, Reason.NOT_AN_IMAGE, [f"“{'x' * 100}…”"]),
        ("text/plain", "data:image/jpeg;base64,/9j/4AAQ", Reason.NOT_AN_IMAGE, ["the text of a data URL"]),
        ("image/jpeg", "\r\n \t", Reason.NOT_AN_IMAGE, ["white space"]),
    ],
)
async def test_a_failure_says_what_came_instead_of_an_image(
    kind: str, document: str, reason: Reason, words: list[str]
) -> None:
    async with raw_host(lambda asked: answering(asked, kind, document)) as host:
        for target in ("/base", "/document"):
            found = await failure(host.url(target))
            assert found.reason is reason
            assert all(word in found.detail for word in words)


async def test_a_text_in_another_encoding_is_quoted() -> None:
    async with raw_host(always(response("Bild nicht verfügbar".encode("latin-1")))) as host:
        assert "“Bild nicht verfügbar”" in (await failure(host.url("/"))).detail


async def test_a_web_page_in_utf_16_is_one() -> None:
    async with raw_host(always(response("<html><body>Wartung".encode("utf-16")))) as host:
        assert (await failure(host.url("/"))).reason is Reason.WEB_PAGE


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("ftp://a.example.org/b.jpg", "“ftp://a.example.org/b.jpg”, but the URL is not http or https"),
        ("data:image/png;base64,AAAA", "the URL is not http or https"),
        ("https://", "the URL has no host"),
        ("http://xn--/a", "the URL cannot be parsed"),
        ("/" + "x" * 9000, "the URL is too long"),
    ],
)
async def test_a_redirect_that_cannot_be_followed_is_quoted(location: str, words: str) -> None:
    async with raw_host(always(redirect(location))) as host:
        found = await failure(host.url("/"))
    assert found.reason is Reason.INVALID_URL
    assert found.detail.startswith("The host redirects to “")
    assert words in found.detail
    assert len(found.detail) < 250


async def test_all_parts_of_a_gzip_file_are_decompressed() -> None:
    body = b"".join(gzip.compress(part) for part in (JPEG[:9], JPEG[9:20], JPEG[20:]))
    for following in (b"", b"and more", gzip.compress(b"")[:12]):
        async with raw_host(always(response(body + following, "200 OK", "Content-Encoding: gzip"))) as host:
            assert (await download(host.url("/"))).body == JPEG
    bomb = gzip.compress(bytes(60_000)) * 3
    async with raw_host(always(response(bomb, "200 OK", "Content-Encoding: gzip"))) as host:
        assert (await failure(host.url("/"))).reason is Reason.TOO_LARGE


@pytest.mark.parametrize(("encoding", "name"), [("br", "Brotli"), ("zstd", "Zstandard"), ("x, BR", "Brotli")])
async def test_a_compression_that_nobody_asked_for_is_named(encoding: str, name: str) -> None:
    header = f"Content-Encoding: {encoding}"
    async with raw_host(always(response(b"\x0b\x02\x80abc\x03", "200 OK", header))) as host:
        found = await failure(host.url("/"))
        assert (found.reason, name in found.detail) == (Reason.NOT_AN_IMAGE, True)
    async with raw_host(always(response(JPEG, "200 OK", header))) as host:
        assert (await download(host.url("/"))).body == JPEG


def server_tls(issued: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    return context


async def test_an_expired_certificate_may_be_renewed_and_is_named() -> None:
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    expired = authority.issue_cert("127.0.0.1", not_after=datetime.now(UTC) - timedelta(days=1))
    async with raw_host(always(response()), server_tls(expired)) as host:
        found = await failure(host.url("/"), dataclasses.replace(ROUTE, tls=trusting))
        assert (found.reason, found.reason.is_transient) == (Reason.TLS_ERROR, True)
        assert "certificate has expired" in found.detail
        assert not host.asked
        found = await failure(host.url("/"))
        assert "issuer" in found.detail


async def test_a_limited_host_refuses_no_image_for_good() -> None:
    """Each image is refused once, at whatever time its host accepts it."""
    refused: set[str] = set()

    def answer(asked: Asked) -> bytes:
        if asked.target not in refused:
            refused.add(asked.target)
            return response(b"", "429 Too Many Requests", "Retry-After: 0")
        return response()

    async with raw_host(answer) as host, Downloader.open(dataclasses.replace(LIMITS, attempts=1), ROUTE) as downloader:

        async def one(number: int) -> bytes | None:
            async with downloader.download(host.url(f"/{number}")) as found:
                return found.body

        assert await asyncio.gather(*(one(number) for number in range(8))) == [JPEG] * 8
        assert [held.host for held in downloader.held_hosts([f"http://127.0.0.1:{host.port}"])]


async def test_an_image_that_waits_for_its_host_has_its_whole_time_when_its_turn_comes() -> None:
    limits = dataclasses.replace(LIMITS, attempts=1, total_seconds=0.5, per_host=1)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.2)
        writer.write(response())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with Downloader.open(limits, ROUTE) as downloader:

            async def one(number: int) -> bytes | None:
                async with downloader.download(f"{url}{number}") as found:
                    return found.body

            assert await asyncio.gather(*(one(number) for number in range(5))) == [JPEG] * 5


async def test_a_host_that_sends_a_byte_now_and_then_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SETTLING_SECONDS", 0.2)
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()
        left.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with Downloader.open(dataclasses.replace(LIMITS, attempts=1), ROUTE) as downloader:
            with pytest.raises(ImageFailed) as failure:
                async with downloader.download(url):
                    pass
        await left.wait()
    assert failure.value.reason is Reason.TIMEOUT
    assert "in 0 seconds" in failure.value.detail


class Proxy:
    """A proxy that connects to one host, whatever it is asked for."""

    def __init__(self, host: RawHost) -> None:
        self._host = host
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b" ", 2)
        self.asked.append(f"{method.decode()} {target.decode()}")
        if b"Proxy-Authorization: Basic bWU6c2VjcmV0" not in head:
            writer.write(response(b"", "407 Proxy Authentication Required"))
        elif method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._host.port)
            await asyncio.gather(copy(reader, other_writer), copy(other_reader, writer))
        else:
            writer.write(response())
        writer.close()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


async def test_a_proxy_connects_in_our_place_but_not_to_private_names() -> None:
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    tls = server_tls(authority.issue_cert("images.similis.example"))
    async with raw_host(always(response()), tls) as host:
        proxy = Proxy(host)
        async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as server:
            address = f"http://me:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}"
            route = DownloadRoute(allow_private_addresses=False, user_agent="test", tls=trusting, proxy=address)
            for url in ("http://images.similis.example/a%2F?b", "https://images.similis.example/c"):
                assert (await download(url, route=route)).body == JPEG
            for url in ("http://localhost/a", "http://169.254.169.254/b", "https://10.0.0.1/c"):
                assert (await failure(url, route)).reason is Reason.BLOCKED_ADDRESS
    assert proxy.asked == ["GET http://images.similis.example/a%2F?b", "CONNECT images.similis.example:443"]
    assert host.asked[0].target == "/c"


async def test_the_operators_authorities_are_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    pem = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(pem)
    async with raw_host(always(response()), server_tls(authority.issue_cert("127.0.0.1"))) as host:
        route = dataclasses.replace(ROUTE, tls=trusted_authorities(pem))
        assert (await download(host.url("/"), route=route)).body == JPEG
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        route = dataclasses.replace(ROUTE, tls=trusted_authorities(None))
        assert (await download(host.url("/"), route=route)).body == JPEG
    for content in (None, b"no certificate"):
        wrong = tmp_path / "wrong.pem"
        if content is not None:
            wrong.write_bytes(content)
        with pytest.raises(SettingsError, match="SIMILIS_DOWNLOAD_CA_FILE"):
            trusted_authorities(wrong)
