"""The addresses of gRPC servers in settings."""

import pytest

from servicekit.grpc.target import grpc_target, ports_of


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("embedder:9001", "embedder:9001"),
        (" embedder:9001\n", "embedder:9001"),
        ("embedder", "embedder:6334"),
        ("10.0.0.1:9001", "10.0.0.1:9001"),
        ("[::1]:9001", "[::1]:9001"),
        ("[fe80::1%eth0]", "[fe80::1%eth0]:6334"),
        ("dns:///embedder.images.svc:9001", "dns:///embedder.images.svc:9001"),
        ("dns:///embedder", "dns:///embedder:6334"),
        ("dns:embedder:9001", "dns:embedder:9001"),
        ("dns://127.0.0.1:53/embedder:9001", "dns://127.0.0.1:53/embedder:9001"),
        ("ipv4:10.0.0.1:9001,10.0.0.2:9001", "ipv4:10.0.0.1:9001,10.0.0.2:9001"),
        ("ipv6:[::1]:9001,[::2]:9001", "ipv6:[::1]:9001,[::2]:9001"),
        ("unix:/run/similis/qdrant:6334", "unix:/run/similis/qdrant:6334"),
        ("unix:relative.sock", "unix:relative.sock"),
    ],
)
def test_every_form_of_an_address_is_taken(text: str, target: str) -> None:
    assert grpc_target(text, default_port=6334) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ":9001",
        "embedder:",
        "embedder:port",
        "host:0",
        "host:65536",
        "host:-1",
        "::1",
        "::1:9001",
        "[::1",
        "a b:1",
        "http://embedder:9001",
        "https://embedder",
        "grpc://embedder:9001",
        "embedder:9001/",
        "embedder/path:9001",
        "dns:///",
        "dns://embedder:9001",
        "ipv4:",
        "ipv4:10.0.0.1:9001,",
        "unix:",
        "a:1,b:2",
    ],
)
def test_anything_else_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected HOST:PORT|the port must be"):
        grpc_target(text, default_port=6334)


def test_an_address_without_a_port_is_refused_unless_there_is_a_default() -> None:
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        grpc_target("embedder")


def test_a_url_is_refused_with_the_part_to_leave_out() -> None:
    with pytest.raises(ValueError, match="without http://"):
        grpc_target("http://qdrant:6334")


def test_the_ports_of_a_target() -> None:
    assert ports_of("ipv4:10.0.0.1:1,10.0.0.2:2") == {1, 2}
    assert ports_of("dns:///qdrant:6334") == {6334}
    assert ports_of("unix:/run/qdrant:6334") == set()
