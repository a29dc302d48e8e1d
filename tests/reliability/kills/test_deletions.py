"""The trainer dies while it removes what a deletion, or a replaced index, has left. In the end nothing is left."""

import pytest

from servicekit.process.fault_points import FaultPoint
from tests.e2e.running_instance import until
from tests.reliability.conftest import Attacked
from tests.reliability.parts.changing import ChangingCollection
from tests.reliability.parts.faults import Faults
from tests.reliability.parts.scale import LONG, rounds

pytestmark = pytest.mark.timeout(1800)

P = FaultPoint
IMAGES = 3
# Where a deletion is interrupted. Two at once: the trainer, and the Qdrant that it talks to.
INTERRUPTIONS = (
    (P.COLLECTION_DROPPED,),
    (P.ROWS_REMOVED,),
    (P.FOLDER_DISCARDED,),
    (P.COLLECTION_DROPPED, P.FOLDER_DISCARDED),
)


def nothing_left(attacked: Attacked, collection: int) -> bool:
    return not attacked.stored.traces(collection) and not attacked.stored.discarded_vectors()


@pytest.mark.parametrize(
    "points",
    INTERRUPTIONS if LONG else INTERRUPTIONS[1::2],
    ids=lambda points: "-".join(point.value for point in points),
)
def test_an_interrupted_deletion_leaves_nothing(
    attacked: Attacked, faults: Faults, points: tuple[FaultPoint, ...]
) -> None:
    rest, host = attacked.rest, attacked.museum.address
    for _ in rounds(25):
        doomed = ChangingCollection.create(rest, host, "doomed", IMAGES)
        # There is something to remove.
        traces = set(attacked.stored.traces(doomed.id))
        assert {"collections", "images", "indexes", "jobs", "adapters", "contents"} < traces
        assert sum("-c" in trace for trace in traces) == 3
        for point in points:
            faults.kill(point)
        rest.succeed("POST", f"/collection/{doomed.id}/delete")
        for point in points:
            faults.wait_killed(point)
        until(lambda doomed=doomed: nothing_left(attacked, doomed.id), 60.0)  # type: ignore[misc]


@pytest.mark.parametrize("point", [P.IMAGE_VECTORS_REMOVED, P.INDEX_DROPPED] if LONG else [P.IMAGE_VECTORS_REMOVED])
def test_a_replaced_index_and_images_that_went_leave_nothing(
    attacked: Attacked, changing: ChangingCollection, faults: Faults, point: FaultPoint
) -> None:
    for _ in rounds(20):
        faults.kill(point)
        assert changing.replace_one().status == 200
        changing.finetuned()
        faults.wait_killed(point)
        until(lambda: only_the_live_index_is_left(attacked, changing), 60.0)
        changing.wait_until_done()


def only_the_live_index_is_left(attacked: Attacked, changing: ChangingCollection) -> bool:
    """Return whether a collection has one generation, one row for it, and no other images than those of its content."""
    stored, collection = attacked.stored, changing.id
    rows = stored.rows(
        "SELECT i.qdrant_collection, c.live_index = i.id, (SELECT count(*) FROM images WHERE collection_id = c.id)"
        " FROM indexes i JOIN collections c ON c.id = i.collection_id WHERE c.id = $1",
        collection,
    )
    generations = [name for name in stored.vectors() if f"-c{collection}-g" in name]
    return rows == [(name, True, len(changing.rows)) for name in generations] and len(generations) == 1
