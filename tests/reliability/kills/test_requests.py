"""The gateway dies while it changes collections. What it confirmed stays; the rest is there whole or not at all."""

import pytest

from servicekit.process.fault_points import FaultPoint
from tests.e2e.running_instance import until
from tests.reliability.conftest import Attacked
from tests.reliability.parts.faults import Faults
from tests.reliability.parts.rest import Rest, Row
from tests.reliability.parts.scale import rounds

pytestmark = pytest.mark.timeout(1800)

P = FaultPoint
UPLOADS = (P.UPLOAD_RECEIVED, P.CONTENT_WRITTEN, P.CONTENT_STORED)


def rows(first: int, count: int = 50) -> list[Row]:
    return [
        (f"https://images.example.org/{n}.jpg", f"https://repo.example.org/{n}") for n in range(first, first + count)
    ]


@pytest.fixture(scope="session")
def filled(attacked: Attacked) -> int:
    """A collection with a content."""
    collection = attacked.rest.create("filled")
    assert attacked.rest.upload(collection, rows(0)).status == 200
    return collection


def _is_refused(rest: Rest, collection: int, content: list[Row], statuses: list[int]) -> bool:
    """Upload once. Return whether the service was not able to take it."""
    statuses.append(rest.upload(collection, content).status)
    return statuses[-1] in (429, 503)


@pytest.mark.parametrize("point", UPLOADS)
def test_an_upload_is_stored_as_a_whole_or_not_at_all(
    attacked: Attacked, filled: int, faults: Faults, point: FaultPoint
) -> None:
    rest = attacked.rest
    for number in rounds(20):
        # A content that is there already is not stored again.
        before, new = rest.content(filled), rows(100_000 * UPLOADS.index(point) + 1000 * (number + 1))
        faults.kill(point)
        # A gateway that is just starting may refuse uploads.
        statuses: list[int] = []
        until(lambda new=new, statuses=statuses: not _is_refused(rest, filled, new, statuses), 60.0)  # type: ignore[misc]
        faults.wait_killed(point)
        assert statuses[-1] == 0
        found = rest.content(filled)
        assert found == (new if point is P.CONTENT_STORED else before)
        assert rest.info(filled)["number_of_images"] == len(found)
        # The same upload again is confirmed, and stays.
        assert rest.upload(filled, new).status == 200
        assert rest.content(filled) == new
    # What the killed gateway left in its folder for uploads.
    until(lambda: not attacked.stored.uploads())


def test_an_edit_is_stored_as_a_whole_or_not_at_all(attacked: Attacked, filled: int, faults: Faults) -> None:
    rest = attacked.rest
    for number in rounds(20):
        before = rest.content(filled)
        new = [{"image_url": image, "repo_url": entry} for image, entry in rows(500_000 + 1000 * number, 3)]
        faults.kill(P.CONTENT_WRITTEN)
        assert rest.call("POST", f"/collection/{filled}/images", {"images": new}).status == 0
        faults.wait_killed(P.CONTENT_WRITTEN)
        assert rest.content(filled) == before
        assert rest.info(filled)["number_of_images"] == len(before)


def test_a_collection_is_created_once_or_not_at_all(attacked: Attacked, faults: Faults) -> None:
    rest = attacked.rest
    for number in rounds(20):
        name = f"created {number}"
        faults.kill(P.CREATED)
        assert rest.call("POST", "/collection/create", {"name": name}).status == 0
        faults.wait_killed(P.CREATED)
        created = [identifier for identifier, found in rest.collections().items() if found == name]
        assert len(created) == 1
        assert rest.content(created[0]) == []


def test_a_deletion_that_was_committed_is_completed(attacked: Attacked, faults: Faults) -> None:
    rest = attacked.rest
    for number in rounds(20):
        collection = rest.create("deleted")
        assert rest.upload(collection, rows(1000 * number)).status == 200
        faults.kill(P.DELETED)
        assert rest.call("POST", f"/collection/{collection}/delete").status == 0
        faults.wait_killed(P.DELETED)
        assert collection not in rest.collections()
        assert rest.call("GET", f"/collection/{collection}/info").code == "collection_not_found"
        until(lambda collection=collection: not attacked.stored.traces(collection), 60.0)  # type: ignore[misc]
