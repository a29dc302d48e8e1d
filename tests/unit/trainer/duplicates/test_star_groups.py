"""Star groups: every member is near the same image."""

import numpy as np

from trainer.duplicates.near_pairs import Pairs
from trainer.duplicates.star_groups import StarGroup, star_groups


def pairs(*found: tuple[int, int, float]) -> Pairs:
    first, second, scores = zip(*found, strict=True) if found else ((), (), ())
    return Pairs(np.array(first, np.int64), np.array(second, np.int64), np.array(scores, np.float32))


def test_copies_are_joined_by_their_original() -> None:
    """The crop (0) and the rotation (3) are no near pair, but both are near the original (2)."""
    assert star_groups(pairs((0, 2, 0.75), (2, 3, 0.5)), 5) == [StarGroup([2, 3, 0], 0.5)]


def test_a_chain_of_pairs_does_not_join_its_ends() -> None:
    chain = pairs(*((number, number + 1, 0.5) for number in range(9)))
    groups = star_groups(chain, 10)
    assert max(len(group.members) for group in groups) == 3
    for group in groups:
        centre, *others = group.members
        assert all(abs(centre - other) == 1 for other in others)


def test_groups_do_not_overlap_and_keep_their_weakest_score() -> None:
    found = star_groups(pairs((0, 1, 1.0), (0, 2, 0.75), (1, 2, 0.75), (2, 3, 0.5), (4, 5, 0.875)), 6)
    assert sorted((sorted(group.members), group.score) for group in found) == [([0, 1, 2, 3], 0.5), ([4, 5], 0.875)]
    assert found == star_groups(pairs((0, 1, 1.0), (0, 2, 0.75), (1, 2, 0.75), (2, 3, 0.5), (4, 5, 0.875)), 6)


def test_an_image_that_lost_all_its_partners_is_in_no_group() -> None:
    """3 is near 2 only, which belongs to the larger star of 1."""
    assert star_groups(pairs((0, 1, 0.9), (1, 2, 0.9), (1, 4, 0.9), (2, 3, 0.9)), 5)[0].members[0] == 1
    assert star_groups(pairs(), 4) == []
