"""A client is a valid key, or else an address."""

import pytest

from gateway.admission.client import UNKNOWN, Clients, network_of


def test_a_key_names_a_client_once_it_was_valid() -> None:
    clients = Clients()
    assert clients.name("7.secret", "1.1.1.1") == "1.1.1.1"
    clients.remember("7.secret", 7)
    assert clients.name("7.secret", "1.1.1.1") == clients.name("7.secret", "2.2.2.2") == "key 7"
    assert clients.name("7.other", "1.1.1.1") == "1.1.1.1"


def test_only_the_keys_that_were_used_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.admission.client.REMEMBERED_KEYS", 2)
    clients = Clients()
    for number in range(3):
        clients.remember(f"{number}.secret", number)
    assert [clients.name(f"{number}.secret", "1.1.1.1") for number in range(3)] == ["1.1.1.1", "key 1", "key 2"]


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        (None, UNKNOWN),
        ("no:address", "no:address"),
    ],
)
def test_hosts_of_one_ipv6_network_are_one_client(address: str | None, client: str) -> None:
    assert network_of(address) == client
