"""A finetune survives the death of any process, the supervisor included."""

import base64
import io
import json
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from tests.e2e.running_instance import RunningInstance, data_with_shared_models, until
from tests.processes import gone

# Too few to learn from, which takes long. `tests/reliability/kills/test_learning.py` kills a process that learns.
IMAGES = 24
COPY_SCORE = 0.99
# Long enough for a busy machine.
FINETUNE_SECONDS = 240.0
pytestmark = pytest.mark.timeout(2 * FINETUNE_SECONDS)
# With a short lease the job of a dead trainer is resumed soon. One worker starts faster than several.
SETTINGS = {"SIMILIS_LEASE_SECONDS": "3", "SIMILIS_POLL_SECONDS": "0.5", "SIMILIS_WORKERS": "1"}
# The embedder is in the process of the gateway.
SERVICES = ("trainer", "gateway", "local_qdrant", "bin/postgres")


def photograph(number: int) -> bytes:
    """Return a small picture of a few blurred colours, unlike those of other numbers."""
    colours = random.Random(number)
    image = Image.frombytes("RGB", (5, 5), colours.randbytes(75)).resize((160, 160), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


class Museum:
    """Serves photographs at /COLLECTION/NUMBER. Holds back those from IMAGES / 2 on until `released` is set."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.released = threading.Event()
        museum = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                museum.asked[self.path] += 1
                number = int(self.path.rpartition("/")[2])
                if number >= IMAGES // 2:
                    museum.released.wait(FINETUNE_SECONDS)
                body = photograph(number)
                self.send_response(200)
                self.send_header("Content-Type", "image/jpeg")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                """Ignore clients that were killed."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def rows(self, collection: str, images: int) -> list[tuple[str, str]]:
        return [(f"{self.address}/{collection}/{number}", f"https://example.org/{number}") for number in range(images)]


class Client:
    """Calls the REST API with the first key."""

    def __init__(self, instance: RunningInstance) -> None:
        self._instance = instance

    def call(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        """Return status and body, or (0, {}) when there is no answer."""
        parts = urlsplit(self._instance.address)
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        key = (self._instance.data / "admin-key").read_text().strip()
        try:
            connection.request(
                method,
                f"/api/collection{path}",
                json.dumps(body or {}),
                {"API-Key": key, "Content-Type": "application/json"},
            )
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except OSError:
            return 0, {}
        finally:
            connection.close()

    def succeed(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        status, answer = self.call(method, path, body)
        assert status == 200, answer
        return answer

    def create_filled(self, name: str, rows: list[tuple[str, str]]) -> int:
        collection = int(self.succeed("POST", "/create", {"name": name})["id"])
        csv = "".join(f"{image},{entry}\n" for image, entry in rows)
        self.succeed("POST", f"/{collection}/updatecontent", {"content": base64.b64encode(csv.encode()).decode()})
        return collection

    def is_done(self, collection: int) -> bool:
        status, info = self.call("GET", f"/{collection}/info")
        if status != 200:
            return False
        assert info["finetuning_state"] != "failed", info
        return not info["requires_finetuning"]

    def search(self, collection: int, image: bytes, num_results: int) -> tuple[int, list[dict[str, Any]]]:
        body = {"image": base64.b64encode(image).decode(), "num_results": num_results}
        status, answer = self.call("POST", f"/{collection}/search", body)
        return status, answer.get("results", [])


@pytest.fixture(scope="module")
def museum() -> Iterator[Museum]:
    museum = Museum()
    thread = threading.Thread(target=museum.server.serve_forever, daemon=True)
    thread.start()
    yield museum
    museum.released.set()
    museum.server.shutdown()
    museum.server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RunningInstance]]:
    """The running instance is the last in the list. When one is killed, the next is appended."""
    data = data_with_shared_models(tmp_path_factory.mktemp("finetune") / "data")
    instances = [RunningInstance.start(data, "--allow-private-addresses", environment=SETTINGS)]
    yield instances
    instances[-1].stop()


def found(client: Client, collection: int, image: bytes, num_results: int) -> list[dict[str, Any]]:
    """Return what a search finds. Repeat it until it succeeds: the killed process may still be restarting."""
    answers: list[tuple[int, list[dict[str, Any]]]] = []

    def answered() -> bool:
        answers.append(client.search(collection, image, num_results))
        return answers[-1][0] == 200

    until(answered)
    return answers[-1][1]


def assert_each_is_indexed_once(client: Client, collection: int, rows: list[tuple[str, str]]) -> None:
    results = found(client, collection, photograph(0), 1000)
    assert Counter(result["image_url"] for result in results) == Counter(image for image, _ in rows)
    for number in (0, len(rows) // 2, len(rows) - 1):
        (best,) = found(client, collection, photograph(number), 1)
        assert (best["image_url"], best["repo_url"]) == rows[number]
        assert best["score"] >= COPY_SCORE


@pytest.fixture(scope="module")
def earlier(started: list[RunningInstance], museum: Museum) -> int:
    """A collection that is searched while processes die."""
    client = Client(started[-1])
    museum.released.set()
    rows = museum.rows("earlier", IMAGES)
    collection = client.create_filled("earlier", rows)
    client.succeed("POST", f"/{collection}/finetune")
    until(lambda: client.is_done(collection), FINETUNE_SECONDS)
    assert_each_is_indexed_once(client, collection, rows)
    return collection


def begin_finetune(client: Client, museum: Museum, name: str) -> tuple[int, list[tuple[str, str]]]:
    """Finetune a new collection until half of its images are served. Return the collection and its rows."""
    museum.released.clear()
    rows = museum.rows(name, IMAGES)
    collection = client.create_filled(name, rows)
    client.succeed("POST", f"/{collection}/finetune")
    until(lambda: sum(count for path, count in museum.asked.items() if path.startswith(f"/{name}/")) > IMAGES // 2)
    return collection, rows


def test_a_finetune_survives_the_death_of_all_services_and_indexes_each_image_once(
    started: list[RunningInstance], museum: Museum, earlier: int
) -> None:
    """`tests/reliability/kills/test_finetunes.py` kills them one by one and in pairs, at exact places."""
    client = Client(started[-1])
    collection, rows = begin_finetune(client, museum, "services")
    for service in SERVICES:
        started[-1].child(service).kill()
    status, results = client.search(earlier, photograph(1), 1)
    assert status in {0, 200, 503, 504}
    assert status != 200 or results[0]["repo_url"] == "https://example.org/1"
    museum.released.set()
    until(lambda: client.is_done(collection), FINETUNE_SECONDS)
    assert_each_is_indexed_once(client, collection, rows)
    assert_each_is_indexed_once(client, earlier, museum.rows("earlier", IMAGES))


def test_a_finetune_survives_the_death_of_the_supervisor_and_indexes_each_image_once(
    started: list[RunningInstance], museum: Museum, earlier: int
) -> None:
    collection, rows = begin_finetune(Client(started[-1]), museum, "supervisor")
    family = started[-1].family()
    started[-1].stop(signal.SIGKILL)
    museum.released.set()
    started.append(RunningInstance.start(started[-1].data, "--allow-private-addresses", environment=SETTINGS))
    assert gone(family)
    client = Client(started[-1])
    until(lambda: client.is_done(collection), FINETUNE_SECONDS)
    assert_each_is_indexed_once(client, collection, rows)
    assert_each_is_indexed_once(client, earlier, museum.rows("earlier", IMAGES))
