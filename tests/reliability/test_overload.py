"""When far more is asked than can be answered, what is accepted is answered soon, the rest is told so at once, and a
client that asks for little does not notice."""

import asyncio
import base64
import json

import pytest

from bench.parts.load.open_loop import Client, Outcome, offered, one_after_the_other, request
from tests.integration.gateway.indexing import picture
from tests.reliability.conftest import Attacked
from tests.reliability.parts.scale import scaled

IDLE_SECONDS, FLOOD_SECONDS = 2.0, 6.0
# How many times what one core can answer is offered, and bounds for machines that are very fast or busy.
TIMES, LEAST_RATE, MOST_RATE = 10, 60.0, 400.0
REFUSED = (429, 503)
MIB = 1024 * 1024


def searches(attacked: Attacked) -> list[bytes]:
    path = f"/api/collection/{attacked.collection}/search"
    bodies = [{"image": base64.b64encode(picture(number, size=320)).decode()} for number in range(10)]
    return [request("POST", path, json.dumps(body).encode(), Content_Type="application/json") for body in bodies]


async def flooded(attacked: Attacked) -> dict[str, Outcome]:
    """Return what becomes of a client alone, of a flood, and of a modest client and another one beside the flood."""
    port, asked = attacked.port, searches(attacked)
    alone = await one_after_the_other(Client(port, "127.0.0.2"), asked, IDLE_SECONDS, 0.05)
    seconds = scaled(FLOOD_SECONDS)
    rate = min(MOST_RATE, max(LEAST_RATE, TIMES / alone.percentile(50, 200)))
    flood, modest, lists, probes = await asyncio.gather(
        offered(Client(port, "127.0.0.3"), asked, rate, seconds),
        one_after_the_other(Client(port, "127.0.0.4"), asked, seconds, 0.3),
        one_after_the_other(Client(port, "127.0.0.5"), [request("GET", "/api/collection/list")], seconds, 0.3),
        one_after_the_other(Client(port, "127.0.0.6"), [request("GET", "/healthz")], seconds, 0.3),
    )
    return {"alone": alone, "flood": flood, "modest": modest, "lists": lists, "probes": probes}


@pytest.mark.timeout(900)
def test_a_flood_of_searches_is_refused_at_once_and_harms_nobody_else(attacked: Attacked) -> None:
    before = attacked.gateway_memory()
    found = asyncio.run(flooded(attacked))
    flood, alone = found["flood"], found["alone"]
    refused = flood.number_of(*REFUSED)
    # The fault happened: far more was asked than could be answered.
    assert refused > flood.number_of(200) > 0
    # Nothing but answers and refusals, and each refusal says when to come back.
    assert flood.number_of(200, *REFUSED) == len(flood.ended)
    assert all(one.asks_to_wait for one in flood.ended if one.status in REFUSED)
    # The machine also runs the attack and other tests here. docs/reliability.md has the figures of a machine that does
    # not.
    assert flood.percentile(90, *REFUSED) < 0.5
    assert flood.percentile(90, 200) < max(1.0, 5 * alone.percentile(99, 200))
    for name in ("modest", "lists", "probes"):
        assert found[name].number_of(200) == len(found[name].ended) > 0
        assert found[name].percentile(90, 200) < max(1.0, 5 * alone.percentile(99, 200))
    assert attacked.gateway_memory() - before < 50 * MIB
    # The flood does not rotate the log away.
    assert attacked.gateway_log().count('"request_refused"') < refused / 2
