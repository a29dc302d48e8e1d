"""The version of an image on its host: the HTTP validators (RFC 9110, 8.8) of its bytes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageVersion:
    """The validators of a version as its host sent them; None for one that it did not send.

    warning: the code of what was wrong with its bytes, None if nothing was.
    """

    etag: str | None = None
    last_modified: str | None = None
    warning: str | None = None

    def __bool__(self) -> bool:
        """Return whether there is any validator, so that a conditional request is possible."""
        return self.etag is not None or self.last_modified is not None


UNKNOWN = ImageVersion()
