"""URLs as they are requested: unchanged, but for what may not be sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.request_url import checked_url

# As signed URLs and IIIF URLs are written.
UNCHANGED = [
    "/unsafe/800x600/http%3A%2F%2Fmuseum.example.org%2Fa.jpg",
    "/obj/foo%27bar.jpg?Signature=qZ0A%2FXns%2BPP2g%3D&Expires=1",
    "/obj/scan%20%28recto%29.jpg?X-Amz-Credential=K%2F20260101%2Fs3",
    "/iiif/2/ark%3A%2F12345%2Fx1/full/!512,512/0/default.jpg",
    "/a%2Bb+c%2f%C3%A9%e9.jpg",
    "/plain/%7Euser%2Dx/~user;v=1/(a)*'b'$@:,.jpg",
    "//a//b/../c/./d?x?y=/z&;==+%2B",
    "/?",
    "/a%00?%0D%0A",
]


@pytest.mark.parametrize("target", UNCHANGED)
@pytest.mark.parametrize("base", [None, "http://elsewhere.example/x/y"])
def test_a_url_is_requested_as_it_is_written(target: str, base: str | None) -> None:
    found = checked_url(f"https://example.org{target}", base=None if base is None else checked_url(base))
    assert found.raw_path_qs == target
    assert str(found) == f"https://example.org{target}"


@pytest.mark.parametrize(
    ("written", "requested"),
    [
        ("http://example.org", "/"),
        ("http://example.org?x=1", "/?x=1"),
        ("http://example.org/a b?c d", "/a%20b?c%20d"),
        ("  http://example.org/a.jpg \r\n", "/a.jpg"),
        ("http://example.org/a\tb\n.jpg", "/ab.jpg"),
        ("http://example.org/café.jpg?ü#part", "/caf%C3%A9.jpg?%C3%BC"),
        ("http://example.org/100%.jpg?50%zz", "/100%25.jpg?50%25zz"),
        ('http://example.org/a[1]|{2}^`\\"<>', "/a%5B1%5D%7C%7B2%7D%5E%60%5C%22%3C%3E"),
        ("HTTP://Example.ORG:80/A", "/A"),
    ],
)
def test_only_what_may_not_be_sent_is_encoded(written: str, requested: str) -> None:
    assert checked_url(written).raw_path_qs == requested


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/b c?x=%2f", "http://example.org:81/b%20c?x=%2f"),
        ("z%2F.jpg", "http://example.org:81/a/z%2F.jpg"),
        ("/a/../b?", "http://example.org:81/a/../b?"),
        ("../z?%27", "http://example.org:81/z?%27"),
        ("?q=%7E", "http://example.org:81/a/x?q=%7E"),
        ("//other.example/a%20b", "http://other.example/a%20b"),
        ("https://other.example", "https://other.example/"),
        # The bytes of Latin-1, which the client reads as surrogate escapes.
        ("/caf\udce9.jpg", "http://example.org:81/caf%E9.jpg"),
    ],
)
def test_a_redirect_is_followed_as_it_is_written(location: str, target: str) -> None:
    base = checked_url("http://example.org:81/a/x?y=%2F")
    assert str(checked_url(location, base=base)) == target


def test_user_info_is_kept() -> None:
    url = checked_url("http://me:p%40ss%3A@example.org/a")
    assert (url.raw_user, url.raw_password, url.raw_path) == ("me", "p%40ss%3A", "/a")


@given(st.text(st.characters(codec="ascii", exclude_characters="#\t\r\n"), max_size=60))
def test_a_target_holds_only_legal_characters_and_is_not_encoded_twice(text: str) -> None:
    once = checked_url(f"http://example.org/{text}x")
    assert set(once.raw_path_qs) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/?%"
    )
    assert checked_url(str(once)) == once


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/a.jpg",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://",
        "http:///a.jpg",
        "//example.org/a.jpg",
        "example.org/a.jpg",
        "http://example.org:99999/a.jpg",
        "http://example.org:port/a.jpg",
        "http://[::1/a.jpg",
        "",
        "http://[]/a.jpg",
        "http://:80",
        "http://@",
        "http://example.org/" + "a" * 9000,
    ],
)
def test_a_url_that_is_not_a_valid_http_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (the parser's message varies)
        checked_url(url)
