"""Removals: the images that a refresh takes out of the index, because their hosts no longer have them."""

from collections import Counter

from catalog.indexes import Indexes
from trainer.fetch.failure_policy import require_few_removals
from trainer.jobs.attempt import Attempt

PAGE_SIZE = 512


async def remove_failed_images(attempt: Attempt, indexes: Indexes, *, most: float) -> None:
    """Remove the vectors of the images that failed in a refresh, so that no outdated version is indexed.

    Images whose failure may pass are not among the failed ones. most: the share of rows, 0 to 1, that may go; a forced
    refresh has no limit. Raises TooManyRemovals before anything is removed.
    """
    going: list[int] = []
    reasons: Counter[str] = Counter()
    after = 0
    while page := await indexes.failed_images(attempt.index.id, after=after, limit=PAGE_SIZE):
        embedded = await attempt.vectors.existing([failed.image_id for failed in page])
        going += sorted(embedded)
        reasons.update(failed.reason for failed in page if failed.image_id in embedded)
        after = page[-1].image_id
    if not attempt.job.force:
        require_few_removals(reasons, attempt.total, most=most)
    for start in range(0, len(going), PAGE_SIZE):
        await attempt.vectors.remove(going[start : start + PAGE_SIZE])
