"""Find out why servers end new connections without a word.

gRPC reports "Socket closed" for a server that expects TLS, for one that refuses our certificate, and for one that has
just ended. This tries the same connection with Python's own TLS, which tells them apart.
"""

import asyncio
import re
import ssl
import time
from urllib.parse import unquote

import grpc

from servicekit.connection_failure import ConnectionFailure
from servicekit.settings import TlsFiles

PROBE_SECONDS = 1.0
# Many calls fail for the same reason.
KNOWN_SECONDS = 2.0
# gRPC's words for a server that ends a connection before it has sent anything.
_CLOSED = re.compile(r"(?:all backends failing|all addresses).*ipv[46]:(\S+):(\d+): .*(?:Socket closed|reset by peer)")
# What an HTTP/2 client sends first: the preface and empty SETTINGS (RFC 9113, 3.4).
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"


class ConnectionProbe:
    """Tells why the servers of one channel end connections."""

    def __init__(self, tls: TlsFiles | None = None) -> None:
        """tls: the files with which the channel connects; None if it connects without TLS."""
        self._tls = tls
        self._asking = asyncio.Lock()
        self._known: tuple[float, ConnectionFailure | None] = (float("-inf"), None)

    async def explained(self, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        """Return the error of a call, with the reason at the end of its details if there is one to be found."""
        details = error.details() or ""
        closed = _CLOSED.search(details) if error.code() is grpc.StatusCode.UNAVAILABLE else None
        if closed is None:
            return error
        async with self._asking:
            asked, failure = self._known
            if time.monotonic() - asked > KNOWN_SECONDS:
                failure = await self._failure(unquote(closed[1]).strip("[]"), int(closed[2]))
                self._known = time.monotonic(), failure
        if failure is None:
            return error
        initial, trailing = (
            grpc.aio.Metadata(*(pairs or ())) for pairs in (error.initial_metadata(), error.trailing_metadata())
        )
        details = f"{details}; {failure.value}"
        return grpc.aio.AioRpcError(error.code(), initial, trailing, details, error.debug_error_string())

    async def _failure(self, host: str, port: int) -> ConnectionFailure | None:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                accepts = await self._accepts(host, port)
        except (OSError, TimeoutError):
            # The server is down, or gRPC was too early. Its next attempt will tell.
            return None
        if self._tls is None:
            return ConnectionFailure.NEEDS_TLS
        if accepts:
            return None
        expired = _has_expired(self._tls)
        return ConnectionFailure.OUR_CERTIFICATE_EXPIRED if expired else ConnectionFailure.OUR_CERTIFICATE_REFUSED

    async def _accepts(self, host: str, port: int) -> bool:
        """Return whether the server accepts a TLS connection. Raises OSError if it does not speak TLS or is down."""
        try:
            reader, writer = await asyncio.open_connection(host, port, ssl=self._context(), server_hostname=host)
        except ssl.SSLError as error:
            # An alert is an answer of a server that speaks TLS.
            if "ALERT" in (error.reason or ""):
                return False
            raise
        try:
            # With TLS 1.3, a server checks our certificate after the handshake is complete for us.
            writer.write(_PREFACE)
            return bool(await reader.read(1))
        except (ssl.SSLError, ConnectionError):
            return False
        finally:
            writer.close()

    def _context(self) -> ssl.SSLContext:
        """Return a context that accepts any server, because gRPC has checked the server's certificate already."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        if self._tls is not None:
            context.load_cert_chain(self._tls.certificate, self._tls.key)
        return context


def _has_expired(tls: TlsFiles) -> bool:
    # Imported only for a refused certificate: every service would hold 6 MB more.
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(tls.certificate.read_bytes())
    return certificate.not_valid_after_utc.timestamp() < time.time()
