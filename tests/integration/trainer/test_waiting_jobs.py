"""A finetune that waits for a host does not keep the others waiting."""

import asyncio

import pytest
from aiohttp import web

from catalog.jobs import JobState
from tests.integration.trainer.conftest import Trainers
from tests.integration.trainer.parts.image_host import ImageHost, image_host, picture
from tests.integration.workplace import Workplace

pytestmark = pytest.mark.asyncio(loop_scope="session")

IMAGES = 6


@pytest.mark.usefixtures("nothing_to_learn")
async def test_another_collection_is_finetuned_while_a_tarpit_sends_byte_after_byte(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    over = asyncio.Event()

    async def tarpit(request: web.Request) -> web.StreamResponse:
        number = int(request.path.rpartition("/")[2])
        body = picture(number)
        response = web.StreamResponse(headers={"Content-Length": str(len(body))})
        await response.prepare(request)
        for start in range(len(body)):
            if over.is_set():
                await response.write(body[start:])
                break
            await response.write(body[start : start + 1])
            await asyncio.sleep(0.2)
        return response

    async with image_host() as slow:
        slow.answers = {f"tarpit/{number}": tarpit for number in range(IMAGES)}
        waiting = await workplace.finetune(await workplace.collection([slow.url(f"tarpit/{n}") for n in range(IMAGES)]))
        other = await workplace.finetune(await workplace.collection(host.picture_urls(IMAGES)))
        async with trainers.running(concurrent_jobs=1):
            assert (await trainers.ended(other, 60.0)).state is JobState.DONE
            # The fault happened: the first one waits all the time.
            found = await workplace.jobs.get(waiting.id)
            assert (found.state, found.phase, found.token) == (JobState.RUNNING, "fetching", 1)
            over.set()
            ended = await trainers.ended(waiting)
    assert (ended.state, ended.token) == (JobState.DONE, 1)
