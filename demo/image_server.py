"""Serves photographs over HTTP on loopback, in place of a museum's web server."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

# The same port in every run if it is free, so that the image URLs stay the same.
PREFERRED_PORT = 8471


@contextmanager
def image_server(images: Mapping[str, bytes]) -> Iterator[str]:
    """Serve JPEGs by name while entered. Yield the URL that a name is appended to."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            image = images.get(self.path.removeprefix("/"))
            self.send_response(HTTPStatus.OK if image else HTTPStatus.NOT_FOUND)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(len(image or b"")))
            self.end_headers()
            self.wfile.write(image or b"")

        def log_message(self, *_: object) -> None:
            """Keep request logs out of the demo's output."""

    with _server(Handler) as server:
        thread = Thread(target=server.serve_forever, name="image-server")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def _server(handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    try:
        return ThreadingHTTPServer(("127.0.0.1", PREFERRED_PORT), handler)
    except OSError:
        return ThreadingHTTPServer(("127.0.0.1", 0), handler)
