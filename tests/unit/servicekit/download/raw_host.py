"""An image host on loopback that answers with the bytes that a test gives it, which need not be HTTP."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

JPEG = b"\xff\xd8\xff\xe0 not quite a JPEG, but nothing else"


@dataclass(frozen=True)
class Asked:
    """A request. headers: by lower-case name."""

    target: str
    headers: dict[str, str]


@dataclass
class RawHost:
    """A host on a loopback port. piece: how many bytes it sends at a time; 0: all. asked: the requests so far."""

    answer: Callable[[Asked], bytes]
    scheme: str
    piece: int = 0
    port: int = 0
    asked: list[Asked] = field(default_factory=list)

    def url(self, target: str, user_info: str = "") -> str:
        """Return the URL of a request target."""
        return f"{self.scheme}://{user_info}127.0.0.1:{self.port}{target}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close the connection."""
        try:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip("\r\n").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            asked = Asked(first.split(" ")[1], headers)
            self.asked.append(asked)
            answer = self.answer(asked)
            piece = self.piece or len(answer)
            for start in range(0, len(answer), piece):
                writer.write(answer[start : start + piece])
                await writer.drain()
                # The next one must not join it.
                await asyncio.sleep(0)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def raw_host(
    answer: Callable[[Asked], bytes], tls: ssl.SSLContext | None = None, piece: int = 0
) -> AsyncIterator[RawHost]:
    """A serving host while entered."""
    host = RawHost(answer, "http" if tls is None else "https", piece)
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0, ssl=tls)
    host.port = server.sockets[0].getsockname()[1]
    async with server:
        yield host


def response(body: bytes = JPEG, status: str = "200 OK", *headers: str, kind: str = "image/jpeg") -> bytes:
    """Return a valid response."""
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def redirect(location: str, *headers: str) -> bytes:
    """Return a redirect. location: Latin-1."""
    return response(b"", "302 Found", f"Location: {location}", *headers)
