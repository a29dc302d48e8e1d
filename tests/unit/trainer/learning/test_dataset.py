import numpy as np

from trainer.learning.dataset import UNGROUPED, usable_groups


def test_a_group_of_one_image_or_of_most_images_is_ignored() -> None:
    groups = np.array([1, 2, 2, 3, 3, 3, 3, 3, 3])
    assert usable_groups(groups).tolist() == [UNGROUPED, 2, 2, *[UNGROUPED] * 6]
