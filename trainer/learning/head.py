"""The adapter's training: a linear head on the frozen backbone, from the PCA onwards."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch.nn.functional import normalize

from trainer.learning.dataset import UNGROUPED, Matrix, TrainingSet
from trainer.learning.losses import NEAR_IDENTICAL, contrastive, frozen_pull

# Called with the number of steps done and the head [dim, d] as it is; False ends the training.
Observer = Callable[[int, Matrix], bool]
OBSERVED_EVERY, MAX_OBSERVATIONS = 50, 8


@dataclass(frozen=True)
class Hyperparameters:
    """What decides a training beside its data. Kept with the adapter."""

    steps: int = 400
    batch_size: int = 512
    learning_rate: float = 1e-3
    temperature: float = 0.1
    pull_weight: float = 100.0
    seed: int = 0

    def as_dict(self) -> dict[str, float]:
        """For the adapter's lineage, as JSON has them."""
        return asdict(self)


def checkpoints(steps: int) -> list[int]:
    """The steps after which a training of so many is looked at: every 50, further apart in a long one, and the last."""
    every = max(OBSERVED_EVERY, -(-steps // MAX_OBSERVATIONS))
    return sorted({*range(every, steps + 1, every), steps})


def train_head(data: TrainingSet, start: Matrix, parameters: Hyperparameters, observe: Observer) -> Matrix:
    """Trains a head [dim, d] from `start` and gives it. Deterministic for a seed and a number of threads.

    observe is called at the checkpoints.
    """
    batches = _Batches(data, parameters)
    head = torch.from_numpy(start.copy()).requires_grad_(True)
    optimizer = torch.optim.Adam([head], lr=parameters.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, parameters.steps)
    observed = set(checkpoints(parameters.steps))
    for step in range(1, parameters.steps + 1):
        loss = batches.loss(head)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step in observed and not observe(step, head.detach().numpy().copy()):
            break
    return head.detach().numpy().astype(np.float32)


class _Batches:
    """Random batches of a training set, and their loss under a head."""

    def __init__(self, data: TrainingSet, parameters: Hyperparameters) -> None:
        self._vectors = torch.from_numpy(data.vectors)
        # An image without a group is a group of its own: it and its views.
        alone = torch.arange(len(data)) + int(data.groups.max(initial=UNGROUPED)) + 1
        groups = torch.from_numpy(data.groups)
        self._grouped = groups != UNGROUPED
        self._labels = torch.where(self._grouped, groups, alone)
        # Groups are learnt from their images, and the others from their views: as many as there are of each.
        alone_viewed = data.groups[data.viewed] == UNGROUPED
        self._views = torch.from_numpy(data.views[alone_viewed])
        self._viewed = torch.from_numpy(data.viewed[alone_viewed])
        self._views_drawn = round((1 - data.grouped) * parameters.batch_size / 2)
        self._parameters = parameters
        self._random = torch.Generator().manual_seed(parameters.seed)

    def loss(self, head: torch.Tensor) -> torch.Tensor:
        """The loss of the next batch."""
        images, viewed, views = self._draw()
        vectors = torch.cat([self._vectors[images], views]).float()
        labels = torch.cat([self._labels[images], self._labels[viewed]])
        unit = normalize(vectors, dim=1)
        tuned = normalize(vectors @ head, dim=1)
        frozen, similarity = unit @ unit.T, tuned @ tuned.T
        itself = torch.eye(len(vectors), dtype=torch.bool)
        positive = (labels[:, None] == labels[None]) & ~itself
        alike = (frozen > NEAR_IDENTICAL) & ~positive
        unlabelled, mixed = self._held_pairs(torch.cat([images, viewed]))
        pull = frozen_pull(similarity, frozen, unlabelled, mixed)
        drawn = contrastive(similarity, positive, itself | alike, self._parameters.temperature)
        return drawn + self._parameters.pull_weight * pull

    def _held_pairs(self, shown: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Bool [b, b] each: pairs of different images of which none has a group, and of which one has.

        shown: image numbers [b].
        """
        grouped, differ = self._grouped[shown], shown[:, None] != shown[None]
        return ~(grouped[:, None] | grouped[None]) & differ, (grouped[:, None] ^ grouped[None]) & differ

    def _draw(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images (none twice), and views with the images that they show."""
        rows = torch.randperm(len(self._viewed), generator=self._random)[: self._views_drawn]
        choice = torch.randint(max(self._views.shape[1], 1), (len(rows),), generator=self._random)
        viewed = self._viewed[rows]
        room = self._parameters.batch_size - 2 * len(rows)
        others = torch.randperm(len(self._vectors), generator=self._random)[:room]
        return torch.unique(torch.cat([viewed, others])), viewed, self._views[rows, choice]
