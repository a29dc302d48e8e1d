"""Clients that send or read slowly take neither memory nor places from others."""

import socket
import time

import pytest

from bench.parts.load.open_loop import request
from tests.e2e.running_instance import until
from tests.integration.gateway.indexing import picture
from tests.reliability.conftest import Attacked
from tests.reliability.parts.attacker import Attacker, attacker, has_answer, status_on
from tests.reliability.parts.scale import scaled

MIB = 1024 * 1024
# Three copies of each image count against the memory of 60 MiB.
STALLED_IMAGE = 9 * MIB
ROW = b"https://images.example.org/a-rather-long-address-of-an-image/%08d/full.jpg,https://repo.example.org/%d\n"


def stalled(method: str, path: str, body: bytes, **headers: str) -> bytes:
    """Return a request without the last byte of its body."""
    return request(method, path, body, **headers)[:-1]


def search_path(attacked: Attacked) -> str:
    return f"/api/collection/{attacked.collection}/search"


def memory_filled(flood: Attacker, image: bytes) -> list[socket.socket]:
    """Return two connections whose bodies fill the memory: it is full for the client that holds it."""
    for _ in range(3):
        held = [flood.open(image) for _ in range(2)]
        # A third body that comes before the gateway has read these two waits with them until all are given up.
        time.sleep(0.5)
        if flood.status_of(image) == 429:
            return held
    raise AssertionError("the memory was never full")


def test_stalled_bodies_of_one_client_leave_memory_for_others(attacked: Attacked) -> None:
    image = stalled("POST", search_path(attacked), picture(1).ljust(STALLED_IMAGE, b"\0"), Content_Type="image/jpeg")
    with attacker(attacked.port, "127.0.0.2") as flood, attacker(attacked.port, "127.0.0.3") as modest:
        held = memory_filled(flood, image)
        assert not any(has_answer(connection) for connection in held)
        large = request("POST", search_path(attacked), picture(1).ljust(3 * MIB, b"\0"), Content_Type="image/jpeg")
        assert modest.status_of(large) == 200
        # Room was made at the expense of one of them.
        until(lambda: any(has_answer(connection) for connection in held), 5.0)


def test_stalled_uploads_do_not_block_other_uploads(attacked: Attacked) -> None:
    other = attacked.client.create("uploads")
    path = f"/api/collection/{other}/updatecontent"
    headers = {"API_Key": attacked.key, "Content_Type": "text/csv"}
    with attacker(attacked.port, "127.0.0.2") as flood, attacker(attacked.port, "127.0.0.3") as modest:
        held = [flood.open(stalled("POST", path, ROW * 20, **headers)) for _ in range(3)]
        began = time.monotonic()
        time.sleep(0.3)
        # The fault happened: all three places are taken by bodies that have not come to their end.
        assert not any(has_answer(connection) for connection in held)
        until(lambda: modest.status_of(request("POST", path, ROW % (1, 1), **headers)) == 200, 5.0)
        assert time.monotonic() - began < 8.0
        assert [status_on(connection) for connection in held if has_answer(connection)] == [429]


def test_clients_that_do_not_read_their_downloads_take_no_memory(attacked: Attacked) -> None:
    large = attacked.client.create("large")
    csv = b"".join(ROW % (number, number) for number in range(40_000))
    upload = request(
        "POST", f"/api/collection/{large}/updatecontent", csv, API_Key=attacked.key, Content_Type="text/csv"
    )
    with attacker(attacked.port, "127.0.0.2") as flood, attacker(attacked.port, "127.0.0.3") as modest:
        assert modest.status_of(upload) == 200
        before = attacked.gateway_memory()
        asked = request("GET", f"/api/collection/{large}/csvfile")
        held = [flood.open(asked) for _ in range(scaled(60))]
        until(lambda: all(has_answer(connection) for connection in held), 20.0)
        statuses = [status_on(connection) for connection in held]
        # The fault happened: the answers of some have begun and nobody reads them. Further ones have to wait.
        assert set(statuses) == {200, 429}
        assert statuses.count(200) == 4
        assert attacked.gateway_memory() - before < 25 * MIB
        # A place is left for others.
        assert modest.status_of(asked) == 200
        assert modest.status_of(request("GET", "/api/collection/list")) == 200


@pytest.mark.timeout(120)
def test_a_body_that_stops_coming_is_given_up(attacked: Attacked) -> None:
    with attacker(attacked.port, "127.0.0.2") as slow:
        began = time.monotonic()
        image = picture(1)
        body = slow.open(stalled("POST", search_path(attacked), image, Content_Type="image/jpeg"))
        head = slow.open(b"GET /healthz HTTP/1.1\r\nHost: simi")
        assert status_on(body) == 400
        assert status_on(head) == 0
        assert 5.0 < time.monotonic() - began < 25.0
