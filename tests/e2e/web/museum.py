"""A museum: serves photographs over HTTP, and says what its collections contain."""

import io
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


class Museum:
    """Photographs by number, at /NUMBER.jpg and below /attack/NUMBER/, and the page of an item at /item."""

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

    @contextmanager
    def serving(self) -> Iterator["Museum"]:
        """Answer requests while entered."""
        museum = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
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
