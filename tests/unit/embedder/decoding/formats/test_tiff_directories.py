"""The main image of a TIFF is decoded, wherever it is in the file."""

import io
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from embedder.backbones.builtin import PREPROCESSING
from embedder.decoding.decoder import Decoder
from embedder.decoding.formats.tiff_directories import with_main_image_first
from embedder.decoding.header import prepare_pillow
from tests.unit.embedder.decoding.photographs import photograph

DECODER = Decoder(prepare_pillow(), 50_000_000, PREPROCESSING)
MAIN = np.asarray(photograph().resize((200, 150)))
SMALL = np.asarray(photograph().resize((40, 30)))
WHOLE, REDUCED, MASK, SENSOR_DATA = 0, 1, 4, 32803
OLD_SUBFILE_TYPE = 255

Page = tuple[np.ndarray[Any, Any], dict[str, Any]]


def tiff_of(*pages: Page, **options: Any) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file, **options) as writer:
        for samples, page in pages:
            writer.write(samples, **{"photometric": "rgb", "subfiletype": WHOLE, **page})
    return file.getvalue()


def shown(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(DECODER.decode(data).image)


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}, {"bigtiff": True, "byteorder": ">"}])
def test_thumbnails_and_masks_before_the_image_are_passed_over(options: dict[str, Any]) -> None:
    mask = SMALL[:, :, 0] > 127, {"subfiletype": MASK, "photometric": "mask"}
    data = tiff_of((SMALL, {"subfiletype": REDUCED}), mask, (MAIN, {}), **options)
    assert (shown(data) == MAIN).all()


def test_the_image_can_be_inside_the_directory_of_its_thumbnail() -> None:
    data = tiff_of((SMALL, {"subfiletype": REDUCED, "subifds": 1}), (MAIN, {}))
    assert (shown(data) == MAIN).all()


def test_the_old_tag_of_a_thumbnail_counts_too() -> None:
    data = tiff_of((SMALL, {"extratags": [(OLD_SUBFILE_TYPE, 3, 1, 2, True)]}), (MAIN, {}))
    assert (shown(data) == MAIN).all()


def test_an_image_of_16_bits_is_found_behind_its_thumbnail() -> None:
    data = tiff_of((SMALL, {"subfiletype": REDUCED}), (MAIN.astype(np.uint16) * 257, {"planarconfig": "contig"}))
    assert np.abs(shown(data).astype(int) - MAIN).max() <= 1


@pytest.mark.parametrize(
    "pages",
    [
        [(MAIN, {}), (SMALL, {"subfiletype": REDUCED})],
        [(MAIN, {}), (SMALL, {})],
        [(MAIN, {"subfiletype": REDUCED})],
        [(MAIN, {"subifds": 1}), (SMALL, {"subfiletype": REDUCED})],
    ],
)
def test_the_first_image_is_the_main_one_otherwise(pages: list[Page]) -> None:
    data = tiff_of(*pages)
    assert with_main_image_first(data) == data
    assert (shown(data) == MAIN).all()


def test_the_preview_of_a_camera_stands_for_what_its_sensor_saw() -> None:
    sensor = np.zeros((150, 200), np.uint16)
    data = tiff_of((SMALL, {"subfiletype": REDUCED, "subifds": 1}), (sensor, {"photometric": SENSOR_DATA}))
    assert (shown(data) == SMALL).all()


def test_directories_that_lead_back_or_nowhere_end_the_search() -> None:
    data = bytearray(tiff_of((SMALL, {"subfiletype": REDUCED})))
    start = int.from_bytes(data[4:8], "little")
    place = start + 2 + 12 * int.from_bytes(data[start : start + 2], "little")
    for following in (start, 1, len(data) - 1, 2**32 - 1):
        data[place : place + 4] = following.to_bytes(4, "little")
        assert with_main_image_first(bytes(data)) == data


def test_a_file_cut_off_anywhere_raises_no_error() -> None:
    data = tiff_of((SMALL, {"subfiletype": REDUCED, "subifds": 1}), (MAIN, {}))
    for end in range(4, 600):
        assert len(with_main_image_first(data[:end])) == end


def test_pillow_sees_the_same_first_image() -> None:
    data = tiff_of((SMALL, {"subfiletype": REDUCED}), (MAIN, {}))
    with Image.open(io.BytesIO(with_main_image_first(data))) as image:
        assert image.size == (200, 150)
