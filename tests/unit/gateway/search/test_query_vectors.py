"""Examples are combined as weighted unit vectors."""

import numpy as np
import pytest

from gateway.search.query_vectors import combined, weighted
from servicekit.errors import InvalidRequest

X, Y = np.array([1, 0], np.float32), np.array([0, 1], np.float32)


def test_the_sum_counts_weights_and_has_length_one() -> None:
    assert weighted([X, Y], [1, 1]) == pytest.approx([np.sqrt(0.5), np.sqrt(0.5)])
    assert weighted([X, Y], [0.3, -0.4]) == pytest.approx([0.6, -0.8])
    assert weighted([X, X], [0.1, 0.2]) == pytest.approx(X)
    assert weighted([X, Y], [1, 1]).dtype == np.float32


def test_examples_that_cancel_each_other_out_are_refused() -> None:
    with pytest.raises(InvalidRequest) as error:
        weighted([X, X, Y, Y], [0.7, -0.7, 0.2, -0.2])
    assert error.value.code == "examples_cancel_out"


def test_a_part_has_the_weight_of_its_positive_examples() -> None:
    part = combined([X, Y, X], [0.5, -0.5, 0.25], "tuned")
    assert (part.weight, part.space) == (0.75, "tuned")
    assert part.vector == pytest.approx(weighted([X, Y, X], [0.5, -0.5, 0.25]))


def test_a_part_without_positive_examples_is_negative_and_points_to_them() -> None:
    part = combined([X, Y], [-0.3, -0.4], "tuned")
    assert part.weight == pytest.approx(-0.7)
    assert part.vector == pytest.approx([0.6, 0.8])
    assert combined([X], [-0.5], "tuned").vector == pytest.approx(X)
