"""A content of good and bad images, and the outcomes that each row may have."""

import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from tests.integration.trainer.parts.faults import faulty, redirects_to_private
from tests.integration.trainer.parts.image_host import ImageHost, image_host
from tests.integration.workplace import Workplace

INDEXED = "indexed"
# Requests per second that the limited host answers.
RATE = 20
# An image with one of these may also end as `host_unavailable`, once the host's breaker opens.
SILENT = frozenset({"timeout", "connection_error", "dns_error"})


@dataclass(frozen=True)
class FaultyHosts:
    """A host with every fault, one that limits the rate of its requests, one that never answers."""

    main: ImageHost
    limited: ImageHost
    dead: ImageHost

    @classmethod
    def at(cls, ports: Sequence[int]) -> "FaultyHosts":
        """The hosts that another process serves at these ports."""
        hosts = [ImageHost() for _ in range(3)]
        for host, port in zip(hosts, ports, strict=True):
            host.port = port
        return cls(*hosts)

    @classmethod
    async def serve(cls, stack: AsyncExitStack, picture_size: int) -> "FaultyHosts":
        """Serve the hosts until the stack closes. picture_size: width and height of pictures in pixels."""
        hosts = [await stack.enter_async_context(image_host()) for _ in range(3)]
        for host in hosts:
            host.picture_size = picture_size
        found = cls(*hosts)
        faulty(found.main)
        redirects_to_private(found.main)
        found.limited.rate = RATE
        found.dead.open.clear()
        return found


@dataclass(frozen=True)
class PlannedRow:
    """A row of the content. outcomes: INDEXED or reasons, of which the row must get exactly one."""

    url: str
    outcomes: frozenset[str]


def fault_plan(
    hosts: FaultyHosts, rows: int, *, seed: int, without: Sequence[str] = (), faulty_share: float = 0.2
) -> list[PlannedRow]:
    """Return `rows` rows in an order that `seed` decides. without: faults to leave out, by the end of their URLs."""
    bad = int(rows * faulty_share)
    of_dead, of_limited = bad // 10, bad // 20
    reasons = faulty(hosts.main) | redirects_to_private(hosts.main)
    kinds = [(url, reason) for url, reason in reasons.items() if not any(url.endswith(end) for end in without)]
    plan = [PlannedRow(url, frozenset({INDEXED})) for url in hosts.main.picture_urls(rows - bad - of_limited)]
    plan += [
        PlannedRow(url, frozenset({INDEXED, "rate_limited", "host_unavailable"}))
        for url in hosts.limited.picture_urls(of_limited, first=rows)
    ]
    plan += [
        PlannedRow(url, frozenset({"timeout", "host_unavailable"}))
        for url in hosts.dead.picture_urls(of_dead, 2 * rows)
    ]
    for number in range(bad - of_dead):
        url, reason = kinds[number % len(kinds)]
        may = {reason, "host_unavailable"} if reason in SILENT | {"rate_limited"} else {reason}
        plan.append(PlannedRow(f"{url}?{number}", frozenset(may)))
    random.Random(seed).shuffle(plan)
    return plan


async def outcomes_of(place: Workplace, collection: int, backbone: str) -> dict[str, list[str]]:
    """Return the outcomes of each row in the newest finetune, by URL: INDEXED for a base vector, and reasons."""
    newest = max(await place.indexes.of_collection(collection), key=lambda index: index.id)
    page = await place.images.page(collection, newest.revision, after=0, limit=1_000_000)
    url_of = {image.id: image.image_url for image in page}
    found: dict[str, list[str]] = {url: [] for url in url_of.values()}
    for start in range(0, len(page), 1000):
        ids = [image.id for image in page[start : start + 1000]]
        for identifier in await place.base_stores.of(collection, backbone).existing(ids):
            found[url_of[identifier]].append(INDEXED)
    for failure in await place.indexes.failures(newest.id):
        found[url_of[failure.image_id]].append(failure.reason)
    return found


def surprises(plan: Sequence[PlannedRow], found: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the rows without exactly one outcome, or with an outcome that is not allowed."""
    return {
        row.url: found[row.url] for row in plan if len(found[row.url]) != 1 or not set(found[row.url]) <= row.outcomes
    }
