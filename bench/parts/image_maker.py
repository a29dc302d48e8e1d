"""Make any number of different images: `python -m bench.parts.image_maker PHOTOGRAPHS FOLDER`.

Each blends crops of two photographs, mirrored and with other colours, so that no two of them look alike to a backbone.
Image n is always the same. PHOTOGRAPHS is a folder, or "" for the photographs in scikit-image and scikit-learn.
"""

import io
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image

from bench.parts.measuring_process import Answer, MeasuringProcess, answer_commands
from bench.parts.photographs import image_files
from bench.parts.sample_images import HEIGHT, WIDTH, shipped_photographs
from embedder.hardware import usable_cores

# Photographs are kept no larger than this, in pixels of their longer side.
LONGEST = 1600
QUALITY = 90
# The share of a photograph's width and height that a crop has.
SMALLEST_CROP, LARGEST_CROP = 0.35, 0.9
# How much of the first photograph is seen in the blend.
LEAST_SHARE, LARGEST_SHARE = 0.5, 0.85
AT_ONCE = 50


class ImageMaker:
    """Makes images of photographs."""

    def __init__(self, photographs: Sequence[Path], folder: Path) -> None:
        """folder: where images are written, as NUMBER.jpg. Those that are there already are not made again."""
        self._photographs = [_opened(file) for file in photographs]
        self._folder = folder

    def make(self, first: int, last: int) -> Answer:
        """Make the images from `first` to before `last`, and return how many were missing."""
        made = 0
        for number in range(first, last):
            file = self._folder / image_name(number)
            if not file.exists():
                partial = file.with_suffix(".partial")
                partial.write_bytes(self._image(number))
                partial.replace(file)
                made += 1
        return {"made": made}

    def _image(self, number: int) -> bytes:
        random = np.random.default_rng(number)
        first, second = random.choice(len(self._photographs), 2, replace=len(self._photographs) < 2)
        share = random.uniform(LEAST_SHARE, LARGEST_SHARE)
        blended = Image.blend(self._crop(int(second), random), self._crop(int(first), random), float(share))
        file = io.BytesIO()
        blended.save(file, "JPEG", quality=QUALITY)
        return file.getvalue()

    def _crop(self, photograph: int, random: np.random.Generator) -> Image.Image:
        image = self._photographs[photograph]
        width, height = (int(side * random.uniform(SMALLEST_CROP, LARGEST_CROP)) for side in image.size)
        left, top = int(random.integers(image.width - width)), int(random.integers(image.height - height))
        crop = image.crop((left, top, left + width, top + height)).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
        if random.integers(2):
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        channels = crop.split()
        return Image.merge("RGB", [channels[place] for place in random.permutation(3)])


def image_name(number: int) -> str:
    """Return the name of an image's file."""
    return f"{number}.jpg"


def make_images(number: int, photographs: Path | None, folder: Path, said: Callable[[str], None]) -> list[str]:
    """Make the first `number` images in a folder, on all cores, and return their names. said: gets the progress."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        makers = []
        for _ in range(usable_cores()):
            makers.append(MeasuringProcess("image_maker", str(photographs or ""), str(folder)))
            stack.callback(makers[-1].close)
        step = AT_ONCE * len(makers)
        for start in range(0, number, step):
            for place, maker in enumerate(makers):
                first = start + place * AT_ONCE
                maker.begin(do="make", first=first, last=max(first, min(first + AT_ONCE, number)))
            for maker in makers:
                maker.result()
            said(f"{min(start + step, number):,} of {number:,} images are made")
    return [image_name(place) for place in range(number)]


def _opened(file: Path) -> Image.Image:
    image = Image.open(file).convert("RGB")
    image.thumbnail((LONGEST, LONGEST))
    return image


def _photographs(folder: str) -> list[Path]:
    found = image_files(Path(folder)) if folder else shipped_photographs()
    if not found:
        raise SystemExit(f"no images in {folder or 'scikit-image'}")
    return found


if __name__ == "__main__":
    answer_commands({"make": ImageMaker(_photographs(sys.argv[1]), Path(sys.argv[2])).make})
