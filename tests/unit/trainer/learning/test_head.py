import numpy as np

from catalog.vectors.projection import normalised
from tests.unit.trainer.learning.synthetic import DIM, PCA, parameters
from trainer.learning.dataset import UNGROUPED, TrainingSet
from trainer.learning.head import train_head
from trainer.learning.losses import NEAR_IDENTICAL


def test_nearly_identical_images_are_not_pushed_apart() -> None:
    """Two rows may show the same photograph, of one object under two URLs or by mistake."""
    photographs = normalised((1 + 0.12 * np.random.default_rng(0).normal(size=(80, DIM))).astype(np.float32))
    images, views = photographs[:40], photographs[40:, None]
    assert (photographs @ photographs.T).min() > NEAR_IDENTICAL
    alone = TrainingSet(images, np.full(40, UNGROUPED), views, np.arange(40), np.arange(40))
    # Without negatives, an image is as close to its view as it can be, so nothing changes.
    found = train_head(alone, PCA, parameters(5, pull_weight=0.0), lambda _: None)
    np.testing.assert_allclose(found, PCA, atol=1e-6)
