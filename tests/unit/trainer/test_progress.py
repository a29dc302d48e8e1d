"""Progress never falls, and fills its phases."""

from hypothesis import given
from hypothesis import strategies as st

from similis.trainer.progress import BEGINS, Phase, Progress


def test_the_phases_fill_a_hundred_percent_in_order() -> None:
    progress = Progress()
    seen = []
    for phase in Phase:
        progress.enter(phase, 4)
        seen.append(progress.percent)
        for _ in range(4):
            progress.advance(1)
            seen.append(progress.percent)
    assert (seen[0], seen[-1]) == (0.0, 100.0)
    assert seen == sorted(seen)
    assert len(set(seen)) == 4 * len(Phase) + 1


@given(
    st.floats(0, 100),
    st.lists(st.one_of(st.sampled_from(Phase), st.integers(0, 1000)), max_size=30),
)
def test_it_never_falls_whatever_is_begun_again(before: float, steps: list[Phase | int]) -> None:
    progress = Progress(before)
    last = before
    for step in steps:
        if isinstance(step, Phase):
            progress.enter(step, 100)
        else:
            progress.advance(step)
        assert last <= progress.percent <= 100.0
        last = progress.percent


def test_a_phase_of_nothing_is_no_error() -> None:
    progress = Progress()
    progress.enter(Phase.INDEXING, 0)
    progress.advance(0)
    assert progress.percent == BEGINS[Phase.INDEXING]
