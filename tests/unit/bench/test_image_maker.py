"""Images that are made for benchmarks of indexing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.parts.image_maker import ImageMaker


@pytest.fixture
def photographs(tmp_path: Path) -> list[Path]:
    random = np.random.default_rng(0)
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for file in files:
        Image.fromarray(random.integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(file)
    return files


def made(photographs: list[Path], folder: Path, first: int, last: int) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    ImageMaker(photographs, folder).make(first, last)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_each_number_is_always_the_same_image_and_another_one_than_the_others(
    photographs: list[Path], tmp_path: Path
) -> None:
    together = made(photographs, tmp_path / "a", 0, 6)
    assert set(together) == {f"{number}.jpg" for number in range(6)}
    assert len(set(together.values())) == 6
    alone = made(photographs, tmp_path / "b", 4, 5)
    assert alone == {"4.jpg": together["4.jpg"]}
    with Image.open(tmp_path / "b" / "4.jpg") as image:
        assert image.size == (500, 360)


def test_an_image_that_is_there_is_not_made_again(photographs: list[Path], tmp_path: Path) -> None:
    maker = ImageMaker(photographs, tmp_path)
    assert maker.make(0, 2) == {"made": 2}
    (tmp_path / "0.jpg").write_bytes(b"kept")
    assert maker.make(0, 3) == {"made": 1}
    assert (tmp_path / "0.jpg").read_bytes() == b"kept"


def test_one_photograph_is_enough(photographs: list[Path], tmp_path: Path) -> None:
    assert len(made(photographs[:1], tmp_path / "one", 0, 2)) == 2
