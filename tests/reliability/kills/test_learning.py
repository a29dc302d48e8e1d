"""The first finetune of a collection is killed where it has published a provisional index, and where it learns.

Search has the provisional index until the learned one is published, and finds the whole of one of them all the time.
"""

import pytest

from servicekit.process.fault_points import FaultPoint
from tests.e2e.running_instance import until
from tests.reliability.conftest import Attacked
from tests.reliability.parts.changing import ChangingCollection
from tests.reliability.parts.faults import Faults
from tests.reliability.parts.scale import rounds
from trainer.learning.dataset import MIN_IMAGES

pytestmark = pytest.mark.timeout(3600)

P = FaultPoint
QUALITY = "SELECT quality FROM indexes WHERE id = $1"


def test_a_first_finetune_that_is_killed_after_its_provisional_index_and_in_learning_resumes(
    attacked: Attacked, faults: Faults
) -> None:
    rest, stored = attacked.rest, attacked.stored
    for _ in rounds(20):
        collection = ChangingCollection.uploaded(rest, attacked.museum.address, "learned", MIN_IMAGES)
        collection.find_anchor()
        faults.kill(P.FIRST_PUBLISHED)
        faults.kill(P.LEARNING)
        rest.finetune(collection.id)
        faults.wait_killed(P.FIRST_PUBLISHED)
        # The trainer is dead, and all of the provisional index is found.
        until(lambda collection=collection: collection.search().status == 200, 20.0)  # type: ignore[misc]
        [provisional] = collection.indexes
        assert '"provisional": true' in str(stored.rows(QUALITY, provisional)[0][0])
        collection.wait_until_done()
        faults.wait_killed(P.LEARNING)
        first, last = collection.indexes
        assert first == provisional
        quality = str(stored.rows(QUALITY, last)[0][0])
        # Another process trained and evaluated what the one that was killed did not. Without one, there is no metric.
        assert '"provisional"' not in quality
        assert '"parts": {}' not in quality
        rest.succeed("POST", f"/collection/{collection.id}/delete")
        until(lambda collection=collection: not stored.traces(collection.id), 60.0)  # type: ignore[misc]
