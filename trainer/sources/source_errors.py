"""The errors that end a reading of a source. The content of the collection stays as it was."""

from servicekit.download.failures import ImageFailed
from servicekit.errors import ServiceError, UpstreamFailed
from servicekit.quantities import counted

SHOWN_CHARACTERS = 300


def unreachable(url: str, failure: ImageFailed) -> ServiceError:
    """Return the error for an address that could not be read."""
    advice = " Read the source again later." if failure.reason.is_transient else ""
    return UpstreamFailed(f"{shown(url)}: {failure.detail}{advice}", code="source_unreachable")


def invalid(url: str, problem: str) -> ServiceError:
    """Return the error for an answer that the source's protocol does not allow. problem: without a final period."""
    return UpstreamFailed(f"{shown(url)}: {problem}.", code="source_invalid")


def too_large(url: str, problem: str) -> ServiceError:
    """Return the error for an answer, or a source, above a limit. problem: without a final period."""
    return UpstreamFailed(f"{shown(url)}: {problem}.", code="source_too_large")


def refused(url: str, problem: str) -> ServiceError:
    """Return the error for a repository that answers with an OAI-PMH error. problem: without a final period."""
    return UpstreamFailed(f"{shown(url)}: {problem}.", code="source_refused")


def empty(url: str, records: int) -> ServiceError:
    """Return the error for a source without any image. records: how many were read."""
    where = f" in {counted(records, 'record')}; the source lists the reasons" if records else ""
    message = f"{shown(url)}: no image was found{where}. The content stays as it was."
    return UpstreamFailed(message, code="source_empty")


def no_records(url: str, wanted: str) -> ServiceError:
    """Return the error for a repository without any record of those that were asked for. wanted: describes them."""
    message = f"{shown(url)}: the repository has no {wanted}. The content stays as it was."
    return UpstreamFailed(message, code="source_empty")


def shown(url: str) -> str:
    """Return a URL as a message shows it."""
    text = "".join(character if character.isprintable() else "�" for character in url)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
