"""Calls of the REST API that expect failures: while processes are killed, a call may get no answer at all."""

import json
import time
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple
from urllib.parse import urlsplit

Row = tuple[str, str]
CALL_SECONDS = 60.0
RETRY_SECONDS = 0.05


class Answer(NamedTuple):
    """An answer. status: 0 if there was none. asks_to_wait: whether it has Retry-After."""

    status: int
    body: dict[str, Any]
    raw: bytes = b""
    seconds: float = 0.0
    asks_to_wait: bool = False

    @property
    def code(self) -> str:
        """The stable code of a problem."""
        return str(self.body.get("code", ""))


NOTHING = Answer(0, {})


class Rest:
    """Calls one gateway with a key, over a new connection each time."""

    def __init__(self, address: str, key: str) -> None:
        parts = urlsplit(address)
        self._host, self._port, self._key = parts.hostname or "", parts.port or 0, key

    def call(
        self, method: str, path: str, body: object = None, *, content_type: str = "application/json", key: str = ""
    ) -> Answer:
        """Return what became of a request to `/api` + path. body: bytes are sent as they are, anything else as JSON."""
        sent = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        headers = {"API-Key": key or self._key, "Content-Type": content_type}
        connection = HTTPConnection(self._host, self._port, timeout=CALL_SECONDS)
        began = time.monotonic()
        try:
            connection.request(method, f"/api{path}", sent, headers)
            answer = connection.getresponse()
            raw = answer.read()
        except (OSError, HTTPException):
            return NOTHING._replace(seconds=time.monotonic() - began)
        finally:
            connection.close()
        is_json = "json" in (answer.getheader("Content-Type") or "")
        found = json.loads(raw) if is_json else {}
        return Answer(answer.status, found, raw, time.monotonic() - began, answer.getheader("Retry-After") is not None)

    def succeed(self, method: str, path: str, body: object = None, *, content_type: str = "application/json") -> Answer:
        """Return the answer to a request that must succeed."""
        answer = self.call(method, path, body, content_type=content_type)
        assert answer.status == 200, (method, path, answer)
        return answer

    def insist(self, method: str, path: str, body: object = None, *, seconds: float = CALL_SECONDS) -> Answer:
        """Repeat an idempotent request until it succeeds: what it needs may have been killed. Refusals fail at once."""
        end = time.monotonic() + seconds
        while (answer := self.call(method, path, body)).status != 200:
            assert answer.status in (0, 429, 503, 504), (method, path, answer)
            assert time.monotonic() < end, (method, path, answer)
            time.sleep(RETRY_SECONDS)
        return answer

    def create(self, name: str) -> int:
        """Create a collection."""
        return int(self.succeed("POST", "/collection/create", {"name": name}).body["id"])

    def upload(self, collection: int, rows: Sequence[Row]) -> Answer:
        """Upload rows as the content. Returns what became of it."""
        path = f"/collection/{collection}/updatecontent"
        return self.call("POST", path, csv(rows), content_type="text/csv")

    def content(self, collection: int) -> list[Row]:
        """Return the rows of a content."""
        text = self.insist("GET", f"/collection/{collection}/csvfile").raw.decode()
        return [(image, entry) for image, _, entry in (line.partition(",") for line in text.splitlines())]

    def info(self, collection: int) -> dict[str, Any]:
        """Return the information about a collection, however long it takes to get it."""
        return self.insist("GET", f"/collection/{collection}/info").body

    def finetune(self, collection: int, query: str = "") -> None:
        """Start a finetune."""
        self.insist("POST", f"/collection/{collection}/finetune{query}")

    def collections(self) -> dict[int, str]:
        """Return the name of each collection."""
        listed = self.insist("GET", "/collection/list").body["names"]
        return {entry["id"]: entry["name"] for entry in listed}

    def all_found(self, collection: int, image_id: int) -> Answer:
        """Return the answer to a search by id that finds every image of the index. It needs no embedder."""
        body = {"image_id": image_id, "exclude_self": False, "num_results": 1000}
        return self.call("POST", f"/collection/{collection}/search", body)


def csv(rows: Sequence[Row]) -> bytes:
    """Return rows as a CSV."""
    return "".join(f"{image},{entry}\n" for image, entry in rows).encode()


def rows_found(answer: Answer) -> list[Row]:
    """Return the rows in the answer to a search, in order of their image URLs."""
    return sorted((result["image_url"], result["repo_url"]) for result in answer.body["results"])
