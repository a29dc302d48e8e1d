"""Training of the head: a linear map on top of the frozen backbone, starting from the PCA or an earlier head."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch.nn.functional import normalize
from torch.optim.adam import adam

from trainer.learning.dataset import UNGROUPED, Matrix, TrainingSet
from trainer.learning.losses import NEAR_IDENTICAL, contrastive, frozen_pull

# Receives the share done, 0 to 1.
Progress = Callable[[float], None]
# How often a training run reports its progress.
REPORTS = 4
# At least this share of a batch are images with views, however few of the sample have them.
MIN_VIEWED_SHARE = 0.5


@dataclass(frozen=True)
class Hyperparameters:
    """The settings of a training run. They are stored with the adapter.

    view_weight, group_weight: weights of an image's views and of its group's other images in the contrastive loss.
    pull_weight: weight of the pull for pairs in which at least one image has no group. group_pull_weight: weight of the
    pull for pairs of images of two different groups.
    """

    steps: int = 400
    batch_size: int = 512
    learning_rate: float = 1e-3
    temperature: float = 0.1
    view_weight: float = 1.0
    group_weight: float = 1.0
    pull_weight: float = 400.0
    group_pull_weight: float = 30.0
    seed: int = 0

    def as_dict(self) -> dict[str, float]:
        """Return the values as JSON stores them, for the adapter's lineage."""
        return asdict(self)


def train_head(data: TrainingSet, start: Matrix, parameters: Hyperparameters, progress: Progress) -> Matrix:
    """Return a head [dim, d] trained from `start`. Deterministic for a seed and a number of threads."""
    batches = _Batches(data, parameters)
    head = torch.from_numpy(start.copy()).requires_grad_(True)
    optimizer = _Adam(head, parameters)
    reported = max(parameters.steps // REPORTS, 1)
    for step in range(1, parameters.steps + 1):
        loss = batches.loss(head)
        if loss.requires_grad:
            optimizer.step(step, loss)
        if step % reported == 0:
            progress(step / parameters.steps)
    return head.detach().numpy().astype(np.float32)


class _Adam:
    """Adam (Kingma and Ba, 2015), with a learning rate that falls to 0 along a cosine (Loshchilov and Hutter, 2017).

    It calls torch's function. The first step of torch's class would import torch's compiler, which takes seconds.
    """

    def __init__(self, head: torch.Tensor, parameters: Hyperparameters) -> None:
        self._head = head
        self._parameters = parameters
        self._mean = torch.zeros_like(head, requires_grad=False)
        self._square = torch.zeros_like(head, requires_grad=False)
        self._taken = torch.tensor(0.0)

    def step(self, number: int, loss: torch.Tensor) -> None:
        """Change the head in place so that the loss falls. number: of this step, from 1."""
        (gradient,) = torch.autograd.grad(loss, [self._head])
        falling = (1 + math.cos(math.pi * (number - 1) / self._parameters.steps)) / 2
        with torch.no_grad():
            adam(
                [self._head],
                [gradient],
                [self._mean],
                [self._square],
                max_exp_avg_sqs=[],
                state_steps=[self._taken],
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=self._parameters.learning_rate * falling,
                weight_decay=0.0,
                eps=1e-8,
                maximize=False,
            )


class _Batches:
    """Random batches of a training set, and their loss under a head."""

    def __init__(self, data: TrainingSet, parameters: Hyperparameters) -> None:
        self._vectors = torch.from_numpy(data.vectors)
        self._groups = torch.from_numpy(data.groups)
        self._pictures = torch.from_numpy(data.pictures)
        self._views = torch.from_numpy(data.views)
        self._viewed = torch.from_numpy(data.viewed)
        alone = np.ones(len(data), dtype=bool)
        alone[data.viewed] = False
        self._without_views = torch.from_numpy(np.flatnonzero(alone))
        self._parameters = parameters
        self._random = torch.Generator().manual_seed(parameters.seed)
        share = len(data.viewed) / max(len(data), 1)
        pairs = max(share, MIN_VIEWED_SHARE) * parameters.batch_size / 2 if data.views.shape[1] else 0.0
        self._pairs = min(round(pairs), len(self._viewed))

    def loss(self, head: torch.Tensor) -> torch.Tensor:
        """Return the loss of the next batch."""
        images, views = self._draw()
        unit = self._vectors[images].float()
        tuned = normalize(torch.cat([unit, views.float()]) @ head, dim=1)
        similarity, frozen = tuned @ tuned.T, unit @ unit.T
        pictures, groups = self._pictures[images], self._groups[images]
        same_picture = pictures[:, None] == pictures[None]
        same_group = (groups[:, None] == groups[None]) & (groups != UNGROUPED)[:, None] | same_picture
        alike = (frozen > NEAR_IDENTICAL) & ~same_group
        # Rows of the batch: all images, then one view for each of the first ones.
        shown = torch.cat([groups, groups[: len(views)]])
        targets = self._targets(_of_batch(same_picture, len(views)), _of_batch(same_group, len(views)), shown)
        ignored = _of_batch(alike, len(views)).fill_diagonal_(fill_value=True)
        contrast = contrastive(similarity, targets, ignored, self._parameters.temperature)
        count = len(images)
        return contrast + frozen_pull(similarity[:count, :count], frozen, self._pull(same_group, groups))

    def _targets(self, same_picture: torch.Tensor, same_group: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """Return each row's target weights [b, b]: one weight divided among its views, one among its group."""
        view = same_picture.float().fill_diagonal_(0.0)
        group = same_group.float().fill_diagonal_(0.0)
        group_weight = self._parameters.group_weight * (groups != UNGROUPED).float()[:, None]
        return self._parameters.view_weight * _shared(view) + group_weight * _shared(group)

    def _pull(self, same_group: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """Return the weight [m, m] of the pull for each pair of images."""
        grouped = groups != UNGROUPED
        both = grouped[:, None] & grouped[None]
        weights = torch.where(both, self._parameters.group_pull_weight, self._parameters.pull_weight)
        return weights.masked_fill(same_group, 0.0)

    def _draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw images without replacement, and one view for each of the first ones."""
        rows = torch.randperm(len(self._viewed), generator=self._random)[: self._pairs]
        choice = torch.randint(max(self._views.shape[1], 1), (len(rows),), generator=self._random)
        room = self._parameters.batch_size - 2 * len(rows)
        others = torch.randperm(len(self._without_views), generator=self._random)[:room]
        images = torch.cat([self._viewed[rows], self._without_views[others]])
        return images, self._views[rows, choice]


def _of_batch(pairs: torch.Tensor, views: int) -> torch.Tensor:
    """Return for all rows of a batch, images and then views of the first `views` ones, what holds for images [m, m]."""
    rows = torch.cat([pairs, pairs[:views]])
    return torch.cat([rows, rows[:, :views]], dim=1)


def _shared(positive: torch.Tensor) -> torch.Tensor:
    """Return rows [b, b] of 0 and 1 divided by their sums."""
    return positive / positive.sum(dim=1, keepdim=True).clamp(min=1.0)
