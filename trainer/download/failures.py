"""Why an image could not be indexed: a closed list, which clients see."""

from enum import Enum


class Reason(Enum):
    """A reason. The value is stable; it is stored with the index and shown to people."""

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
    NOT_AN_IMAGE = "not_an_image"
    DECODE_ERROR = "decode_error"
    IMAGE_TOO_LARGE = "image_too_large"
    EMBEDDING_FAILED = "embedding_failed"

    @property
    def may_pass(self) -> bool:
        """The same image may be had later, without anybody changing anything."""
        return self in MAY_PASS


MAY_PASS = frozenset(
    {
        Reason.DNS_ERROR,
        Reason.CONNECTION_ERROR,
        Reason.TIMEOUT,
        Reason.HOST_UNAVAILABLE,
        Reason.RATE_LIMITED,
        Reason.SERVER_ERROR,
    }
)
# A later finetune does not try again what failed like this. What our own embedder could not do, or our own settings
# refused, is always tried again: the settings may have changed, and an address that is refused again costs no download.
LASTING = frozenset(Reason) - MAY_PASS - {Reason.EMBEDDING_FAILED, Reason.BLOCKED_ADDRESS}


class ImageFailed(Exception):
    """One image cannot be indexed; it costs its own rows only.

    detail: for a person. retry_after: seconds that the image's host asked us to wait, if it did.
    """

    def __init__(self, reason: Reason, detail: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after
