"""Progress never falls, covers all phases, and estimates the time left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.jobs.progress import SHARES, Phase, Progress


@pytest.mark.parametrize("first", [False, True])
def test_the_phases_add_up_to_a_hundred_percent(first: bool) -> None:
    progress = Progress()
    if first:
        progress.expect_first_index(4, 16)
    phases = list(Phase) if first else [phase for phase in Phase if SHARES[phase]]
    seen = []
    for phase in phases:
        progress.enter(phase, 4)
        seen.append(progress.percent)
        for _ in range(4):
            progress.advance(1)
            seen.append(progress.percent)
    assert seen[0] == 0.0
    assert seen[-1] == pytest.approx(100.0)
    assert seen == sorted(seen)
    assert len(set(seen)) == 4 * len(phases) + 1


@given(
    st.floats(0, 100),
    st.lists(st.one_of(st.sampled_from(Phase), st.integers(0, 1000)), max_size=30),
)
def test_progress_never_falls_when_phases_are_entered_again(before: float, steps: list[Phase | int]) -> None:
    progress = Progress(before)
    last = before
    for step in steps:
        if isinstance(step, Phase):
            progress.enter(step, 100)
        else:
            progress.advance(step)
        assert last <= progress.percent <= 100.0
        last = progress.percent


def test_a_phase_without_images_is_not_an_error() -> None:
    progress = Progress()
    progress.enter(Phase.INDEXING, 0)
    progress.advance(0)
    assert progress.percent == 89.0


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_a_phase_with_several_passes_counts_each_image_once() -> None:
    progress = Progress()
    progress.enter(Phase.FITTING, 10, passes=4)
    progress.advance(21)
    assert (progress.counts.done, progress.counts.total) == (5, 10)
    assert progress.percent == pytest.approx(70.0 + 18 * 21 / 40)


def test_the_estimate_is_exact_at_constant_speed() -> None:
    clock = Clock()
    progress = Progress(clock=clock)
    progress.enter(Phase.FETCHING, 700)
    assert progress.counts.seconds_left is None
    # 70 percent in 70 seconds leave 30 percent for 30 seconds.
    for _ in range(70):
        clock.seconds += 1
        progress.advance(10)
        assert progress.counts.seconds_left == pytest.approx(200.0 - clock.seconds)
    progress.enter(Phase.FITTING, 700, passes=4)
    assert progress.counts.seconds_left == pytest.approx(30.0)
    clock.seconds += 5
    assert progress.counts.seconds_left == pytest.approx(25.0)


def test_images_that_need_no_work_do_not_distort_the_estimate() -> None:
    clock = Clock()
    progress = Progress(clock=clock)
    progress.enter(Phase.FETCHING, 1000)
    progress.skip(900)
    clock.seconds += 10
    progress.advance(10)
    # 90 more take 90 seconds, and the later phases 30 / 70 of the 100 seconds of this one.
    assert progress.counts.seconds_left == pytest.approx(90 + 100 * 30 / 70)
    assert progress.counts.done == 910


def test_a_job_that_outlasts_its_estimate_has_none() -> None:
    clock = Clock()
    progress = Progress(clock=clock)
    progress.enter(Phase.INDEXING, 2)
    clock.seconds += 2
    progress.advance(2)
    clock.seconds += 1000
    assert progress.counts.seconds_left is None


def test_images_and_views_share_the_time_until_fitting_by_their_numbers() -> None:
    progress = Progress()
    progress.expect_first_index(1000, 4000)
    progress.enter(Phase.FIRST_INDEX, 1000)
    # A fifth of 70 percent, without the 2 percent of the index.
    assert progress.percent == pytest.approx(68 / 5)
    progress.enter(Phase.VIEWS, 1000)
    assert progress.percent == pytest.approx(68 / 5 + 2)
    progress.enter(Phase.FITTING, 1000)
    assert progress.percent == pytest.approx(70.0)
