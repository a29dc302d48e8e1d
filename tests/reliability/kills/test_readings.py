"""The trainer dies while it reads a source. The reading goes on where it was, and the content is whole."""

import pytest

from servicekit.process.fault_points import FaultPoint
from tests.e2e.running_instance import until
from tests.reliability.conftest import Attacked
from tests.reliability.parts.faults import Faults
from tests.reliability.parts.scale import LONG, rounds

pytestmark = pytest.mark.timeout(1800)

# More than one batch of manifests.
MANIFESTS = 40
POINTS = [FaultPoint.RECORDS_STORED, FaultPoint.CONTENT_STAGED]


@pytest.mark.parametrize("point", POINTS if LONG else POINTS[:1])
def test_a_reading_that_is_killed_goes_on_and_its_content_is_whole(
    attacked: Attacked, faults: Faults, point: FaultPoint
) -> None:
    rest, museum = attacked.rest, attacked.museum
    for number in rounds(20):
        folder = f"{point.value}-{number}"
        url = museum.manifests(folder, range(MANIFESTS))
        faults.kill(point)
        made = rest.succeed("POST", "/collection/create", {"name": folder, "source": {"type": "iiif", "url": url}})
        collection = int(made.body["id"])
        faults.wait_killed(point)
        until(lambda collection=collection: len(rest.content(collection)) == MANIFESTS, 60.0)  # type: ignore[misc]
        assert [image for image, _ in rest.content(collection)] == [
            f"{museum.address}{n}.jpg" for n in range(MANIFESTS)
        ]
        read = [museum.asked[f"{folder}/{n}"] for n in range(MANIFESTS)]
        # What was stored is not read again.
        assert max(read) <= 2
        assert read.count(1) >= (32 if point is FaultPoint.RECORDS_STORED else MANIFESTS)
        rest.succeed("POST", f"/collection/{collection}/delete")
