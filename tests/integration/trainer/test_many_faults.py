"""Hundreds of URLs, a fifth of them faulty, and a kill: each row gets exactly one outcome."""

from contextlib import AsyncExitStack

import psutil
import pytest

from catalog.jobs import Job, JobState
from tests.eventually import eventually
from tests.integration.trainer.conftest import Trainers, until
from tests.integration.trainer.parts.fault_plan import INDEXED, FaultyHosts, fault_plan, outcomes_of, surprises
from tests.integration.trainer.parts.pixel_embedder import PixelEmbedder
from tests.integration.trainer.parts.trainer_process import stop, trainer_process
from tests.integration.workplace import Workplace
from trainer.jobs.progress import Phase

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

ROWS = 400
MODULE = "tests.integration.trainer.parts.guarded_trainer"
# A fault that pauses its host for a minute.
WITHOUT = ("busy",)
MOST_BYTES = 600_000_000


async def fetched(workplace: Workplace, job: Job) -> bool:
    """Return whether the job has fetched its images."""
    found = await workplace.jobs.get(job.id)
    assert found.state is JobState.RUNNING
    return found.phase == Phase.FITTING.value


async def test_each_row_gets_one_outcome_and_a_kill_repeats_almost_no_work(
    trainers: Trainers, workplace: Workplace, embedder: PixelEmbedder
) -> None:
    async with AsyncExitStack() as stack:
        hosts = await FaultyHosts.serve(stack, picture_size=24)
        plan = fault_plan(hosts, ROWS, seed=1, without=WITHOUT)
        collection = await workplace.collection([row.url for row in plan])
        job = await workplace.finetune(collection)
        settings = trainers.settings(
            allow_private_addresses=False, lease_seconds=5.0, download_seconds=6.0, download_read_seconds=3.0
        )
        async with trainer_process(settings, module=MODULE) as process:
            await eventually(lambda: embedder.embedded.total() >= ROWS * 0.4, 100.0)
            process.kill()
            await process.wait()
        async with trainer_process(settings, module=MODULE) as process:
            await until(lambda: fetched(workplace, job), 100.0)
            assert psutil.Process(process.pid).memory_info().rss < MOST_BYTES
            assert await stop(process) == 0
        found = await outcomes_of(workplace, collection, embedder.checksum)
        assert surprises(plan, found) == {}
        assert sum(INDEXED in outcomes for outcomes in found.values()) >= ROWS * 0.78
        served = hosts.main.pictures_served
        assert sum(times - 1 for times in served.values()) <= ROWS * 0.05
