"""The verdict on a fetch: whether enough images were had to make an index of them."""

from collections.abc import Mapping

from servicekit.errors import ServiceError
from trainer.download.failures import Reason


class TooFewImages(ServiceError):
    """The job fails, and the index before it stays."""


def judge(failures: Mapping[str, int], total: int, *, max_transient: float) -> None:
    """Raises TooFewImages when none of `total` rows can be indexed, or too large a share failed for a while only.

    failures: rows by reason.
    """
    failed = sum(failures.values())
    if failed >= total:
        raise TooFewImages(
            f"None of the {total} images could be indexed ({_in_words(failures)}).", code="no_images_indexed"
        )
    passing = {reason: rows for reason, rows in failures.items() if _may_pass(reason)}
    if sum(passing.values()) > max_transient * total:
        raise TooFewImages(
            f"{sum(passing.values())} of {total} images could not be fetched for reasons that may pass "
            f"({_in_words(passing)}). Try again later: what was fetched is kept.",
            code="too_many_failures",
        )


def _may_pass(reason: str) -> bool:
    try:
        return Reason(reason).may_pass
    except ValueError:
        # Written by another release.
        return False


def _in_words(failures: Mapping[str, int]) -> str:
    ordered = sorted(failures.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason}: {rows}" for reason, rows in ordered) or "it is empty"
