"""A full file system below the uploads, the vectors or the database: refused with 507, nothing lost, and it heals.

The instance has a small file system for each of the three.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from servicekit.process.fault_points import FaultPoint
from tests.e2e.running_instance import RunningInstance, data_with_shared_models, until
from tests.reliability.conftest import SETTINGS
from tests.reliability.parts.changing import ChangingCollection
from tests.reliability.parts.faults import Faults
from tests.reliability.parts.museum import running_museum
from tests.reliability.parts.replicas import outcomes
from tests.reliability.parts.rest import Answer, Rest, Row
from tests.reliability.parts.small_disks import MIB, SmallDisk, namespaces_work, prefix

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not namespaces_work(), reason="needs Linux with namespaces that users may make"),
]

P = FaultPoint
# Postgres needs 70 MiB. The vector store takes no writes if less than 256 MiB are free.
SIZES = {"spool": 32 * MIB, "qdrant": 400 * MIB, "postgres": 200 * MIB}
LESS_THAN_RESERVE = 100 * MIB
RECOVERY_SECONDS = 5.0
# Rows of an upload of 1 MB.
UPLOADED = 20_000
NO_SPACE = "No space left on device"


@dataclass(frozen=True)
class Cramped:
    """The instance. kept: a collection with an index."""

    instance: RunningInstance
    rest: Rest
    kept: ChangingCollection
    faults: Faults
    disks: dict[str, SmallDisk]

    def still_works(self) -> None:
        """Check that what needs no space is answered, with all that is there."""
        assert self.kept.search().status == 200
        assert self.rest.call("GET", f"/collection/{self.kept.id}/info").status == 200
        assert self.rest.content(self.kept.id) == self.kept.rows


@pytest.fixture(scope="module")
def cramped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cramped]:
    folder = tmp_path_factory.mktemp("disks")
    data, faults = data_with_shared_models(folder / "data"), Faults(folder / "faults")
    sizes = {data / name: size for name, size in SIZES.items()}
    with running_museum() as museum:
        settings = {**SETTINGS, **faults.environment}
        instance = RunningInstance.start(data, "--allow-private-addresses", environment=settings, prefix=prefix(sizes))
        try:
            rest = Rest(instance.address, (data / "admin-key").read_text(encoding="ascii").strip())
            kept = ChangingCollection.create(rest, museum.address, "kept")
            disks = {path.name: SmallDisk(instance.process.pid, path) for path in sizes}
            yield Cramped(instance, rest, kept, faults, disks)
        finally:
            faults.disarm()
            assert instance.stop() == 0


@pytest.fixture(autouse=True)
def settled(cramped: Cramped) -> Iterator[None]:
    """Leave no fault behind, and an index of the newest content."""
    yield
    cramped.faults.disarm()


def rows(first: int, count: int) -> list[Row]:
    return [
        (f"https://images.example.org/{n}.jpg", f"https://repo.example.org/{n}") for n in range(first, first + count)
    ]


def images(first: int, count: int) -> dict[str, Any]:
    return {"images": [{"image_url": image, "repo_url": entry} for image, entry in rows(first, count)]}


def assert_no_space(answer: Answer) -> None:
    assert (answer.status, answer.code) == (507, "no_space"), answer


def soon(ask: Callable[[], Answer]) -> None:
    """Check that a request succeeds soon after there is room again."""
    until(lambda: ask().status == 200, RECOVERY_SECONDS)


def test_a_full_disk_for_uploads_refuses_them_and_loses_nothing(cramped: Cramped) -> None:
    rest = cramped.rest
    other = rest.create("uploads")
    assert rest.upload(other, rows(0, 10)).status == 200
    with cramped.disks["spool"].full():
        assert_no_space(rest.upload(other, rows(10, 10)))
        assert rest.content(other) == rows(0, 10)
        cramped.still_works()
    soon(lambda: rest.upload(other, rows(10, 10)))
    assert rest.content(other) == rows(10, 10)
    # Halfway through the body there is no more room.
    with cramped.disks["spool"].full(leave=2 * MIB):
        assert_no_space(rest.upload(other, rows(0, 60_000)))
        assert rest.content(other) == rows(10, 10)
    soon(lambda: rest.upload(other, rows(0, 60_000)))
    assert rest.info(other)["number_of_images"] == 60_000
    rest.succeed("POST", f"/collection/{other}/delete")


@pytest.mark.parametrize(
    ("point", "leave"), [(P.CLAIMED, LESS_THAN_RESERVE), (P.FITTING, LESS_THAN_RESERVE), (P.POINTS_WRITTEN, 0)]
)
def test_a_full_disk_for_vectors_fails_the_finetune_and_search_goes_on(
    cramped: Cramped, point: FaultPoint, leave: int
) -> None:
    """The base store is written first, and the index after fitting. At the last point, an engine process is writing."""
    rest, kept, faults = cramped.rest, cramped.kept, cramped.faults
    before = kept.search().body["index_id"]
    assert kept.replace_one().status == 200
    faults.hold(point)
    rest.finetune(kept.id)
    faults.wait(point)
    with cramped.disks["qdrant"].full(leave):
        faults.release(point)
        until(lambda: rest.info(kept.id)["finetuning_state"] == "failed", 60.0)
        info = rest.info(kept.id)
        assert "disk" in str(info["finetuning_error"])
        assert info["requires_finetuning"]
        assert kept.search().body["index_id"] == before
        cramped.still_works()
    rest.finetune(kept.id)
    kept.wait_until_done()
    assert kept.search().body["index_id"] != before


def test_a_full_disk_of_the_database_refuses_changes_and_loses_nothing(cramped: Cramped) -> None:
    rest, disk = cramped.rest, cramped.disks["postgres"]
    other = rest.create("edits")
    assert rest.upload(other, rows(0, 10)).status == 200
    confirmed = rows(0, 10)
    statuses = Counter[int]()
    with disk.full():
        for number in range(1, 50):
            answer = rest.call("POST", f"/collection/{other}/images", images(1000 * number, 100))
            statuses[answer.status] += 1
            if answer.status == 200:
                confirmed += rows(1000 * number, 100)
            else:
                assert_no_space(answer)
            disk.fill()
        assert statuses[507] > 40
        cramped.still_works()
        assert rest.content(other) == confirmed
    soon(lambda: rest.call("POST", f"/collection/{other}/images", images(500_000, 1)))
    assert rest.content(other) == [*confirmed, *rows(500_000, 1)]


def test_a_finetune_whose_database_is_full_is_done_when_there_is_room(cramped: Cramped) -> None:
    rest, kept, faults = cramped.rest, cramped.kept, cramped.faults
    before = kept.search().body["index_id"]
    log = cramped.instance.data / "logs" / "trainer.log"
    ended = outcomes(log).total()
    assert kept.replace_one().status == 200
    faults.hold(P.EMBEDDED)
    rest.finetune(kept.id)
    faults.wait(P.EMBEDDED)
    with cramped.disks["postgres"].full():
        faults.release(P.EMBEDDED)
        # Whether it can store that it failed or not.
        until(lambda: outcomes(log).total() > ended)
        assert outcomes(log).keys() <= {"done", "failed", "abandoned"}
        assert kept.search().body["index_id"] == before
        cramped.still_works()
    soon(lambda: rest.call("POST", f"/collection/{kept.id}/finetune"))
    kept.wait_until_done()
    assert kept.search().body["index_id"] != before


def test_a_database_without_space_for_its_log_loses_nothing_and_heals(cramped: Cramped) -> None:
    """Postgres ends when it cannot write its log, and starts again when there is room. Until then it is unavailable."""
    rest, disk = cramped.rest, cramped.disks["postgres"]
    other = rest.create("logged")
    content = rows(0, 10)
    assert rest.upload(other, content).status == 200
    # Less than a segment of the log.
    with disk.full(leave=12 * MIB):
        new, answer, first = content, Answer(200, {}), 0
        while answer.status in (200, 507):
            content = new if answer.status == 200 else content
            first += UPLOADED
            new = rows(first, UPLOADED)
            answer = rest.upload(other, new)
        assert answer.status == 503, answer
        assert answer.asks_to_wait
        # The fault happened.
        until(lambda: NO_SPACE in cramped.instance.log())
    soon(lambda: rest.call("GET", f"/collection/{other}/info"))
    # It was not told whether the last one was stored.
    assert rest.content(other) in (content, new)
    cramped.still_works()
    soon(lambda: rest.upload(other, rows(0, 10)))
