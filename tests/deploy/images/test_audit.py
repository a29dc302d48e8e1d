"""Known vulnerabilities are found, and a missing network is a warning."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PINNED = "yarl==1.25.1\nattrs==26.1.0\n"
VULNERABILITY = {
    "id": "PYSEC-2099-1",
    "modified": "2099-01-01T00:00:00Z",
    "details": "It is known.",
    "affected": [
        {
            "package": {"name": "yarl", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}],
        }
    ],
}


@contextmanager
def database(vulnerable: str) -> Iterator[str]:
    """A database of vulnerabilities that knows one, of one package. It speaks as OSV's does."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = [VULNERABILITY] if asked["package"]["name"] == vulnerable else []
            body = json.dumps({"vulns": known} if known else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the output of tests short."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()
        thread.join()


@pytest.fixture
def pinned(tmp_path: Path) -> Path:
    path = tmp_path / "constraints.txt"
    path.write_text(PINNED, encoding="ascii")
    return path


def audit(pinned: Path, url: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "deploy/audit.py", str(pinned), "--osv-url", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_vulnerable_package_is_named_with_its_remedy(pinned: Path) -> None:
    with database("yarl") as url:
        done = audit(pinned, url)
    assert done.returncode == 1
    assert "yarl 1.25.1: PYSEC-2099-1, fixed in 2.0" in done.stderr
    assert "attrs" not in done.stderr


def test_packages_without_a_known_vulnerability_pass(pinned: Path) -> None:
    with database("other") as url:
        done = audit(pinned, url)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_network_there_is_a_warning(pinned: Path) -> None:
    done = audit(pinned, "http://127.0.0.1:1/v1/query")
    assert done.returncode == 0
    assert done.stderr.startswith("warning: vulnerabilities were NOT looked for: ")
