"""The host of the images that are indexed in benchmarks."""

from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from bench.parts.image_host import image_host


def test_an_image_is_served_under_its_name_after_any_path_and_requests_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"picture\r\n\r\n" * 100_000)
    with image_host(tmp_path) as host:
        parts = urlsplit(host.address)
        connection = HTTPConnection(parts.hostname or "", parts.port)
        # One connection serves them all.
        for path in ("/a.jpg", "/7/a.jpg", "/a.jpg"):
            connection.request("GET", path)
            answer = connection.getresponse()
            assert (answer.status, answer.headers["Content-Type"]) == (200, "image/jpeg")
            assert answer.read() == (tmp_path / "a.jpg").read_bytes()
        assert host.requests() == (3, 2)
        connection.request("GET", "/missing.jpg")
        assert connection.getresponse().status == 404
        connection.close()
        assert host.cpu_seconds() > 0
    assert host.process.returncode == 0
