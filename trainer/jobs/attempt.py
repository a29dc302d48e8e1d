"""One attempt at a job: what the phases of a finetune share."""

from dataclasses import dataclass

from catalog.indexes import Index
from catalog.jobs import Job
from catalog.vectors.base_store import BaseStore
from trainer.embed.client import Backbone
from trainer.jobs.progress import Progress


@dataclass(frozen=True)
class Attempt:
    """One attempt at a job with one backbone.

    index: what the attempt writes. total: rows of the job's revision. vectors: the base vector of each image.
    views: the vectors of the augmented views of a sample of images.
    """

    job: Job
    index: Index
    backbone: Backbone
    total: int
    progress: Progress
    vectors: BaseStore
    views: BaseStore
