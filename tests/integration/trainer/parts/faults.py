"""Faulty hosts: answers that are wrong in every way seen in practice."""

import asyncio
import gzip
import io
from collections.abc import Awaitable, Callable

from aiohttp import web
from PIL import Image

from tests.integration.trainer.parts.image_host import Answer, ImageHost, picture

PIECE = b"x" * 65536
# 100 MB unpacked.
BOMB = gzip.compress(b"\0" * 100_000_000, 1)


def status(number: int, **headers: str) -> Answer:
    """Answer with a status and no body."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=number, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return answer


def body(data: bytes, content_type: str = "image/png") -> Answer:
    """Answer with these bytes."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=data, content_type=content_type)

    return answer


def redirect(to: str, number: int = 302) -> Answer:
    """Redirect to a URL, which may be relative."""
    return status(number, Location=to)


def in_turn(*answers: Answer) -> Answer:
    """Give the answers in turn, and repeat the last one."""
    left = list(answers)

    async def answer(request: web.Request) -> web.StreamResponse:
        return await (left.pop(0) if len(left) > 1 else left[0])(request)

    return answer


def raw(write: Callable[[asyncio.Transport], Awaitable[None]]) -> Answer:
    """Write raw bytes to the connection, then close it."""

    async def answer(request: web.Request) -> web.Response:
        transport = request.transport
        assert isinstance(transport, asyncio.Transport)
        await write(transport)
        transport.close()
        return web.Response()

    return answer


def head(length: int | None, more: str = "") -> bytes:
    """Return the head of a response that claims this length."""
    fields = more if length is None else f"Content-Length: {length}\r\n{more}"
    return f"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n{fields}Connection: close\r\n\r\n".encode()


async def _truncated(transport: asyncio.Transport) -> None:
    data = picture(1)
    transport.write(head(len(data)) + data[: len(data) // 2])


async def _hangs_up(transport: asyncio.Transport) -> None:
    transport.abort()


async def _says_too_much(transport: asyncio.Transport) -> None:
    transport.write(head(10**12) + PIECE)


async def _endless(transport: asyncio.Transport) -> None:
    transport.write(head(None))
    while not transport.is_closing():
        transport.write(PIECE)
        await asyncio.sleep(0)


async def _drips(transport: asyncio.Transport) -> None:
    transport.write(head(None))
    while not transport.is_closing():
        transport.write(b"x")
        await asyncio.sleep(0.05)


async def _nonsense(transport: asyncio.Transport) -> None:
    transport.write(b"\x00\xff this is no HTTP\r\n\r\n")


async def _redirect_to_nonsense(transport: asyncio.Transport) -> None:
    transport.write(
        b"HTTP/1.1 302 Found\r\nLocation: http://example.org:\xff\xfe/\xc3\x28\r\nContent-Length: 0\r\n\r\n"
    )


async def _bomb(transport: asyncio.Transport) -> None:
    transport.write(head(len(BOMB), "Content-Encoding: gzip\r\n") + BOMB)


async def _unknown_encoding(transport: asyncio.Transport) -> None:
    transport.write(head(4, "Content-Encoding: sdch\r\n") + b"xxxx")


async def _silent(_: asyncio.Transport) -> None:
    await asyncio.sleep(3600)


def half_a_jpeg() -> bytes:
    """Return a truncated JPEG."""
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(out, "JPEG")
    return out.getvalue()[:300]


def redirects_to_private(host: ImageHost) -> dict[str, str]:
    """Set up redirects to private addresses; return the reason that each URL must fail with."""
    private = (
        "http://127.0.0.2/a.png",
        "http://10.0.0.1/a.png",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/a.png",
        "http://0x7f000002/a.png",
        "http://[::ffff:10.0.0.1]/a.png",
    )
    paths = {f"private-{number}": redirect(url) for number, url in enumerate(private)}
    host.answers |= paths
    return dict.fromkeys(map(host.url, paths), "blocked_address")


def faulty(host: ImageHost) -> dict[str, str]:
    """Set up all faults on a host; return the reason that each URL must fail with."""
    host.answers |= {
        "gone": status(410),
        "forbidden": status(403),
        "unauthorized": status(401),
        "teapot": status(418),
        "busy": status(429, Retry_After="3600"),
        "broken": status(500),
        "away": status(503),
        "truncated": raw(_truncated),
        "hangs-up": raw(_hangs_up),
        "says-too-much": raw(_says_too_much),
        "endless": raw(_endless),
        "drips": raw(_drips),
        "silent": raw(_silent),
        "nonsense": raw(_nonsense),
        "loop": redirect("/loop"),
        "redirect-to-nowhere": status(302),
        "redirect-to-file": redirect("file:///etc/passwd"),
        "redirect-to-gone": redirect("/gone"),
        "redirect-to-nonsense": raw(_redirect_to_nonsense),
        "bomb": raw(_bomb),
        "unknown-encoding": raw(_unknown_encoding),
        "empty": body(b""),
        "page": body(b"<html>Not found</html>", "text/html"),
        "half": body(half_a_jpeg()),
    }
    reasons = {
        "no-such-thing": "not_found",
        "gone": "not_found",
        "forbidden": "forbidden",
        "unauthorized": "forbidden",
        "teapot": "http_error",
        "broken": "server_error",
        "away": "server_error",
        "truncated": "connection_error",
        "hangs-up": "connection_error",
        "says-too-much": "too_large",
        "endless": "too_large",
        "drips": "timeout",
        "silent": "timeout",
        "nonsense": "http_error",
        "loop": "too_many_redirects",
        "redirect-to-nowhere": "http_error",
        "redirect-to-file": "invalid_url",
        "redirect-to-gone": "not_found",
        "redirect-to-nonsense": "invalid_url",
        "bomb": "too_large",
        "unknown-encoding": "not_an_image",
        "empty": "http_error",
        "page": "web_page",
        "half": "decode_error",
    }
    elsewhere = {
        # Under another name, since a request to wait affects all images of a host.
        host.url("busy").replace("127.0.0.1", "localhost"): "rate_limited",
        "http://127.0.0.1:1/nobody-listens.png": "connection_error",
        "http://nowhere.invalid/a.png": "dns_error",
        "http://[::1/a.png": "invalid_url",
        "http:///a.png": "invalid_url",
        f"https://127.0.0.1:{host.port}/pictures/1": "tls_error",
    }
    return {host.url(path): reason for path, reason in reasons.items()} | elsewhere
