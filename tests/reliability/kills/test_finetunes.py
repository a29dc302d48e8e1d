"""A finetune that is killed in any of its phases resumes. Search finds a whole index all the time."""

import pytest

from servicekit.process.fault_points import FaultPoint
from tests.reliability.conftest import Attacked
from tests.reliability.parts.changing import ChangingCollection
from tests.reliability.parts.faults import Faults
from tests.reliability.parts.scale import LONG, rounds

pytestmark = pytest.mark.timeout(1800)

P = FaultPoint
# The points that every finetune of a changed content reaches. The trainer dies at the first ten.
TRAINER = (
    (P.CLAIMED, P.DOWNLOADED, P.EMBEDDED, P.VECTORS_STORED, P.FITTING),
    (P.ADAPTER_STORED, P.INDEX_WRITTEN, P.SETTLED, P.PUBLISHING, P.PUBLISHED),
)
OTHERS = ((P.DECODED, P.IMAGE_ANSWERED, P.POINTS_WRITTEN, P.GRAPH_BUILT, P.FOLDER_STAGED),)
GROUPS = (*TRAINER, *OTHERS)
# The points of a group are all hit in one finetune. The short form has those where most could be lost.
SHORT_GROUPS = (
    (P.CLAIMED, P.EMBEDDED, P.VECTORS_STORED, P.ADAPTER_STORED, P.INDEX_WRITTEN),
    (P.PUBLISHING, P.PUBLISHED, P.POINTS_WRITTEN, P.FOLDER_STAGED),
)
KILLS = [group for _ in rounds(20) for group in (GROUPS if LONG else SHORT_GROUPS)]


def ids(points: tuple[FaultPoint, ...]) -> str:
    return "-".join(point.value for point in points)


@pytest.mark.parametrize("points", KILLS, ids=ids)
def test_a_finetune_that_is_killed_resumes_and_search_never_finds_part_of_an_index(
    changing: ChangingCollection, faults: Faults, points: tuple[FaultPoint, ...]
) -> None:
    assert changing.replace_one().status == 200
    for point in points:
        faults.kill(point)
    changing.rest.finetune(changing.id)
    changing.wait_until_done()
    for point in points:
        # The fault happened.
        faults.wait_killed(point)
    # What a kill after the publish left to do.
    changing.wait_until_done()


# Where the trainer is held, and what dies meanwhile: one process, or two at once.
VICTIMS = (
    (P.CLAIMED, ("bin/postgres",)),
    (P.EMBEDDED, ("embedder",)),
    (P.EMBEDDED, ("gateway", "local_qdrant")),
    (P.INDEX_WRITTEN, ("local_qdrant",)),
    (P.PUBLISHING, ("bin/postgres",)),
    (P.PUBLISHING, ("trainer", "bin/postgres")),
    (P.PUBLISHED, ("trainer", "local_qdrant")),
)
SHORT = (VICTIMS[5],)


@pytest.mark.parametrize(("point", "victims"), [each for _ in rounds(5) for each in VICTIMS] if LONG else SHORT)
def test_a_finetune_survives_the_death_of_what_it_uses_in_a_phase(
    attacked: Attacked, changing: ChangingCollection, faults: Faults, point: FaultPoint, victims: tuple[str, ...]
) -> None:
    assert changing.replace_one().status == 200
    faults.hold(point)
    changing.rest.finetune(changing.id)
    faults.wait(point)
    killed = [attacked.instance.child(word) for word in victims]
    for process in killed:
        process.kill()
    for process in killed:
        process.wait(10)
    faults.release(point)
    changing.wait_until_done()
