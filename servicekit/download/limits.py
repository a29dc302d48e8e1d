"""The limits of downloads, and how image hosts are reached."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from servicekit.settings import SettingsError
from servicekit.version import HOMEPAGE, VERSION


@dataclass(frozen=True)
class DownloadLimits:
    """The limits of downloads. Times are in seconds.

    attempts: failed attempts at an image; waiting for its host is none. total_seconds: for one attempt.
    first_byte_seconds: until an answer begins. read_seconds: without data in the middle of one. patience_seconds: how
    long a host may keep asking us to wait; 0: a request to wait ends the download. paced: whether the requests to a
    host wait for each other, at the pace that it can take.
    """

    max_bytes: int
    concurrency: int
    per_host: int
    attempts: int
    max_redirects: int
    total_seconds: float
    connect_seconds: float
    first_byte_seconds: float
    read_seconds: float
    patience_seconds: float
    paced: bool = True


@dataclass(frozen=True)
class DownloadRoute:
    """How hosts are reached. tls: with the authorities that are trusted. proxy: its URL; None for direct connections.

    user_agent: what we call ourselves.
    """

    allow_private_addresses: bool
    user_agent: str
    tls: ssl.SSLContext | bool = True
    proxy: str | None = None


def user_agent(contact: str | None) -> str:
    """Return what we call ourselves: the software, where it is described, and whom to ask about this installation."""
    comment = HOMEPAGE if contact is None else f"{HOMEPAGE}; {contact}"
    return f"similis/{VERSION} (+{comment})"


def trusted_authorities(more: Path | None) -> ssl.SSLContext:
    """Return the TLS settings for image hosts. Without `more`, OpenSSL's defaults, with SSL_CERT_FILE and SSL_CERT_DIR.

    more: PEM file with further authorities. Raises SettingsError if it cannot be used.
    """
    context = ssl.create_default_context()
    if more is not None:
        try:
            context.load_verify_locations(cafile=more)
        except OSError as error:
            reason = "it has no certificate" if isinstance(error, ssl.SSLError) else error.strerror
            raise SettingsError(f"SIMILIS_DOWNLOAD_CA_FILE: {more}: {reason}") from error
    return context
