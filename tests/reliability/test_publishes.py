"""Searches while index follows index: none fails, and each finds exactly one index."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection

import pytest

from tests.reliability.conftest import Attacked
from tests.reliability.parts.changing import ChangingCollection
from tests.reliability.parts.rest import Row
from tests.reliability.parts.scale import scaled

pytestmark = pytest.mark.timeout(1800)

CLIENTS = 4
SEARCHES = 1000
FLIPS = 3
# Between two searches of a client. Without it, they leave no time for the finetunes.
PAUSE_SECONDS = 0.04


class Searcher(threading.Thread):
    """Searches by id on one connection until it has enough answers and the last index is live."""

    def __init__(self, attacked: Attacked, changing: ChangingCollection, searches: int, over: threading.Event) -> None:
        super().__init__()
        self._port, self._path = attacked.port, f"/api/collection/{changing.id}/search"
        self._body = json.dumps({"image_id": changing.anchor, "exclude_self": False, "num_results": 1000})
        self._searches, self._over = searches, over
        self.statuses: Counter[int] = Counter()
        self.found: dict[int, set[tuple[Row, ...]]] = {}

    def run(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=60)
        while self.statuses.total() < self._searches or not self._over.is_set():
            connection.request("POST", self._path, self._body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            body = json.loads(answer.read())
            self.statuses[answer.status] += 1
            if answer.status == 200:
                rows = tuple(sorted((result["image_url"], result["repo_url"]) for result in body["results"]))
                self.found.setdefault(body["index_id"], set()).add(rows)
            time.sleep(PAUSE_SECONDS)
        connection.close()


def test_searches_while_indexes_are_published_never_fail_and_find_one_index_each(
    attacked: Attacked, changing: ChangingCollection, record_property: Callable[[str, object], None]
) -> None:
    over = threading.Event()
    searchers = [Searcher(attacked, changing, scaled(SEARCHES / CLIENTS), over) for _ in range(CLIENTS)]
    for searcher in searchers:
        searcher.start()
    published: set[int] = set()
    try:
        while len(published) < FLIPS or any(s.statuses.total() < scaled(SEARCHES / CLIENTS) for s in searchers):
            assert changing.replace_one().status == 200
            changing.finetuned()
            published.add(int(changing.search().body["index_id"]))
    finally:
        over.set()
        for searcher in searchers:
            searcher.join()
    statuses = sum((searcher.statuses for searcher in searchers), Counter[int]())
    assert set(statuses) == {200}
    assert statuses.total() >= scaled(SEARCHES)
    found: dict[int, set[tuple[Row, ...]]] = {}
    for searcher in searchers:
        for index, rows in searcher.found.items():
            found.setdefault(index, set()).update(rows)
    record_property("searches", statuses.total())
    record_property("published", len(published))
    # The indexes changed under the searches, and each answer is the whole of one.
    assert len(published & set(found)) >= FLIPS
    assert all(len(rows) == 1 for rows in found.values())
    assert all(list(next(iter(rows))) in changing.contents for rows in found.values())
