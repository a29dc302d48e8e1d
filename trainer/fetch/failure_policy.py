"""The failure policy: whether a fetch got enough images to build an index from, and took few enough away."""

from collections.abc import Mapping

from servicekit.download.failures import Reason
from servicekit.errors import ServiceError


class TooFewImages(ServiceError):
    """The finetune fails, and the previous index stays live."""


class TooManyRemovals(ServiceError):
    """The refresh fails, and the previous index stays live."""

    default_code = "too_many_removals"


def require_enough_images(failures: Mapping[str, int], total: int, *, max_transient: float) -> None:
    """Raise TooFewImages if none of `total` rows can be indexed, or too many failed with transient errors.

    failures: number of rows by reason. max_transient: the share of rows, 0 to 1, that may fail with transient errors.
    """
    failed = sum(failures.values())
    if failed >= total:
        raise TooFewImages(
            f"None of the {total} images could be indexed ({summary(failures)}). The collection's failures give "
            "the reason for each image. Correct the CSV or the image hosts, then finetune again.",
            code="no_images_indexed",
        )
    transient = {reason: rows for reason, rows in failures.items() if _is_transient(reason)}
    if sum(transient.values()) > max_transient * total:
        raise TooFewImages(
            f"{sum(transient.values())} of {total} images could not be fetched for reasons that may pass "
            f"({summary(transient)}). Finetune again later. Images that were already fetched are kept.",
            code="too_many_failures",
        )


def require_few_removals(removals: Mapping[str, int], total: int, *, most: float) -> None:
    """Raise TooManyRemovals if a refresh would remove too many of `total` rows from the index.

    removals: number of rows by reason. most: the share of rows, 0 to 1, that may go.
    """
    gone = sum(removals.values())
    if gone > most * total:
        raise TooManyRemovals(
            f"The refresh would remove {gone} of {total} images from the index ({summary(removals)}). Nothing was "
            "removed. If their hosts really no longer have these images, refresh with force=true as well, or remove "
            "them from the CSV."
        )


def _is_transient(reason: str) -> bool:
    try:
        return Reason(reason).is_transient
    except ValueError:
        # Another release wrote it.
        return False


def summary(failures: Mapping[str, int]) -> str:
    """Return the number of rows for each reason as text, the most frequent first."""
    ordered = sorted(failures.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason}: {rows}" for reason, rows in ordered) or "the collection is empty"
