"""A museum: serves photographs over HTTP, and says what its collections contain."""

import io
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image

from demo import photographs

SIDE = 240
# Few, because a finetune takes most of the time of these tests.
IMAGES = 15
REPOSITORY = "https://repository.example.org"
# What must stay text: in names, in entries, in addresses of images.
MARKUP = """<img src=x onerror="window.injected=1">"><script>window.injected=1</script>"""
SCRIPT_URL = "urn:javascript:window.injected=1"


# What the two manifests say. The second is hostile.
CREDITS = ("Lent by a private collector", MARKUP)
RIGHTS = ("http://creativecommons.org/licenses/by/4.0/", SCRIPT_URL)


class Museum:
    """Photographs at /NUMBER.jpg and below /attack/NUMBER/, the page of an item at /item, manifests below /iiif/."""

    def __init__(self) -> None:
        views = photographs.collection()[:IMAGES]
        self.pictures = [_small(view.jpeg) for view in views]
        self.objects = [view.repo_url.rpartition("/")[2] for view in views]
        self.address = ""
        self.item = ""
        self.item_headers: dict[str, str] = {}

    def rows(self) -> str:
        """Return a CSV with each photograph."""
        lines = [f"{self.address}/{number}.jpg,{REPOSITORY}/{name}" for number, name in enumerate(self.objects)]
        return "".join(f"{line}\n" for line in lines)

    def hostile_rows(self) -> str:
        """Return a CSV full of markup: images that exist, and one that does not."""
        quoted = MARKUP.replace('"', '""')
        return "".join(
            (
                f'{self.address}/attack/0/%22onerror=%22window.injected=1.jpg,"{quoted}"\n',
                f"{self.address}/attack/1/'onload='window.injected=1.jpg,{SCRIPT_URL}\n",
                f"{self.address}/absent/<script>window.injected=1</script>.jpg,{REPOSITORY}/<b>bold</b>\n",
            )
        )

    def manifests(self) -> dict[str, object]:
        """Return the IIIF documents by path: a collection of two manifests with an image each, and an absent one."""
        names = ("first", "second")
        members = [{"type": "Manifest", "id": f"{self.address}/iiif/{name}"} for name in (*names, "absent")]
        documents: dict[str, object] = {"/iiif/all": {"type": "Collection", "items": members}}
        for number, name in enumerate(names):
            image = {"id": f"{self.address}/{number}.jpg", "type": "Image"}
            canvas = {"type": "Canvas", "items": [{"items": [{"motivation": "painting", "body": image}]}]}
            label = {"en": [name]}
            manifest = {"id": f"{self.address}/iiif/{name}", "type": "Manifest", "label": label, "items": [canvas]}
            credit = {"label": {"en": ["Attribution"]}, "value": {"en": [CREDITS[number]]}}
            manifest |= {"requiredStatement": credit, "rights": RIGHTS[number]}
            documents[f"/iiif/{name}"] = manifest
        return documents

    @contextmanager
    def serving(self) -> Iterator["Museum"]:
        """Answer requests while entered."""
        museum = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                document = museum.manifests().get(self.path)
                if document is not None:
                    self._send(200, json.dumps(document).encode(), {"Content-Type": "application/json"})
                    return
                if self.path == "/item":
                    self._send(200, museum.item.encode(), {"Content-Type": "text/html", **museum.item_headers})
                    return
                found = re.match(r"/(?:attack/)?(\d+)[./]", self.path)
                number = int(found[1]) if found else -1
                body = museum.pictures[number] if 0 <= number < len(museum.pictures) else b""
                self._send(200 if body else 404, body, {"Content-Type": "image/jpeg"})

            def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.address = f"http://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            yield self
            server.shutdown()
            thread.join()


def _small(jpeg: bytes) -> bytes:
    with Image.open(io.BytesIO(jpeg)) as image:
        image.thumbnail((SIDE, SIDE))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
