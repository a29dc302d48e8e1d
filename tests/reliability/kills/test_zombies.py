"""A trainer that lost its lease and does not know it, a zombie, publishes nothing, whatever its clock says."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servicekit.process.fault_points import FaultPoint
from tests.e2e.running_instance import until
from tests.reliability.conftest import LEASE_SECONDS, Attacked
from tests.reliability.parts.changing import ChangingCollection
from tests.reliability.parts.faults import Faults
from tests.reliability.parts.proxy import Fault
from tests.reliability.parts.replicas import Proxies, Replica, outcomes, proxied, replica
from tests.reliability.parts.scale import rounds

pytestmark = pytest.mark.timeout(1800)

AN_HOUR = "3600"


@pytest.fixture(scope="module")
def proxies(attacked: Attacked) -> Iterator[Proxies]:
    """Proxies of the stores."""
    folder = Path(tempfile.mkdtemp(prefix="similis-"))
    with proxied(attacked.stored, folder) as found:
        yield found
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def other(attacked: Attacked, proxies: Proxies, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """A second trainer, which reaches the stores by proxies, and whose clock is an hour ahead."""
    environment = {
        **attacked.faults.environment,
        **proxies.settings,
        "SIMILIS_TEST_CLOCK": AN_HOUR,
        "SIMILIS_LISTEN": "127.0.0.1:0",
        "SIMILIS_LEASE_SECONDS": str(LEASE_SECONDS),
        "SIMILIS_POLL_SECONDS": "0.2",
    }
    log = tmp_path_factory.mktemp("other") / "trainer.log"
    with replica("trainer", "trainer_listening", log, environment) as running:
        yield running


def published_by_another(changing: ChangingCollection) -> int:
    """Wait until the job of a zombie is done by the other trainer, and return the live index."""
    changing.wait_until_done()
    return int(changing.search().body["index_id"])


def nothing_changes(
    changing: ChangingCollection, zombie: Path, lost: int, live: int, then: Callable[[], None] = lambda: None
) -> None:
    """Check that a zombie that goes on finds out that it is one, and that its index does not go live.

    then: lets the trainer that has the job go on.
    """
    until(lambda: outcomes(zombie)["lost"] == lost + 1, 30.0)
    assert changing.search().body["index_id"] == live
    then()
    changing.wait_until_done()


def test_a_trainer_that_was_stopped_for_longer_than_its_lease_publishes_nothing(
    attacked: Attacked, changing: ChangingCollection, faults: Faults, other: Replica
) -> None:
    logs = {True: other.log, False: attacked.instance.data / "logs" / "trainer.log"}
    for number in rounds(50):
        before = changing.search().body["index_id"]
        assert changing.replace_one().status == 200
        faults.hold(FaultPoint.PUBLISHING)
        changing.rest.finetune(changing.id)
        # Whichever of the two has the job.
        zombie = logs[faults.wait(FaultPoint.PUBLISHING) == other.process.pid]
        lost = outcomes(zombie)["lost"]
        if number % 2:
            live = published_by_another(changing)
        else:
            # The job is still running. Only its token says that the zombie does not have it any more.
            faults.hold(FaultPoint.SETTLED)
            faults.wait(FaultPoint.SETTLED)
            live = before
        assert outcomes(zombie)["lost"] == lost
        faults.release(FaultPoint.PUBLISHING)
        nothing_changes(changing, zombie, lost, live, then=lambda: faults.release(FaultPoint.SETTLED))


def test_a_trainer_that_was_cut_off_from_the_database_publishes_nothing_when_the_network_is_back(
    attacked: Attacked, changing: ChangingCollection, faults: Faults, other: Replica, proxies: Proxies
) -> None:
    own = attacked.instance.child("trainer")
    for _ in rounds(50):
        assert changing.replace_one().status == 200
        faults.hold(FaultPoint.PUBLISHING)
        # The other one gets the job.
        own.suspend()
        try:
            changing.rest.finetune(changing.id)
            assert faults.wait(FaultPoint.PUBLISHING) == other.process.pid
        finally:
            own.resume()
        lost = outcomes(other.log)["lost"]
        with proxies.postgres.fault(Fault.SILENT):
            # What it says now arrives when its lease has passed to another.
            faults.release(FaultPoint.PUBLISHING)
            live = published_by_another(changing)
            assert proxies.postgres.hit
        nothing_changes(changing, other.log, lost, live)
