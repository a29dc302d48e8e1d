"""nginx with the configuration of the handbook: what it lets through, what it keeps out, and who the clients are."""

import base64
import json
import re
import time
from http.client import HTTPConnection
from urllib.parse import urljoin

import pytest

from gateway.config import GatewaySettings
from tests.e2e.machine.conftest import Machine
from tests.e2e.machine.nginx import HOST, Site, configuration
from tests.e2e.running_instance import until
from tests.integration.gateway.indexing import picture

SPOOFED, VISITOR = "198.51.100.7", "127.0.0.9"
# As JSON, with a few options.
FRAME_BYTES = 1024
MIB = 1024 * 1024
FINETUNE_SECONDS = 120


@pytest.fixture(params=["site", "site_below_a_path"])
def any_site(request: pytest.FixtureRequest) -> Site:
    """The site at the root of its host, and below a path."""
    found: Site = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def collection(machine: Machine, site: Site) -> int:
    """A collection that was made, filled and finetuned through nginx, and watched until it could be searched."""
    keyed = {"API-Key": machine.key, "Content-Type": "application/json"}
    made = site.call("POST", "/api/collection/create", b'{"name": "Coins"}', keyed)
    path = f"/api/collection/{json.loads(made.body)['id']}"
    csv = "".join(f"{url},https://repo.example.org/{number}\n" for number, url in enumerate(machine.images)).encode()
    answer = site.call("POST", f"{path}/updatecontent", csv, keyed | {"Content-Type": "text/csv"})
    assert json.loads(answer.body)["number_of_images"] == len(machine.images)
    assert site.call("POST", f"{path}/finetune", b"", keyed).status == 200
    identifier: int = json.loads(made.body)["id"]
    for _ in range(FINETUNE_SECONDS):
        state = json.loads(site.call("GET", f"{path}/info").body)["finetuning_state"]
        if state not in ("queued", "running"):
            assert state == "done"
            return identifier
        # Polling takes CPU time from the finetune.
        time.sleep(1.0)
    pytest.fail(f"the finetune took longer than {FINETUNE_SECONDS} s")


def audited(machine: Machine, request_id: str) -> dict[str, object]:
    """Return the audit event of a request, once it is in the log."""
    found: list[dict[str, object]] = []

    def is_logged() -> bool:
        log = (machine.unit.data / "logs" / "gateway.log").read_text(encoding="utf-8")
        lines = [line for line in log.splitlines() if '"action": ' in line and request_id in line]
        found.extend(json.loads(line) for line in lines)
        return bool(found)

    until(is_logged, 20.0)
    return found[0]


def test_a_search_finds_a_copy(any_site: Site, collection: int) -> None:
    body = json.dumps({"image": base64.b64encode(picture(3)).decode()}).encode()
    answer = any_site.call("POST", f"/api/collection/{collection}/search", body, {"Content-Type": "application/json"})
    best = json.loads(answer.body)["results"][0]
    assert best["repo_url"] == "https://repo.example.org/3"
    assert best["score"] >= 0.99


def test_visitors_without_tls_are_sent_to_the_same_address_with_tls(site: Site) -> None:
    connection = HTTPConnection("127.0.0.1", site.plain_port, timeout=10)
    connection.request("POST", "/api/collection/1/search?num_results=3", headers={"Host": HOST})
    answer = connection.getresponse()
    connection.close()
    assert answer.status == 308
    assert answer.headers["Location"] == f"https://{HOST}/api/collection/1/search?num_results=3"


def test_browsers_may_use_http_2(site: Site) -> None:
    with site.connected("127.0.0.1", "h2", "http/1.1") as connection:
        assert connection.selected_alpn_protocol() == "h2"


def test_the_page_and_all_its_files_are_served(any_site: Site) -> None:
    page = any_site.call("GET", "/", headers={"Accept": "text/html"})
    files = re.findall(rb'(?:href|src)="([^"]+)"', page.body)
    assert len(files) > 5
    for file in files:
        # They are relative, so they are below the path if the page is.
        assert any_site.call("GET", f"/{file.decode()}").status == 200


def test_the_address_without_its_last_slash_leads_to_the_page(site_below_a_path: Site) -> None:
    root = Site(site_below_a_path.port, site_below_a_path.plain_port, site_below_a_path.authority, "")
    answer = root.call("GET", "/similis")
    assert (answer.status, answer.headers["location"]) == (308, f"{site_below_a_path.address}/")
    assert root.call("GET", "/api/collection/list").status == 404


@pytest.mark.parametrize(
    "target",
    [
        "/metrics",
        "/metrics?name",
        "//metrics",
        "/%6detrics",
        "/metrics/",
        "/api/../metrics",
        "/metrics%2F",
        "/./metrics",
    ],
)
def test_metrics_are_closed(any_site: Site, target: str) -> None:
    answer = any_site.call("GET", target)
    assert answer.status == 404
    assert b"similis_requests" not in answer.body
    assert any_site.call("GET", "/readyz").status == 200


def test_metrics_are_there_without_nginx(machine: Machine) -> None:
    """Otherwise the test above would show nothing."""
    assert machine.instance.get("/metrics") == 200


def test_the_largest_upload_fits(site: Site) -> None:
    """nginx asks for the body only if its length is allowed, and Similis answers before it comes."""
    most = base64_size(GatewaySettings.model_fields["max_csv_bytes"].default) + FRAME_BYTES
    head = (
        "POST {}/api/collection/1/updatecontent HTTP/1.1\r\n"
        f"Host: {HOST}\r\nAPI-Key: wrong\r\nContent-Type: application/json\r\nContent-Length: "
    ).format(site.path)
    assert site.head_of_answer(f"{head}{most}\r\n\r\n".encode()) == b"HTTP/1.1 403 Forbidden"
    assert site.head_of_answer(f"{head}{most * 2}\r\n\r\n".encode()).startswith(b"HTTP/1.1 413 ")


def base64_size(size: int) -> int:
    """Return the length of so many bytes in base64."""
    return (size + 2) // 3 * 4


def test_a_large_upload_arrives_whole(machine: Machine, any_site: Site, collection: int) -> None:
    """Larger than all buffers of nginx."""
    path = f"/api/collection/{collection}/updatecontent"
    rows = b"".join(b"https://images.example.org/%d.jpg,%s\n" % (number, b"r" * 1000) for number in range(3 * 1024))
    before = any_site.call("GET", f"/api/collection/{collection}/csvfile").body
    for content in (rows, before):
        answer = any_site.call("POST", path, content, {"API-Key": machine.key, "Content-Type": "text/csv"})
        assert answer.status == 200, answer.body
        assert any_site.call("GET", f"/api/collection/{collection}/csvfile").body == content


@pytest.mark.parametrize("expect", ["", "Expect: 100-continue\r\n"])
def test_a_wrong_key_is_refused_before_the_body(any_site: Site, expect: str) -> None:
    """curl sends `Expect` with large bodies; nginx asks for them by itself."""
    request = (
        f"POST {any_site.path}/api/collection/1/updatecontent HTTP/1.1\r\nHost: {HOST}\r\nAPI-Key: wrong\r\n"
        f"Content-Type: text/csv\r\nContent-Length: {100 * MIB}\r\n{expect}\r\n"
    ).encode()
    with any_site.connected() as connection:
        connection.sendall(request)
        answer = connection.makefile("rb")
        first = answer.readline()
        if expect and first.startswith(b"HTTP/1.1 100"):
            assert answer.readline() == b"\r\n"
            first = answer.readline()
        assert first == b"HTTP/1.1 403 Forbidden\r\n"


def test_an_upload_that_waits_to_be_asked_for_is_taken(machine: Machine, any_site: Site, collection: int) -> None:
    head = (
        f"POST {any_site.path}/api/collection/{collection}/updatename HTTP/1.1\r\nHost: {HOST}\r\n"
        f"API-Key: {machine.key}\r\nContent-Type: application/json\r\nContent-Length: 17\r\n"
        "Expect: 100-continue\r\nConnection: close\r\n\r\n"
    ).encode()
    with any_site.connected() as connection:
        connection.sendall(head)
        answer = connection.makefile("rb")
        assert answer.readline().startswith(b"HTTP/1.1 100")
        assert answer.readline() == b"\r\n"
        connection.sendall(b'{"name": "Coins"}')
        assert answer.readline() == b"HTTP/1.1 200 OK\r\n"


def test_nginx_waits_longer_than_any_request_may_take() -> None:
    longest = GatewaySettings.model_fields["upload_seconds"].default
    for name in ("proxy_read_timeout", "proxy_send_timeout"):
        seconds = re.search(rf"{name} (\d+)s;", configuration(below_a_path=False))
        assert seconds is not None
        assert int(seconds[1]) >= longest + 5


def test_a_slow_client_is_told_so(machine: Machine, site: Site, collection: int) -> None:
    """nginx passes a body on as it comes. If it waited for the end, slow clients would have all its connections."""
    head = (
        f"POST /api/collection/{collection}/updatecontent HTTP/1.1\r\nHost: {HOST}\r\nAPI-Key: {machine.key}\r\n"
        "Content-Type: text/csv\r\nContent-Length: 1000\r\n\r\nh"
    ).encode()
    with site.connected() as connection:
        connection.sendall(head)
        answer = connection.makefile("rb")
        assert answer.readline() == b"HTTP/1.1 400 Bad Request\r\n"
        assert b'"code": "body_too_slow"' in answer.read()


def test_the_log_names_the_visitor_and_believes_nobody_else(machine: Machine, any_site: Site, collection: int) -> None:
    headers = {"API-Key": machine.key, "Content-Type": "application/json", "X-Forwarded-For": SPOOFED}
    path = f"/api/collection/{collection}/updatename"
    answer = any_site.call("POST", path, b'{"name": "Coins"}', headers, source=VISITOR)
    assert answer.status == 200
    event = audited(machine, answer.headers["x-request-id"])
    assert (event["action"], event["client"]) == ("rename_collection", VISITOR)


def test_addresses_in_answers_are_those_that_visitors_know(any_site: Site, collection: int) -> None:
    target = f"/api/collection/{collection}/similar?repo_url=https://repo.example.org/3&format=iiif"
    answer = any_site.call("GET", target, headers={"X-Forwarded-Prefix": "/elsewhere", "X-Forwarded-Proto": "http"})
    assert json.loads(answer.body)["id"].startswith(f"{any_site.address}/api/collection/")
    [server] = json.loads(any_site.call("GET", "/api/openapi.json").body)["servers"]
    address = urljoin(f"{any_site.address}/api/openapi.json", server["url"])
    assert address.rstrip("/") == any_site.address


def test_errors_of_similis_pass_with_their_headers(any_site: Site) -> None:
    answer = any_site.call("POST", "/api/verify", b"")
    assert answer.status == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert json.loads(answer.body)["code"] == "forbidden"
