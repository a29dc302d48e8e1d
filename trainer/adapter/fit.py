"""The learned adapter: trained on the collection's groups and views, and used if it passes the acceptance gate."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import aclosing

import numpy as np

from catalog.vectors.false_matches import RUNNER_UPS
from catalog.vectors.projection import Projection
from servicekit.process.fault_points import FaultPoint
from servicekit.telemetry.logs import get_logger
from trainer.adapter.calibration import false_matches, typical
from trainer.adapter.pca import Fitted, Previous, PrincipalComponents, Report, Survey
from trainer.adapter.process import TrainedHead, TrainingFailed, TrainingInput, train_in_child
from trainer.adapter.reevaluation import Reevaluation
from trainer.adapter.sample import Sample
from trainer.index.base_vectors import Matrix, StoredVectors
from trainer.learning.dataset import MIN_IMAGES, EarlierHead, Mask, TrainingSet
from trainer.learning.directions import DIMENSION, accumulate, principal_directions

log = get_logger(__name__)

# An adapter may be kept as it is if at most KEPT_SHARE of the rows are new to it. Training may continue from it if at
# most CONTINUED_SHARE of them are, and at least MIN_FRESH images: only those can be used to evaluate it.
KEPT_SHARE = 0.05
CONTINUED_SHARE = 0.5
MIN_FRESH = 40
# Images per training step.
IMAGES_PER_STEP = 4
MIN_STEPS, MAX_STEPS = 400, 1500
# So many training processes may fail before the PCA is used instead.
ATTEMPTS = 2
NO_SCORES: Matrix = np.zeros((0, 1 + RUNNER_UPS), np.float32)
LEARNED = ("learned", "learned_without_groups")


class LearnedAdapter:
    """Fits a linear adapter to the collection, or the PCA if training would not help."""

    def __init__(self, executor: Executor, *, threads: int, environment: Mapping[str, str] | None = None) -> None:
        """executor: for short numerical work. threads, environment: of the process that trains."""
        self._executor = executor
        self._threads = threads
        self._environment = environment
        self._principal = PrincipalComponents(executor)

    async def fit(self, vectors: StoredVectors, dim: int, previous: Previous | None, report: Report) -> Fitted:
        """See `Fit`. Trains on a bounded sample, and continues from the previous adapter if most rows are old."""
        if previous is not None and not _is_calibrated(previous):
            previous = None
        if previous is not None and previous.changed <= KEPT_SHARE:
            decision = await Reevaluation(self._executor, previous).run(vectors)
            log.info("adapter_kept" if decision.adopted else "adapter_not_kept", reason=decision.reason)
            if decision.adopted:
                return previous.kept(decision.metrics)
            previous = None
        survey = await self._principal.survey(vectors, dim, report)
        FaultPoint.FITTING.reach()
        moment, count = survey.moment, survey.images
        sample = await self._gather(vectors, survey, previous, report)
        loop = asyncio.get_running_loop()
        for views in sample.views:
            await loop.run_in_executor(self._executor, accumulate, moment, views.reshape(-1, dim))
        pca = await loop.run_in_executor(self._executor, principal_directions, moment, DIMENSION)
        if len(sample) < MIN_IMAGES:
            reason = f"There are fewer than {MIN_IMAGES} images."
            return Fitted(Projection(pca), {"adapter": "pca", "reason": reason, "images": count})
        data = await loop.run_in_executor(self._executor, sample.training_set)
        given = TrainingInput(data, pca, _earlier(previous, sample.fresh), training_steps(len(data)), self._threads)
        trained = await train_or_fall_back(given, _in_rows(report, 2 * count), self._environment)
        log.info("adapter_learned", adapter=trained.quality["adapter"], reason=trained.quality["reason"])
        found, mean = await loop.run_in_executor(self._executor, _calibration, trained, data, count)
        found |= {"shared_repo_url": sample.shared_repo_url}
        if previous is not None and trained.quality["adapter"] == "kept":
            return previous.kept(trained.quality["parts"], found, mean)
        quality = trained.quality | {"images": count, "sample": len(data)} | found
        return Fitted(Projection(trained.head, mean), quality)

    async def _gather(
        self, vectors: StoredVectors, survey: Survey, previous: Previous | None, report: Report
    ) -> Sample:
        sample = Sample(survey.images, previous.revision if previous else 0, survey.spanning)
        async with aclosing(vectors.pages()) as pages:
            async for page in pages:
                rows = sample.rows(page.images)
                if len(rows):
                    images = [page.images[row] for row in rows]
                    shown, views = await vectors.views([image.id for image in images])
                    sample.add(images, page.vectors[rows], shown, views)
                report(page.rows)
        return sample


async def train_or_fall_back(
    given: TrainingInput, report: Callable[[float], None], environment: Mapping[str, str] | None = None
) -> TrainedHead:
    """Train in a child process. If it fails ATTEMPTS times, for lack of memory for example, return the PCA."""
    reason = ""
    for _ in range(ATTEMPTS):
        try:
            return await train_in_child(given, report, environment)
        except TrainingFailed as error:
            reason = str(error)
            log.warning("learning_failed", reason=reason)
    return TrainedHead(given.pca, {"adapter": "pca", "reason": reason, "steps": 0, "parts": {}}, NO_SCORES, 0)


def _calibration(trained: TrainedHead, data: TrainingSet, images: int) -> tuple[dict[str, object], Matrix]:
    """Return what a search needs to know about false matches, as JSON stores it, and the mean direction [dim]."""
    matches = false_matches(trained.strangers, trained.gallery_size, images)
    mean, least_typical = typical(data.vectors)
    found: dict[str, object] = {
        "false_match_scores": list(matches.scores),
        "false_match_prominences": list(matches.prominences),
        "least_typical": least_typical,
    }
    return found, mean


def _is_calibrated(previous: Previous) -> bool:
    """Return whether an adapter has false match scores, or cannot have any.

    One of an older version lacks them. They need images that the adapter has not learned from, so only another training
    can measure them.
    """
    return bool(previous.fitted.quality.get("false_match_prominences")) or previous.images < MIN_IMAGES


def _earlier(previous: Previous | None, fresh: Mask) -> EarlierHead | None:
    """Return the head to continue from, or None. A PCA was not trained, so it is computed again."""
    if previous is None or previous.changed > CONTINUED_SHARE or fresh.sum() < MIN_FRESH:
        return None
    if previous.fitted.quality.get("adapter") not in LEARNED:
        return None
    return EarlierHead(previous.fitted.projection.matrix, fresh)


def _in_rows(report: Report, rows: int) -> Callable[[float], None]:
    """Return a receiver of shares, 0 to 1, that reports them as shares of `rows`."""
    reported = 0

    def share_done(share: float) -> None:
        nonlocal reported
        done = int(share * rows)
        report(done - reported)
        reported = done

    return share_done


def training_steps(images: int) -> int:
    """Return how many steps to train on so many images."""
    return min(max(images // IMAGES_PER_STEP, MIN_STEPS), MAX_STEPS)
