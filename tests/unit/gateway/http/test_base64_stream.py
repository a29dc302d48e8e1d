"""Base64 in every form that clients send, and nothing else."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.base64_stream import Base64Stream
from servicekit.errors import InvalidRequest


def decoded(text: bytes, size: int = 5) -> bytes:
    """What a text stands for that comes in pieces of `size` bytes."""
    written: list[bytes] = []
    stream = Base64Stream(written.append, in_json=False)
    for start in range(0, len(text), size):
        stream.feed(text[start : start + size])
    stream.feed(b"", last=True)
    return b"".join(written)


@given(st.binary(max_size=900), st.integers(1, 50))
def test_every_form_is_decoded(data: bytes, size: int) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes):
        text = encode(data)
        for form in (text, text.rstrip(b"=\n"), b" " + text + b"\r\n", b"data:image/jpeg;base64," + text):
            assert decoded(form, size) == data


@pytest.mark.parametrize(
    "head",
    [
        b"data:;base64,",
        b"data:base64;base64,",
        b"DATA:image/png;charset=utf-8;BASE64,",
        b"data:image/png; base64,",
        b'data:image/png;name="a, b;c.png";base64,',
        b'data:image/png;name=",;base64,";x="";base64,',
        b'data:image/png;name=";base64,',
        b"data:image/png;name=a%2C%20b%3B%22c%22.png;base64,",
        b"data:image/png;name=" + b"%C3%BC" * 300 + b";base64,",
    ],
)
def test_the_media_type_of_a_data_url_may_have_parameters(head: bytes) -> None:
    for size in (1, 7, 5000):
        assert decoded(head + base64.b64encode(b"image" * 500), size) == b"image" * 500


@pytest.mark.parametrize(
    "text",
    [
        *(b"Q", b"QQ=Q", b"====", b"QQ==QQ==", b"Q*==", b"\xff", b"Q\\nQ=="),
        *(b"data:image/png,QQ==", b'data:x;name=";base64",QQ=='),
        b"data:" + b'"' * 3000,
    ],
)
def test_anything_else_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidRequest) as error:
        decoded(text)
    assert error.value.code == "invalid_base64"
