"""The content is taken out of a JSON body as `json.loads` would, wherever the pieces of the body are cut."""

import base64
import json

import pytest
from gateway.http.json_field import Base64Field
from hypothesis import given, settings
from hypothesis import strategies as st

from servicekit.errors import InvalidRequest


def extracted(body: bytes, size: int = 7) -> bytes:
    """The content of a body that comes in pieces of `size` bytes."""
    written: list[bytes] = []
    content = Base64Field("content", written.append)
    for start in range(0, len(body), size):
        content.feed(body[start : start + size])
    content.finish()
    return b"".join(written)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200)
@given(
    content=st.binary(max_size=900),
    others=st.dictionaries(st.text(max_size=8).filter(lambda key: key != "content"), json_values, max_size=3),
    size=st.integers(1, 40),
    ascii_only=st.booleans(),
    position=st.integers(0, 3),
)
def test_content_is_found_between_whatever_else(
    content: bytes, others: dict[str, object], size: int, ascii_only: bool, position: int
) -> None:
    fields = list(others.items())
    fields.insert(position, ("content", base64.b64encode(content).decode()))
    body = json.dumps(dict(fields), ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        body.decode()
    except UnicodeDecodeError:
        with pytest.raises(InvalidRequest):
            extracted(body, size)
        return
    assert extracted(body, size) == content


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 10_000])
@pytest.mark.parametrize(
    "encode",
    [
        lambda data: json.dumps(base64.b64encode(data).decode()),
        lambda data: json.dumps(base64.encodebytes(data).decode()),
        lambda data: json.dumps(base64.encodebytes(data).decode().replace("\n", "\r\n")),
        lambda data: json.dumps(base64.urlsafe_b64encode(data).decode().rstrip("=")),
        lambda data: json.dumps("data:text/csv;base64," + base64.b64encode(data).decode()),
        lambda data: json.dumps('data:text/csv;name="a,b.csv";base64,' + base64.b64encode(data).decode()),
        lambda data: json.dumps(base64.b64encode(data).decode()).replace("/", "\\/").replace("+", "\\u002B"),
    ],
    ids=["standard", "lines", "crlf-lines", "url-safe", "data-url", "quoted-parameter", "escaped"],
)
def test_every_way_to_write_base64(size: int, encode: object) -> None:
    for length in (0, 1, 2, 3, 600):
        data = bytes(range(256)) * 3
        body = f'{{"content": {encode(data[:length])}}}'.encode()  # type: ignore[operator]
        assert extracted(body, size) == data[:length]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('["content", "QQ=="]', "invalid_json"),
        ('{"content": "QQ=="', "invalid_json"),
        ('{"content": "QQ==', "invalid_json"),
        ('{"content" "QQ=="}', "invalid_json"),
        ('{"content": "QQ==" "x"}', "invalid_json"),
        ('{"content": "QQ=="} x', "invalid_json"),
        ('{"content": "QQ==", "content": "QQ=="}', "invalid_json"),
        ('{"content": "QQ==", "content": null}', "invalid_json"),
        ('{"content": ["QQ=="]}', "invalid_base64"),
        ('{"content": 5}', "invalid_base64"),
        ('{"content": "QQ=="}'.replace("Q", "é", 1), "invalid_base64"),
        ('{"content": "Q"}', "invalid_base64"),
        ('{"content": "QQ==QQ=="}', "invalid_base64"),
        ('{"content": "QUI=QUI="}', "invalid_base64"),
        ('{"content": "Q\\"Q="}', "invalid_base64"),
        ('{"content": "Q\\\\Q="}', "invalid_base64"),
        ('{"content": "QQ==\\\\"}', "invalid_base64"),
        ('{"content": "QQ==\\', "invalid_json"),
        ('{"content": "QQ==\\"}', "invalid_json"),
        ('{"content": "QQ=\\u003"}', "invalid_base64"),
        ('{"content": "data:text/csv,abcd"}', "invalid_base64"),
        ('{"b": "\\', "invalid_json"),
    ],
)
def test_what_is_wrong_is_said(body: str, code: str, size: int) -> None:
    with pytest.raises(InvalidRequest) as error:
        extracted(body.encode(), size)
    assert error.value.code == code


@pytest.mark.parametrize("body", [b"", b"{}", b'{"Content": "QQ=="}', b'{"a": {"content": "QQ=="}}'])
def test_a_field_that_is_absent_is_left_so(body: bytes) -> None:
    content = Base64Field("content", lambda _: pytest.fail("nothing is decoded"))
    content.feed(body)
    assert "content" not in content.finish()


def test_the_rest_of_the_object_is_given() -> None:
    content = Base64Field("image", lambda _: None)
    content.feed(b'{"num_results": 3, "image": "QQ==", "threshold": [1]}')
    assert content.finish() == {"num_results": 3, "image": "", "threshold": [1]}


def test_other_fields_may_not_be_large() -> None:
    with pytest.raises(InvalidRequest):
        extracted(b'{"other": "' + b"x" * 100_000 + b'", "content": "QQ=="}', 1000)


def test_a_key_may_be_written_with_escapes() -> None:
    assert extracted(b'{"c\\u006fntent": "QQ=="}') == b"A"
