"""A client of the REST API."""

import base64
import json
from collections.abc import Mapping
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 60.0


class Refused(Exception):
    """The API answered with an error. The message is the API's own."""


class RestClient:
    """Calls the API at `address` with an API key."""

    def __init__(self, address: str, key: str) -> None:
        parts = urlsplit(address)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._key = key

    def find(self, name: str) -> int | None:
        """Return the id of the collection of that name, or None."""
        listed = self._call("GET", "/api/collection/list")
        return next((int(entry["id"]) for entry in listed["names"] if entry["name"] == name), None)

    def create(self, name: str) -> int:
        """Create a collection and return its id."""
        return int(self._call("POST", "/api/collection/create", {"name": name})["id"])

    def upload(self, collection: int, csv: str) -> int:
        """Upload a CSV and return the number of images."""
        content = base64.b64encode(csv.encode()).decode()
        path = f"/api/collection/{collection}/updatecontent"
        return int(self._call("POST", path, {"content": content})["number_of_images"])

    def info(self, collection: int) -> dict[str, Any]:
        """Return the information about a collection."""
        return self._call("GET", f"/api/collection/{collection}/info")

    def finetune(self, collection: int, *, force: bool = False) -> str:
        """Start a finetune and return the API's message. force: even if nothing has changed."""
        path = f"/api/collection/{collection}/finetune" + ("?force=true" if force else "")
        return str(self._call("POST", path)["message"])

    def number_of_failures(self, collection: int) -> int:
        """Return how many images of a collection could not be indexed."""
        return int(self._call("GET", f"/api/collection/{collection}/failures?limit=1")["number_of_failures"])

    def search(self, collection: int, image: bytes, *, num_results: int) -> list[dict[str, Any]]:
        """Return the most similar images of a collection, best first."""
        body = {"image": base64.b64encode(image).decode(), "num_results": num_results}
        results: list[dict[str, Any]] = self._call("POST", f"/api/collection/{collection}/search", body)["results"]
        return results

    def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        connection = HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
        try:
            headers = {"API-Key": self._key, "Content-Type": "application/json"}
            connection.request(method, path, json.dumps(body or {}), headers)
            answer = connection.getresponse()
            found: dict[str, Any] = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise Refused(f"{method} {path}: {answer.status} {found.get('message')}")
        return found
