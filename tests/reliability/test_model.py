"""Eight clients at once do whatever they like, and a model knows what may come of it.

Each step is a batch of requests that are sent at the same time. Afterwards what is stored must be what some order of
them leads to, and what an index is made of must be a content that the collection has had.
"""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from catalog.keys.api_keys import ApiKeys
from catalog.keys.permissions import Permissions, Scope
from catalog.postgres.database import Database
from tests.e2e.running_instance import until
from tests.reliability.conftest import Attacked
from tests.reliability.parts.rest import Answer, Rest, Row
from tests.reliability.parts.scale import LONG, rounds

pytestmark = pytest.mark.timeout(1800)

CLIENTS = 8
MOST_COLLECTIONS = 3
FINETUNE_SECONDS = 120.0
ACTIVE = "SELECT count(*) FROM jobs WHERE collection_id = $1 AND state IN ('queued', 'running')"
# Indexes that went live: of how many jobs, and whether each of these jobs ended as done.
PUBLISHED = """
SELECT count(*), count(DISTINCT i.job_id), bool_and(j.state = 'done')
FROM indexes i JOIN jobs j ON j.id = i.job_id WHERE i.collection_id = $1 AND i.published_at IS NOT NULL
"""
LIVE = """
SELECT i.revision, c.content_revision, l.digest = t.digest FROM collections c
JOIN indexes i ON i.id = c.live_index
JOIN contents l ON l.collection_id = c.id AND l.revision = i.revision
JOIN contents t ON t.collection_id = c.id AND t.revision = c.content_revision
WHERE c.id = $1
"""
OPERATIONS = ("upload", "add", "remove", "rename", "finetune", "cancel", "search", "delete", "read", "key")
# How often each is drawn. A collection that is deleted at once is no test of the others.
DRAWN = [*OPERATIONS, "add", "finetune", "finetune", "search", "search", "search"]
numbers = itertools.count(1)


@dataclass
class Known:
    """What the model knows of a collection. contents: all that it may have had. live: newest revision seen."""

    id: int
    rows: set[Row] = field(default_factory=set)
    contents: list[frozenset[Row]] = field(default_factory=lambda: [frozenset()])
    names: set[str] = field(default_factory=set)
    live: int = 0


@dataclass(frozen=True)
class Sent:
    """A request of a batch and its answer. rows: what it adds, sets or removes."""

    operation: str
    answer: Answer
    rows: frozenset[Row] = frozenset()
    name: str = ""


class Clients(RuleBasedStateMachine):
    """The state machine. The instance is set by the test."""

    attacked: Attacked
    # How often each operation succeeded.
    succeeded: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[int, Known] = {}
        self.deleted: set[int] = set()
        self.pool = ThreadPoolExecutor(CLIENTS)
        self.step = 0

    @property
    def rest(self) -> Rest:
        return self.attacked.rest

    def teardown(self) -> None:
        """Delete everything. Nothing may be left."""
        for identifier in self.known:
            self.rest.succeed("POST", f"/collection/{identifier}/delete")
        self.deleted |= set(self.known)
        stored = self.attacked.stored
        until(lambda: not any(stored.traces(identifier) for identifier in self.deleted), FINETUNE_SECONDS)
        self.pool.shutdown()

    @initialize()
    def begin_with_indexes(self) -> None:
        """Search and cancel are worth little on empty collections."""
        self._fill_up()
        for known in self.known.values():
            self._settle(known, [self._upload(known)])
            self.rest.finetune(known.id)
        self._wait_for_finetunes()

    # One rule, because the state machine leaves some of several rules out. It begins with the simplest values, so what
    # is drawn does not depend on the seed alone.
    @rule(seed=st.integers(0, 2**32))
    def many(self, seed: int) -> None:
        """Send a batch of requests at the same time, and perhaps wait for the finetunes that they started."""
        self.step += 1
        drawn = random.Random(seed * 1000 + self.step)
        batch = [(drawn.choice(DRAWN), drawn.randrange(MOST_COLLECTIONS)) for _ in range(drawn.randint(3, CLIENTS))]
        self._fill_up()
        ids = sorted(self.known)
        asked = [(ids[which % len(ids)], operation) for operation, which in batch]
        sent = list(self.pool.map(lambda one: self._send(self.known[one[0]], one[1]), asked))
        self.succeeded.update(each.operation for each in sent if each.answer.status == 200)
        for identifier in set(ids):
            about = [each for (one, _), each in zip(asked, sent, strict=True) if one == identifier]
            self._settle(self.known[identifier], about)
        if drawn.random() < 0.3:
            self._wait_for_finetunes()

    def _fill_up(self) -> None:
        """Create collections at the same time until there are enough."""
        for identifier in self.pool.map(lambda _: self.rest.create("made"), range(MOST_COLLECTIONS - len(self.known))):
            assert identifier not in self.known
            assert identifier not in self.deleted
            self.known[identifier] = Known(identifier, names={"made"})

    def _wait_for_finetunes(self) -> None:
        for known in self.known.values():
            until(lambda known=known: not self._is_active(known), FINETUNE_SECONDS)  # type: ignore[misc]
            info = self.rest.info(known.id)
            assert info["finetuning_state"] in ("never", "done", "cancelled"), info

    @invariant()
    def at_most_one_finetune_is_active(self) -> None:
        for identifier in self.known:
            (count,) = self.attacked.stored.rows(ACTIVE, identifier)[0]
            assert count in (0, 1)

    @invariant()
    def each_job_published_at_most_once_and_indexes_never_go_back(self) -> None:
        stored = self.attacked.stored
        for identifier, known in self.known.items():
            indexes, jobs, done = stored.rows(PUBLISHED, identifier)[0]
            assert indexes == jobs
            assert done in (True, None)
            for revision, _, _ in stored.rows(LIVE, identifier):
                assert int(str(revision)) >= known.live
                known.live = int(str(revision))

    @invariant()
    def a_finetune_is_required_exactly_if_search_serves_another_content(self) -> None:
        for identifier in self.known:
            # Both are read while a finetune may end.
            for _ in range(20):
                before = self.attacked.stored.rows(LIVE, identifier)
                info = self.rest.info(identifier)
                if before == self.attacked.stored.rows(LIVE, identifier):
                    break
            same = bool(before) and bool(before[0][2])
            assert info["requires_finetuning"] is not same, (before, info)

    @invariant()
    def deleted_collections_are_gone_and_others_are_listed(self) -> None:
        listed = self.rest.collections()
        assert self.known.keys() <= listed.keys()
        assert not self.deleted & listed.keys()
        for known in self.known.values():
            assert listed[known.id] in known.names

    def _send(self, known: Known, operation: str) -> Sent:
        send: Callable[[Known], Sent] = getattr(self, f"_{operation}")
        return send(known)

    def _upload(self, known: Known) -> Sent:
        rows = [self._row() for _ in range(4)]
        return Sent("upload", self.rest.upload(known.id, rows), frozenset(rows))

    def _add(self, known: Known) -> Sent:
        rows = [self._row() for _ in range(2)]
        images = [{"image_url": image, "repo_url": entry} for image, entry in rows]
        return Sent(
            "add", self.rest.call("POST", f"/collection/{known.id}/images", {"images": images}), frozenset(rows)
        )

    def _remove(self, known: Known) -> Sent:
        listed = self.rest.call("GET", f"/collection/{known.id}/images?limit=1").body.get("images", [])
        if not listed:
            return Sent("read", self.rest.call("GET", f"/collection/{known.id}/info"))
        asked = {"image_ids": [listed[0]["image_id"]]}
        row = (listed[0]["image_url"], listed[0]["repo_url"])
        answer = self.rest.call("POST", f"/collection/{known.id}/images/delete", asked)
        return Sent("remove", answer, frozenset([row]))

    def _rename(self, known: Known) -> Sent:
        name = f"name {next(numbers)}"
        return Sent("rename", self.rest.call("POST", f"/collection/{known.id}/updatename", {"name": name}), name=name)

    def _finetune(self, known: Known) -> Sent:
        return Sent("finetune", self.rest.call("POST", f"/collection/{known.id}/finetune"))

    def _cancel(self, known: Known) -> Sent:
        return Sent("cancel", self.rest.call("POST", f"/collection/{known.id}/finetune/cancel"))

    def _search(self, known: Known) -> Sent:
        images = self.rest.call("GET", f"/collection/{known.id}/images?limit=1&state=indexed").body.get("images", [])
        if not images:
            return Sent("read", self.rest.call("GET", f"/collection/{known.id}/info"))
        return Sent("search", self.rest.all_found(known.id, images[0]["image_id"]))

    def _delete(self, known: Known) -> Sent:
        return Sent("delete", self.rest.call("POST", f"/collection/{known.id}/delete"))

    def _key(self, known: Known) -> Sent:
        scope = list(Scope)[next(numbers) % len(Scope)]
        key, identifier = _new_key(self.attacked.stored.database_url, scope)
        rest = Rest(self.attacked.instance.address, key)
        answer = rest.call("POST", f"/collection/{known.id}/finetune/cancel")
        assert answer.status == 403 if scope is Scope.READ else answer.status in (200, 400)
        _revoke(self.attacked.stored.database_url, identifier)
        assert rest.call("POST", f"/collection/{known.id}/finetune/cancel").status == 403
        return Sent("key", self.rest.call("POST", "/verify"))

    def _read(self, known: Known) -> Sent:
        return Sent("read", self.rest.call("GET", f"/collection/{known.id}/info"))

    def _row(self) -> Row:
        number = next(numbers)
        return f"{self.attacked.museum.address}{number}.jpg", f"https://repo.example.org/{number}"

    def _is_active(self, known: Known) -> bool:
        return self.rest.info(known.id)["finetuning_state"] in ("queued", "running")

    def _settle(self, known: Known, sent: list[Sent]) -> None:
        """Check the answers about one collection, and what is stored of it now."""
        by = {name: [each for each in sent if each.operation == name] for name in OPERATIONS}
        for each in sent:
            assert each.answer.status in (200, 400), each
        if any(each.answer.status == 200 for each in by["delete"]):
            # Exactly one of them deleted it. The others find nothing, and so may all that was asked meanwhile.
            assert sum(each.answer.status == 200 for each in by["delete"]) == 1
            del self.known[known.id]
            self.deleted.add(known.id)
            return
        assert not by["delete"]
        self._check_content(known, by)
        self._check_searches(known, by["search"])
        known.names = {each.name for each in by["rename"]} or known.names
        for each in by["finetune"]:
            assert each.answer.status == 200 or each.answer.code == "collection_empty", each

    def _check_content(self, known: Known, by: dict[str, list[Sent]]) -> None:
        added = {row for each in by["add"] for row in each.rows}
        removed = {row for each in by["remove"] if each.answer.status == 200 for row in each.rows}
        rows = self.rest.content(known.id)
        found = frozenset(rows)
        assert len(found) == len(rows) == self.rest.info(known.id)["number_of_images"]
        assert all(each.answer.status == 200 for name in ("add", "upload", "rename") for each in by[name])
        for each in by["remove"]:
            assert each.answer.status == 200 or each.answer.code in ("image_not_found", "empty_content"), each
        # The last upload decides, and edits come before or after it. Without one, every edit is in it.
        bases = [each.rows for each in by["upload"]] or [frozenset(known.rows)]
        needed = set[Row]() if by["upload"] else added
        fits = ((base | needed) - removed <= found <= base | added for base in bases)
        assert any(fits), (bases, added, removed, found)
        known.rows = set(found)
        self._remember(known, bases, added)
        known.contents.append(found)

    def _remember(self, known: Known, bases: list[frozenset[Row]], added: set[Row]) -> None:
        # A finetune may have taken a content that was there between two requests of the batch.
        known.contents.extend(base | added for base in [*bases, known.contents[-1]])

    def _check_searches(self, known: Known, searches: list[Sent]) -> None:
        for each in searches:
            if each.answer.status == 400:
                assert each.answer.code in ("image_not_found", "image_not_indexed", "not_finetuned"), each
                continue
            found = {(result["image_url"], result["repo_url"]) for result in each.answer.body["results"]}
            assert found
            # Part of one content, and of no mixture of two uploads.
            assert any(found <= content for content in known.contents), each


def _new_key(url: str, scope: Scope) -> tuple[str, int]:
    async def create() -> tuple[str, int]:
        async with Database.open(url, max_connections=1) as database:
            keys = ApiKeys(database)
            key = await keys.create("model", Permissions(scope))
            return key, int(key.partition(".")[0])

    return asyncio.run(create())


def _revoke(url: str, identifier: int) -> None:
    async def revoke() -> None:
        async with Database.open(url, max_connections=1) as database:
            await ApiKeys(database).revoke(identifier)

    asyncio.run(revoke())


def test_whatever_eight_clients_do_at_once_the_promises_hold(
    attacked: Attacked, record_property: Callable[[str, object], None]
) -> None:
    Clients.attacked = attacked
    steps = 40 if LONG else 12
    chosen = settings(
        max_examples=len(rounds(10)),
        stateful_step_count=steps,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        # Shrinking would run the whole again and again.
        phases=[Phase.generate],
    )
    Clients.succeeded.clear()
    run_state_machine_as_test(Clients, settings=chosen)
    for operation, number in Clients.succeeded.items():
        record_property(operation, number)
    # Enough of everything happened.
    assert set(Clients.succeeded) == set(OPERATIONS)
