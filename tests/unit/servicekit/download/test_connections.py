"""Idle connections: few hosts keep theirs."""

from servicekit.download.connections import MAX_HOSTS, REMEMBERED_SECONDS, KeptConnections


def test_the_first_hosts_keep_their_connections_while_in_use_and_then_make_room() -> None:
    now = 0.0
    kept = KeptConnections(lambda: now)
    first = [f"https://{number}.example" for number in range(MAX_HOSTS)]
    assert all(kept.keeps(host) for host in first)
    assert not kept.keeps("https://late.example")
    now = REMEMBERED_SECONDS / 2
    assert all(kept.keeps(host) for host in first[1:])
    now = REMEMBERED_SECONDS + 1
    assert kept.keeps("https://late.example")
    assert not kept.keeps(first[0])
    assert kept.keeps(first[1])
