"""Certificates for the connections between our services, read from files and read again when these change."""

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import grpc

from servicekit.process.service import StartupError
from servicekit.settings import TlsFiles
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)


@dataclass(frozen=True)
class Certificates:
    """The content of the TLS files, in PEM, as read together."""

    chain: bytes
    key: bytes
    authorities: bytes


class CertificateFiles:
    """The newest valid content of the TLS files.

    While the files do not fit together, as in the middle of a renewal, the last valid content stays in use.
    """

    def __init__(self, files: TlsFiles) -> None:
        """Read the files. Raises StartupError when they cannot be used."""
        self.files = files
        self._paths = (files.certificate, files.key, files.authorities)
        # gRPC calls `current` from its own threads.
        self._lock = threading.Lock()
        try:
            self._seen = self._state()
            self._current = self._read()
        except (OSError, ValueError) as error:
            raise StartupError(f"the TLS files cannot be used: {_reason(error)}") from error

    def current(self) -> Certificates:
        """Return the newest valid certificates. The object stays the same until the files change."""
        with self._lock:
            try:
                found = self._state()
                if found != self._seen:
                    self._seen = found
                    self._current = self._read()
                    log.info("certificates_renewed", file=str(self.files.certificate))
            except (OSError, ValueError) as error:
                log.warning("certificates_not_usable", reason=_reason(error))
            return self._current

    def _state(self) -> tuple[tuple[int, int, int], ...]:
        found = (path.stat() for path in self._paths)
        return tuple((status.st_mtime_ns, status.st_ino, status.st_size) for status in found)

    def _read(self) -> Certificates:
        # Raises ssl.SSLError, which is an OSError, if key and certificate do not match.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.files.certificate, self.files.key)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(self.files.authorities)
        return Certificates(*(path.read_bytes() for path in self._paths))


def server_credentials(certificates: CertificateFiles) -> grpc.ServerCredentials:
    """Return credentials that require a client certificate. Every handshake uses the newest certificates."""
    given = certificates.current()

    def renewed() -> "grpc.ServerCertificateConfiguration | None":
        nonlocal given
        newest = certificates.current()
        if newest is given:
            return None
        given = newest
        return _configuration(newest)

    # The type stubs do not allow None, which means "unchanged".
    ask = cast("Callable[[], grpc.ServerCertificateConfiguration]", renewed)
    return grpc.dynamic_ssl_server_credentials(_configuration(given), ask, require_client_authentication=True)


def channel_credentials(certificates: Certificates) -> grpc.ChannelCredentials:
    """Return the credentials of a client that presents its certificate and trusts only these authorities."""
    return grpc.ssl_channel_credentials(certificates.authorities, certificates.key, certificates.chain)


def _configuration(certificates: Certificates) -> "grpc.ServerCertificateConfiguration":
    pair = (certificates.key, certificates.chain)
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=certificates.authorities)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)
