"""A file that cannot be decoded is called what it is."""

import pytest

from embedder.backbones.builtin import PREPROCESSING
from embedder.decoding.decoder import Decoder
from embedder.decoding.header import prepare_pillow
from embedder.decoding.image_error import ImageError
from tests.unit.embedder.decoding.photographs import encoded, small_photograph

DECODER = Decoder(prepare_pillow(), 50_000_000, PREPROCESSING)
FRAME = b"\xff\xc0\x00\x11\x08"


def refused(data: bytes) -> ImageError:
    with pytest.raises(ImageError) as error:
        DECODER.decode(data)
    return error.value


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"8BPS\0\1", "a Photoshop document"),
        (b"\xff\x0a\xfa", "a JPEG XL image"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
        (b"II\xbc\x01", "a JPEG XR image"),
        (b"P6\n3 3\n255\n", "a portable anymap"),
        (b"%PDF-1.7", "a PDF document"),
        (bytes(128) + b"DICM", "a DICOM file"),
        (b"\0\0\0\x18ftypmp42", "a video, or an image in an unknown codec"),
        (b"\0\0\0\x18ftypcrx ", "a raw file of a camera"),
        (b"\xef\xbb\xbf\r\n<!DOCTYPE html>", "a web page"),
        (b"<?xml version='1.0'?><svg/>", "an XML document"),
        (b"https://example.org/1.jpg", "the text of a URL"),
        (b"data:image/png;base64,AAAA", "the text of a data URL"),
    ],
)
def test_another_format_is_named_with_those_that_are_supported(start: bytes, kind: str) -> None:
    error = refused(start + bytes(200))
    assert error.code == "not_an_image"
    assert error.message.startswith(f"The file is {kind}")
    assert "Supported formats: JPEG, PNG" in error.message


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (b"\xff\xc0\x00\x11\x0c", "a JPEG of 12 bits"),
        (b"\xff\xc3\x00\x11\x10", "a lossless JPEG of 16 bits"),
        (b"\xff\xf7\x00\x11\x08", "a JPEG-LS image"),
        (b"\xff\xc5\x00\x11\x08", "a hierarchical JPEG"),
    ],
)
def test_an_unusual_jpeg_is_not_called_incomplete(frame: bytes, kind: str) -> None:
    data = encoded(small_photograph(), "JPEG")
    assert data.count(FRAME) == 1
    error = refused(data.replace(FRAME, frame))
    assert error.code == "decode_error"
    assert f"it is {kind}. Save it as a usual JPEG" in error.message


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "TIFF", "WEBP"])
def test_what_a_script_sends_before_the_image_is_left_out(image_format: str) -> None:
    data = encoded(small_photograph(), image_format)
    for before in (b"\r\n", b"\xef\xbb\xbf", b"\n \t\n"):
        assert DECODER.decode(before + data).image.tobytes() == DECODER.decode(data).image.tobytes()


def test_spaces_before_anything_else_do_not_make_it_an_image() -> None:
    assert refused(b"  \n\nword").code == "not_an_image"
