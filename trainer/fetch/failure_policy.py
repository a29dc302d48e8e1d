"""The failure policy: whether a fetch got enough images to build an index from."""

from collections.abc import Mapping

from servicekit.errors import ServiceError
from trainer.download.failures import Reason


class TooFewImages(ServiceError):
    """The finetune fails, and the previous index stays live."""


def require_enough_images(failures: Mapping[str, int], total: int, *, max_transient: float) -> None:
    """Raise TooFewImages if none of `total` rows can be indexed, or too many failed with transient errors.

    failures: number of rows by reason. max_transient: the share of rows, 0 to 1, that may fail with transient errors.
    """
    failed = sum(failures.values())
    if failed >= total:
        raise TooFewImages(
            f"None of the {total} images could be indexed ({_summary(failures)}). The collection's failures give "
            "the reason for each image. Correct the CSV or the image hosts, then finetune again.",
            code="no_images_indexed",
        )
    transient = {reason: rows for reason, rows in failures.items() if _is_transient(reason)}
    if sum(transient.values()) > max_transient * total:
        raise TooFewImages(
            f"{sum(transient.values())} of {total} images could not be fetched because of temporary errors "
            f"({_summary(transient)}). Finetune again later. Images that were already fetched are kept.",
            code="too_many_failures",
        )


def _is_transient(reason: str) -> bool:
    try:
        return Reason(reason).is_transient
    except ValueError:
        # Another release wrote it.
        return False


def _summary(failures: Mapping[str, int]) -> str:
    ordered = sorted(failures.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason}: {rows}" for reason, rows in ordered) or "the collection is empty"
