"""One attempt at a job: what the phases of a finetune share."""

from collections import Counter
from dataclasses import dataclass, field

from catalog.indexes import Index
from catalog.jobs import Job
from catalog.vectors.base_store import BaseStore
from servicekit.download.failures import Reason
from trainer.embed.client import Backbone
from trainer.jobs.places import Place
from trainer.jobs.progress import Progress


@dataclass(frozen=True)
class Attempt:
    """One attempt at a job with one backbone.

    index: what the attempt writes. total: rows of the job's revision. vectors: the base vector of each image.
    views: the vectors of the augmented views of a sample of images. kept: the images that a refresh could not check, by
    reason; they keep their vectors.
    """

    job: Job
    index: Index
    backbone: Backbone
    total: int
    progress: Progress
    place: Place
    vectors: BaseStore
    views: BaseStore
    kept: Counter[Reason] = field(default_factory=Counter)
