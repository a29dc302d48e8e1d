"""Base64 in every form that clients send, and nothing else."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from similis.gateway import base64_text
from similis.servicekit.errors import InvalidRequest


@given(st.binary(max_size=200))
def test_every_form_is_decoded(data: bytes) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes):
        text = encode(data)
        for form in (text, text.rstrip(b"=\n"), b" " + text + b"\r\n", b"data:image/jpeg;base64," + text):
            assert base64_text.decode(form) == data


@pytest.mark.parametrize("text", [b"Q", b"QQ=Q", b"====", b"QQ==QQ==", b"Q*==", b"\xff", b"data:image/png,QQ=="])
def test_anything_else_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidRequest) as error:
        base64_text.decode(text)
    assert error.value.code == "invalid_base64"
