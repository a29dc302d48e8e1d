"""What went wrong with a download, as one of our reasons."""

import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError

from servicekit.network_guard import is_blocked
from trainer.download.failures import ImageFailed, Reason

REFUSALS = {
    401: Reason.FORBIDDEN,
    403: Reason.FORBIDDEN,
    404: Reason.NOT_FOUND,
    410: Reason.NOT_FOUND,
    408: Reason.SERVER_ERROR,
    425: Reason.SERVER_ERROR,
    429: Reason.RATE_LIMITED,
}

# Before the head of an answer these say that the host cannot be reached, or says nothing.
SILENCE = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientOSError,
    aiohttp.ServerDisconnectedError,
    aiohttp.ServerTimeoutError,
)
# Looked through in order: the more special error first.
ERRORS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Reason], ...] = (
    (TimeoutError, Reason.TIMEOUT),
    (aiohttp.ClientConnectorDNSError, Reason.DNS_ERROR),
    ((aiohttp.ClientSSLError, ssl.SSLError), Reason.TLS_ERROR),
    (aiohttp.InvalidURL, Reason.INVALID_URL),
    ((aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError), Reason.CONNECTION_ERROR),
    (aiohttp.ClientResponseError, Reason.HTTP_ERROR),
    (ValueError, Reason.INVALID_URL),
)


def failure_of(error: Exception) -> ImageFailed:
    """The failure that an error of the client stands for."""
    if is_blocked(error):
        return ImageFailed(Reason.BLOCKED_ADDRESS, "the address is not public")
    if isinstance(error.__cause__, ContentEncodingError):
        return ImageFailed(Reason.HTTP_ERROR, "the answer is not encoded as it says")
    for kind, reason in ERRORS:
        if isinstance(error, kind):
            return ImageFailed(reason, _detail(error))
    return ImageFailed(Reason.CONNECTION_ERROR, _detail(error))


def refusal(status: int, retry_after: str | None) -> ImageFailed:
    """The failure that a status other than 200 stands for. retry_after: the header, if there is one."""
    reason = REFUSALS.get(status, Reason.SERVER_ERROR if status >= 500 else Reason.HTTP_ERROR)
    return ImageFailed(reason, f"status {status}", retry_after=seconds_to_wait(retry_after))


def seconds_to_wait(header: str | None) -> float | None:
    """Retry-After (RFC 9110, 10.2.3) in seconds from now; None if it is absent or nonsense."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)


def _detail(error: Exception) -> str:
    # Texts of the client name hosts and addresses, which the person who reads this knows or need not know.
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer ended too early"
    return type(error).__name__
