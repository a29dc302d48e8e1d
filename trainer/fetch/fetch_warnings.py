"""Warnings: what users should know about a fetch that did not fail."""

from catalog.image_versions import ImageVersions, RepeatedImage
from trainer.fetch.failure_policy import summary
from trainer.jobs.attempt import Attempt

# The same bytes behind this many URLs and entries are suspected to be a placeholder, such as "no image available".
PLACEHOLDER_ROWS = 5
MOST_PLACEHOLDERS = 5


async def fetch_warnings(attempt: Attempt, versions: ImageVersions) -> list[str]:
    """Return the warnings about the images of an attempt, as sentences."""
    index = attempt.index
    repeated = await versions.repeated(
        index.collection_id, index.backbone, index.revision, least=PLACEHOLDER_ROWS, limit=MOST_PLACEHOLDERS
    )
    return [*_not_checked(attempt), *(_placeholder(image) for image in repeated)]


def _not_checked(attempt: Attempt) -> list[str]:
    kept = {reason.value: rows for reason, rows in attempt.kept.items()}
    if not kept:
        return []
    number = f"{sum(kept.values())} of {attempt.total} images"
    return [
        f"{number} could not be checked for a newer version ({summary(kept)}). They stay in the index as they were."
    ]


def _placeholder(image: RepeatedImage) -> str:
    first, second = image.examples
    return (
        f"{image.images} rows with different URLs and entries have exactly the same image, which may be a placeholder, "
        f"for example {first} and {second}"
    )
