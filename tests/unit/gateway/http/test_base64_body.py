"""Base64 in every form that clients send, alone or in a JSON field, wherever the body is cut into pieces."""

import base64
import binascii
import json
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http.base64_body import EACH, MAX_OTHER_BYTES, Base64Body, Base64Fields, decoded_base64
from servicekit.errors import InvalidRequest, TooLarge

Encode = Callable[[bytes], str]


def decoded(body: bytes, *, field: str | None, size: int = 7) -> bytes:
    """Decode a body that arrives in pieces of `size` bytes."""
    written: list[bytes] = []
    base64_body = Base64Body(written.append, field=field)
    for start in range(0, len(body), size):
        base64_body.feed(body[start : start + size])
    base64_body.finish()
    return b"".join(written)


def refused_code(body: bytes, *, field: str | None, size: int = 7) -> str:
    with pytest.raises(InvalidRequest) as error:
        decoded(body, field=field, size=size)
    return error.value.code


def standard(data: bytes) -> str:
    return base64.b64encode(data).decode()


@given(st.binary(max_size=900), st.integers(1, 50))
def test_a_body_may_be_base64_in_every_form(data: bytes, size: int) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes):
        text = encode(data)
        for form in (text, text.rstrip(b"=\n"), b" " + text + b"\r\n", b"data:image/jpeg;base64," + text):
            assert decoded(form, field=None, size=size) == data


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
        assert decoded(head + base64.b64encode(b"image" * 500), field=None, size=size) == b"image" * 500


@pytest.mark.parametrize(
    "text",
    [
        *(b"Q", b"QQ=Q", b"====", b"QQ==QQ==", b"Q*==", b"\xff", b"Q\\nQ=="),
        *(b"data:image/png,QQ==", b'data:x;name=";base64",QQ=='),
        b"data:" + b'"' * 3000,
    ],
)
def test_a_body_that_is_not_base64_is_refused(text: bytes) -> None:
    assert refused_code(text, field=None, size=5) == "invalid_base64"


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
def test_the_field_is_found_among_any_other_fields(
    content: bytes, others: dict[str, object], size: int, ascii_only: bool, position: int
) -> None:
    fields = list(others.items())
    fields.insert(position, ("content", standard(content)))
    body = json.dumps(dict(fields), ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        body.decode()
    except UnicodeDecodeError:
        assert refused_code(body, field="content", size=size) == "invalid_json"
        return
    assert decoded(body, field="content", size=size) == content


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 10_000])
@pytest.mark.parametrize(
    "encode",
    [
        lambda data: json.dumps(standard(data)),
        lambda data: json.dumps(base64.encodebytes(data).decode()),
        lambda data: json.dumps(base64.encodebytes(data).decode().replace("\n", "\r\n")),
        lambda data: json.dumps(base64.urlsafe_b64encode(data).decode().rstrip("=")),
        lambda data: json.dumps("data:text/csv;base64," + standard(data)),
        lambda data: json.dumps('data:text/csv;name="a,b.csv";base64,' + standard(data)),
        lambda data: json.dumps(standard(data)).replace("/", "\\/").replace("+", "\\u002B"),
    ],
    ids=["standard", "lines", "crlf-lines", "url-safe", "data-url", "quoted-parameter", "escaped"],
)
def test_the_field_may_be_base64_in_every_form(size: int, encode: Encode) -> None:
    for length in (0, 1, 2, 3, 600, 3000):
        data = (bytes(range(256)) * 12)[:length]
        assert decoded(f'{{"content": {encode(data)}}}'.encode(), field="content", size=size) == data


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
        ('{"content": ["QQ=="]}', "invalid_base64"),
        ('{"content": 5}', "invalid_base64"),
        ('{"content": "QQ=="}'.replace("Q", "é", 1), "invalid_base64"),
        ('{"content": "Q"}', "invalid_base64"),
        ('{"content": "QQ==QQ=="}', "invalid_base64"),
        ('{"content": "QUI=QUI="}', "invalid_base64"),
        ('{"content": "Q\\"Q="}', "invalid_base64"),
        ('{"content": "Q\\\\Q="}', "invalid_base64"),
        ('{"content": "QQ==\\\\"}', "invalid_base64"),
        ('{"content": "data:x;name=a\\\\;base64,QQ=="}', "invalid_base64"),
        ('{"content": "QQ==\\', "invalid_json"),
        ('{"content": "QQ==\\"}', "invalid_json"),
        ('{"content": "QQ=\\u003"}', "invalid_base64"),
        ('{"content": "data:text/csv,abcd"}', "invalid_base64"),
        ('{"b": "\\', "invalid_json"),
    ],
)
def test_a_malformed_body_is_refused_with_its_code(body: str, code: str, size: int) -> None:
    assert refused_code(body.encode(), field="content", size=size) == code


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("other", ['"QQ=="', "null", "5", "{}"])
def test_a_field_that_occurs_twice_is_refused(other: str, size: int) -> None:
    for first, second in ((other, '"QQ=="'), ('"QQ=="', other)):
        body = f'{{"content": {first}, "c\\u006fntent": {second}}}'
        assert refused_code(body.encode(), field="content", size=size) == "invalid_json"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"Content": "QQ=="}', b'{"a": {"content": "QQ=="}}'])
def test_a_missing_field_stays_missing(body: bytes) -> None:
    content = Base64Body(lambda _: pytest.fail("nothing is decoded"), field="content")
    content.feed(body)
    assert "content" not in content.finish()


def test_the_other_fields_are_returned() -> None:
    content = Base64Body(lambda _: None, field="image")
    content.feed(b'{"num_results": 3, "image": "QQ==", "threshold": [1]}')
    assert content.finish() == {"num_results": 3, "image": "", "threshold": [1]}


@pytest.mark.parametrize("size", [1000, 1_000_000])
def test_large_other_fields_are_refused(size: int) -> None:
    for other in (b'"' + b"x" * 100_000 + b'"', b"[" * 100_000, b" " * 100_000 + b"0"):
        body = b'{"other": ' + other + b', "content": "QQ=="}'
        assert refused_code(body, field="content", size=size) == "invalid_json"
    large_end = b'{"content": "QQ==", "other": "' + b"x" * 100_000 + b'"}'
    assert refused_code(large_end, field="content", size=size) == "invalid_json"


def test_a_key_may_be_written_with_escapes() -> None:
    assert decoded(b'{"c\\u006fntent": "QQ=="}', field="content") == b"A"


def test_a_body_is_decoded_while_it_arrives() -> None:
    """Neither the body nor what it decodes to is collected."""
    written = 0

    def count(data: bytes) -> None:
        nonlocal written
        written += len(data)

    piece = base64.b64encode(bytes(30_000))
    for head, field in ((b"", None), (b'{"image": "', "image")):
        written = 0
        image = Base64Body(count, field=field)
        image.feed(head)
        for number in range(1, 20):
            image.feed(piece)
            assert written >= number * 30_000 - 3


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_what_is_wrong_with_single_fields_may_be_kept(size: int) -> None:
    long = base64.b64encode(b"x" * 5000).decode()
    images = ["QUJD", "é", r"\u20ac", "QQ==" + long[:3000], r"data:image/png,\"", long, "QUI="]
    text = ('{"list": [' + ", ".join(f'{{"image": "{image}"}}' for image in images) + '], "k": 5}').encode()
    found: list[bytearray] = []

    def begin() -> Callable[[bytes], None]:
        found.append(bytearray())
        return write(found[-1])

    def write(image: bytearray) -> Callable[[bytes], None]:
        def add(piece: bytes) -> None:
            image.extend(piece)
            if len(image) > 4900:
                raise TooLarge("too large", code="image_too_large")

        return add

    fields = Base64Fields(begin, [("list", EACH, "image")], keeps_errors=True)
    for start in range(0, len(text), size):
        fields.feed(text[start : start + size])
    assert fields.finish() == {"list": [{"image": str(number)} for number in range(len(images))], "k": 5}
    assert {number: error.code for number, error in fields.errors.items()} == {
        **dict.fromkeys((1, 2, 3, 4), "invalid_base64"),
        5: "image_too_large",
    }
    assert "list[1].image" in fields.errors[1].message
    assert (bytes(found[0]), bytes(found[6])) == (b"ABC", b"AB")


def cpu_seconds(body: bytes, *, size: int, other_bytes: int = MAX_OTHER_BYTES) -> float:
    """Return the CPU time until a body is refused."""
    before = time.process_time()
    fields = Base64Fields(lambda: lambda _: None, [("examples", EACH, "image")], other_bytes=other_bytes)
    with pytest.raises(InvalidRequest):
        feed(fields, body, size)
    return time.process_time() - before


def feed(fields: Base64Fields, body: bytes, size: int) -> None:
    for start in range(0, len(body), size):
        fields.feed(body[start : start + size])
    fields.finish()


@pytest.mark.parametrize(
    ("body", "size"),
    [
        (b'{"a":' + b"[" * 65_000, 256 * 1024),
        (b'{"a":' * 13_000, 256 * 1024),
        (b'{"a":[' + b"[]," * 21_000, 256 * 1024),
        (b'{"a":[' + b'"",' * 21_000, 256 * 1024),
        (b"{" + b'"a":1,' * 10_000, 256 * 1024),
        (b'{"a":"' + b"x" * 60_000, 2),
        (b'{"a":"' + rb"\"" * 30_000, 2),
        (b'{"examples":[{"image":"' + rb"\"" * 4_000_000 + b'"}]}', 256 * 1024),
        (b'{"examples":[{"image":"' + b"\\" * 8_000_000 + b'"}]}', 256 * 1024),
    ],
    ids=["lists", "objects", "empty-lists", "texts", "keys", "slow-text", "slow-quotes", "quotes", "backslashes"],
)
def test_a_nasty_body_is_refused_quickly(body: bytes, size: int) -> None:
    # Some of them took seconds.
    assert cpu_seconds(body, size=size) < 0.2


def test_escapes_are_resolved_in_bulk() -> None:
    before = time.process_time()
    assert decoded(b'{"content": "' + rb"\u0041" * 1_000_000 + b'"}', field="content", size=256 * 1024) == bytes(
        750_000
    )
    assert time.process_time() - before < 0.2


def test_a_list_of_many_numbers_is_read() -> None:
    body = json.dumps({"exclude": list(range(10_000)), "examples": [{"image": "QQ=="}]}).encode()
    fields = Base64Fields(lambda: lambda _: None, [("examples", EACH, "image")])
    fields.feed(body)
    assert fields.finish()["examples"] == [{"image": "0"}]


# Base64 and what is nearly base64 in the standard alphabet, so that both decoders meet texts that one of them refuses.
NEARLY = st.text('AZaz09+/= \n"\\é', max_size=24).map(str.encode)


@settings(max_examples=2000)
@given(st.one_of(st.binary(max_size=64).map(base64.b64encode), NEARLY))
def test_the_fast_decoder_returns_what_the_strict_one_returns(text: bytes) -> None:
    try:
        wanted: bytes | None = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        wanted = None
    try:
        found: bytes | None = decoded_base64(text)
    except binascii.Error:
        found = None
    assert found == wanted
