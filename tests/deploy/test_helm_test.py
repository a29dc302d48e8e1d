"""The script that the pod of `helm test` runs."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.deploy.chart import CHART

SCRIPT = CHART / "files" / "release_test.py"


@contextmanager
def gateway(*statuses: int) -> Iterator[str]:
    """Run a server that answers with each status in turn, and then always with the last. Yields its URL."""
    remaining = list(statuses)

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(remaining.pop(0) if len(remaining) > 1 else remaining[0])
            self.end_headers()
            self.wfile.write(b"not ready: qdrant")

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *arguments: object) -> None:
            """Keep the output of the tests clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def run(url: str, *, seconds: float, **environment: str) -> "subprocess.CompletedProcess[str]":
    inherited = {"PATH": os.defpath, "GATEWAY_URL": url, "TEST_SECONDS": str(seconds), **environment}
    command = [sys.executable, str(SCRIPT)]
    return subprocess.run(command, env=inherited, capture_output=True, text=True, check=False, timeout=60)


def test_a_release_that_is_still_starting_is_waited_for() -> None:
    with gateway(503, 429, 200) as url:
        done = run(url, seconds=30)
    assert (done.returncode, done.stdout) == (0, "GET /readyz 200\n"), done.stderr


def test_a_release_that_never_becomes_ready_fails_with_the_last_answer() -> None:
    with gateway(503) as url:
        done = run(url, seconds=3)
    assert done.returncode == 1
    assert "503" in done.stderr
    assert "not ready: qdrant" in done.stderr


def test_a_gateway_that_does_not_answer_fails() -> None:
    with gateway(200) as url:
        pass
    assert run(url, seconds=1).returncode == 1


def test_a_refused_api_key_fails_at_once(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("wrong", encoding="utf-8")
    with gateway(200, 403) as url:
        done = run(url, seconds=1000, API_KEY_FILE=str(tmp_path / "key"))
    assert done.returncode == 1
    assert "POST /api/verify returned 403" in done.stderr
