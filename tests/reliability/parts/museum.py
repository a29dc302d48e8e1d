"""A museum's web server: as many pictures as are asked for, and the documents that a test puts there."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.integration.gateway.indexing import picture

PICTURE_SIZE = 48
TARPIT_SECONDS = 0.5


class Museum:
    """Serves `N.jpg`, a different picture for each N, and JSON documents.

    address: ends with a slash. asked: how often each path was asked for. A path that begins with `tarpit/` sends its
    head, and then a byte now and then.
    """

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}/"
        self.documents: dict[str, object] = {}
        self.asked: Counter[str] = Counter()
        self.closed = threading.Event()

    def body(self, path: str) -> bytes | None:
        """Return what is at a path."""
        self.asked[path] += 1
        if path in self.documents:
            return json.dumps(self.documents[path]).encode()
        name, _, kind = path.rpartition("/")[2].partition(".")
        return picture(int(name), PICTURE_SIZE) if kind == "jpg" and name.isdigit() else None

    def heidicon(self, tag: str, images: int) -> None:
        """Answer like HeidICON, with one tag."""
        self.documents["api/session"] = {"token": "token"}
        self.documents["api/session/authenticate"] = {"authenticated": True}
        self.documents["api/tags"] = [{"_basetype": "tag", "tag": {"_id": 1, "displayname": {"en-US": tag}}}]
        versions = [
            {"full": {"status": "done", "download_url": f"{self.address}{number}.jpg", "_not_allowed": False}}
            for number in range(images)
        ]
        found = [
            {"_system_object_id": number, "ressourcen": {"asset": [{"versions": version}]}}
            for number, version in enumerate(versions)
        ]
        self.documents["api/search"] = {"objects": found, "count": images}

    def manifests(self, folder: str, numbers: range, *, host: str = "") -> str:
        """Add a IIIF collection with a manifest for each picture, and return its URL. host: where clients find them."""
        host = host or self.address
        members = []
        for number in numbers:
            path, image = f"{folder}/{number}", f"{self.address}{number}.jpg"
            canvas = {
                "type": "Canvas",
                "items": [{"items": [{"motivation": "painting", "body": {"id": image, "type": "Image"}}]}],
            }
            self.documents[path] = {"id": host + path, "type": "Manifest", "label": {}, "items": [canvas]}
            members.append({"type": "Manifest", "id": host + path})
        self.documents[folder] = {"id": host + folder, "type": "Collection", "items": members}
        return host + folder


@contextmanager
def running_museum() -> Iterator[Museum]:
    """Serve while entered."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.removeprefix("/").partition("?")[0]
            body = museum.body(path)
            self.send_response(HTTPStatus.OK if body else HTTPStatus.NOT_FOUND)
            self.send_header("Content-Type", "image/jpeg" if path.endswith(".jpg") else "application/json")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            # Clients may be killed, or give up.
            with suppress(ConnectionError):
                for piece in _pieces(body or b"", slowly=path.startswith("tarpit/")):
                    self.wfile.write(piece)
                    self.wfile.flush()

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Keep requests out of the tests' output."""

    def _pieces(body: bytes, *, slowly: bool) -> Iterator[bytes]:
        if not slowly:
            yield body
            return
        for number in range(len(body)):
            yield body[number : number + 1]
            if museum.closed.wait(TARPIT_SECONDS):
                return

    with _Server(("127.0.0.1", 0), Handler) as server:
        museum = Museum(server.server_port)
        thread = threading.Thread(target=server.serve_forever, name="museum")
        thread.start()
        try:
            yield museum
        finally:
            museum.closed.set()
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Ignore clients that were killed."""
