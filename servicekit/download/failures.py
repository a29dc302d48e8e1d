"""Failures: why an image could not be indexed, as a closed list of reasons that clients see."""

import re
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

import aiohttp

from servicekit.network_guard import is_blocked


class Reason(Enum):
    """A reason. The values are stable: they are stored with the index and shown to clients."""

    INVALID_URL = "invalid_url"
    BLOCKED_ADDRESS = "blocked_address"
    DNS_ERROR = "dns_error"
    CONNECTION_ERROR = "connection_error"
    TLS_ERROR = "tls_error"
    TIMEOUT = "timeout"
    HOST_UNAVAILABLE = "host_unavailable"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    NOT_FOUND = "not_found"
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    HTTP_ERROR = "http_error"
    TOO_LARGE = "too_large"
    WEB_PAGE = "web_page"
    NOT_AN_IMAGE = "not_an_image"
    DECODE_ERROR = "decode_error"
    IMAGE_TOO_LARGE = "image_too_large"
    IMAGE_TOO_SLOW = "image_too_slow"
    IMAGE_CRASHED_DECODER = "image_crashed_decoder"
    EMBEDDING_FAILED = "embedding_failed"

    @property
    def is_transient(self) -> bool:
        """Whether the same download may succeed later without any change."""
        return self in TRANSIENT


# A download retries these itself.
PASSING_SOON = frozenset(
    {Reason.DNS_ERROR, Reason.CONNECTION_ERROR, Reason.TIMEOUT, Reason.RATE_LIMITED, Reason.SERVER_ERROR}
)
# Certificates are renewed and maintenance ends, but not within minutes.
TRANSIENT = PASSING_SOON | {Reason.HOST_UNAVAILABLE, Reason.TLS_ERROR, Reason.WEB_PAGE}
# Later finetunes do not retry these, and a refresh removes their images. Besides the transient reasons, that leaves
# those that depend on our own embedder and settings, and those that a broken server or a gate before it may cause.
PERMANENT = frozenset(
    {
        Reason.INVALID_URL,
        Reason.NOT_FOUND,
        Reason.FORBIDDEN,
        Reason.TOO_LARGE,
        Reason.NOT_AN_IMAGE,
        Reason.DECODE_ERROR,
        Reason.IMAGE_TOO_LARGE,
        Reason.IMAGE_TOO_SLOW,
        Reason.IMAGE_CRASHED_DECODER,
    }
)

STATUS_REASONS = {
    202: Reason.SERVER_ERROR,
    401: Reason.FORBIDDEN,
    403: Reason.FORBIDDEN,
    404: Reason.NOT_FOUND,
    410: Reason.NOT_FOUND,
    408: Reason.SERVER_ERROR,
    425: Reason.SERVER_ERROR,
    429: Reason.RATE_LIMITED,
}

# Raised before the head of a response, these mean that the host cannot be reached or sends nothing.
NO_RESPONSE = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientOSError,
    aiohttp.ServerDisconnectedError,
    aiohttp.ServerTimeoutError,
)
# Checked in order, the more specific error first. The details name no address: users know it, or need not know it.
ERRORS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Reason, str], ...] = (
    (TimeoutError, Reason.TIMEOUT, "The host took too long to answer."),
    (aiohttp.ClientConnectorDNSError, Reason.DNS_ERROR, "The host name could not be resolved."),
    ((aiohttp.ClientSSLError, ssl.SSLError), Reason.TLS_ERROR, "No secure connection to the host was possible."),
    (aiohttp.ClientHttpProxyError, Reason.CONNECTION_ERROR, "The proxy did not connect us to the host."),
    (aiohttp.ClientProxyConnectionError, Reason.CONNECTION_ERROR, "The connection to the proxy failed."),
    (aiohttp.InvalidURL, Reason.INVALID_URL, "The URL is not valid."),
    (aiohttp.ClientPayloadError, Reason.CONNECTION_ERROR, "The connection ended before the image was complete."),
    ((aiohttp.ClientConnectionError, OSError), Reason.CONNECTION_ERROR, "The connection to the host failed."),
    (
        aiohttp.ClientResponseError,
        Reason.HTTP_ERROR,
        "The host's response is not valid HTTP, or its header is too long.",
    ),
    (ValueError, Reason.INVALID_URL, "The URL, or one that it redirects to, is not valid."),
)


SECONDS = re.compile(r"([0-9]{1,10}(?:\.[0-9]{1,9})?)(?: ?s(?:ec(?:ond)?s?)?)?(?:,.*)?", re.IGNORECASE | re.ASCII)
# Larger numbers are moments, in seconds since 1970.
EPOCH_SECONDS = 1e9


class ImageFailed(Exception):
    """One image cannot be indexed. Only its own rows are affected.

    detail: a sentence for people. retry_after: the seconds that the image's host asked us to wait, if it did.
    """

    def __init__(self, reason: Reason, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after


def failure_of_error(error: Exception) -> ImageFailed:
    """Return the failure for an error that the HTTP client raised."""
    if is_blocked(error):
        return ImageFailed(
            Reason.BLOCKED_ADDRESS, "The host's address is not public, and this installation allows only public ones."
        )
    problem = _certificate_problem(error)
    if problem is not None:
        return ImageFailed(Reason.TLS_ERROR, f"The host's certificate is not valid: {problem}.")
    for kind, reason, detail in ERRORS:
        if isinstance(error, kind):
            return ImageFailed(reason, detail)
    return ImageFailed(Reason.CONNECTION_ERROR, "The download failed.")


def _certificate_problem(error: BaseException | None) -> str | None:
    """Return OpenSSL's reason for refusing a certificate, such as "certificate has expired"; None for other errors."""
    while error is not None:
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            error = error.certificate_error
        # The client's own error is a kind of OpenSSL's, but lacks its message.
        message: object = getattr(error, "verify_message", None)
        if isinstance(message, str):
            return message.rstrip(".")
        error = error.__cause__
    return None


def failure_of_status(status: int, retry_after: str | None) -> ImageFailed:
    """Return the failure for an HTTP status that brings no image. retry_after: the header, if there is one."""
    reason = STATUS_REASONS.get(status, Reason.SERVER_ERROR if status >= 500 else Reason.HTTP_ERROR)
    detail = f"The host answered with HTTP status {status}."
    return ImageFailed(reason, detail, retry_after=seconds_to_wait(retry_after))


def seconds_to_wait(header: str | None) -> float | None:
    """Return the seconds from now that a Retry-After header asks for (RFC 9110, 10.2.3), None if it is not valid.

    Hosts also send fractions, a unit, a list of which the first counts, seconds since 1970, and dates in ISO 8601.
    """
    if header is None:
        return None
    text = header.strip()
    number = SECONDS.fullmatch(text)
    if number is not None:
        seconds = float(number[1])
        return seconds if seconds < EPOCH_SECONDS else max(seconds - datetime.now(UTC).timestamp(), 0.0)
    moment = _moment(text)
    return None if moment is None else max((moment - datetime.now(UTC)).total_seconds(), 0.0)


def _moment(text: str) -> datetime | None:
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(text)
        except (ValueError, OverflowError):
            continue
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return None
