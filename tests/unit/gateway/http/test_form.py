"""Forms with one file, however their bytes arrive."""

from collections.abc import AsyncIterator
from unittest.mock import Mock

import pytest

from gateway.http.form import MAX_FIELD_BYTES, FileForm
from servicekit.errors import InvalidRequest

FILE = b'Content-Disposition: form-data; name="f"; filename="a.csv"\r\nContent-Type: text/csv\r\n\r\n'
FIELD = b'Content-Disposition: form-data; name="%s"\r\n\r\n'


def written(*parts: bytes, end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end


async def read(body: bytes, size: int, content_type: str = "multipart/form-data; boundary=b") -> tuple[bytes, FileForm]:
    """Read a form that arrives in pieces of `size` bytes."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    form = FileForm(Mock(headers={"Content-Type": content_type}))
    return b"".join([piece async for piece in form.file(pieces())]), form


@pytest.mark.parametrize("size", [1, 3, 1000, 10**7])
@pytest.mark.parametrize(
    "content", [b"", b"a,b\r\n", b"\r\n--b\r", b"\r\n--\r\n--x--b\r\n" * 30, bytes(range(256)) * 9]
)
async def test_the_bytes_of_the_file_are_kept(size: int, content: bytes) -> None:
    body = written(FIELD % b"num_results" + b" 3 ", FILE + content, FIELD % b"note" + "schön".encode())
    found, form = await read(body, size)
    assert found == content
    assert form.fields == {"num_results": "3", "note": "schön"}


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (written(FIELD % b"f" + b"text"), "has no file"),
        (written(FILE.replace(b'"a.csv"', b'""')), "has no file"),
        (written(FILE + b"1", FILE + b"2"), "several files"),
        (written(FILE + b"1", end=b""), "incomplete"),
        (written(FILE + b"1")[:-9], "incomplete"),
        (b"", "incomplete"),
        (b"https://a/1,https://b/1\n", "not a valid multipart form"),
        (written(b"no header at all"), "not a valid multipart form"),
        (written(FIELD % b"x" + b"x" * (MAX_FIELD_BYTES + 1), FILE), f"{MAX_FIELD_BYTES} bytes"),
    ],
)
async def test_any_other_form_is_refused(body: bytes, part: str) -> None:
    with pytest.raises(InvalidRequest, match=part) as error:
        await read(body, 50)
    assert error.value.code == "invalid_form"


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'b' * 500}"],
)
async def test_a_form_needs_a_boundary(content_type: str) -> None:
    with pytest.raises(InvalidRequest, match="boundary"):
        await read(written(FILE), 50, content_type)
