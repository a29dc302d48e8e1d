"""A TLS proxy in front of a server without TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from servicekit.settings import TlsFiles

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
# PostgreSQL's protocol: a client requests TLS with this message, and the server accepts with "S".
SSL_REQUEST = bytes((0, 0, 0, 8, 4, 210, 22, 47))


@asynccontextmanager
async def tls_front(
    files: TlsFiles, connect: Callable[[], Awaitable[Streams]], *, postgres: bool = False
) -> AsyncIterator[int]:
    """Accept TLS connections while the block runs, and forward each over a connection of its own. Yields the port.

    connect: opens a connection to the server.
    postgres: negotiate TLS as PostgreSQL does, and refuse a client that does not request it.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(["h2"])
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            if postgres:
                assert await reader.readexactly(len(SSL_REQUEST)) == SSL_REQUEST
                writer.write(b"S")
                await writer.start_tls(context)
            upstream_reader, upstream_writer = await connect()
            await asyncio.gather(_pass_on(reader, upstream_writer), _pass_on(upstream_reader, writer))
        except (OSError, asyncio.IncompleteReadError, AssertionError):
            pass
        finally:
            serving.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=None if postgres else context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
