"""The images that the embedder's benchmark embeds."""

import io
from pathlib import Path

from PIL import Image

from bench.parts.photographs import SUFFIXES

# 0.18 megapixels: the size of thumbnails and small photographs in repositories.
WIDTH, HEIGHT = 500, 360
CROPS = 4
MAX_IMAGES = 1000


def sample_images(folder: str, size: tuple[int, int] = (WIDTH, HEIGHT), most: int = MAX_IMAGES) -> list[bytes]:
    """Return the encoded images of a folder, or if it is "", crops of photographs in scikit-image and scikit-learn.

    size: of the crops. most: how many. Raises SystemExit if there are no images.
    """
    images = _own(Path(folder), most) if folder else _shipped(size, most)
    if not images:
        raise SystemExit(f"no images in {folder or 'scikit-image: pip install scikit-image'}")
    return images


def _own(folder: Path, most: int) -> list[bytes]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return [path.read_bytes() for path in files[:most]]


def shipped_photographs() -> list[Path]:
    """Return the files of the photographs in scikit-image and scikit-learn."""
    import skimage
    import sklearn

    folders = (Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets" / "images")
    files = sorted(path for folder in folders for path in folder.iterdir())
    return [path for path in files if path.suffix.lower() in SUFFIXES]


def _shipped(size: tuple[int, int], most: int) -> list[bytes]:
    images: list[bytes] = []
    for path in shipped_photographs():
        if len(images) < most:
            with Image.open(path) as photograph:
                images += _crops(photograph.convert("RGB"), size)
    return images[:most]


def _crops(photograph: Image.Image, size: tuple[int, int]) -> list[bytes]:
    """Return overlapping crops, scaled to one size and encoded as JPEGs of quality 90."""
    encoded = []
    for index in range(CROPS):
        share = 1 - 0.1 * index
        width, height = int(photograph.width * share), int(photograph.height * share)
        crop = photograph.crop((photograph.width - width, 0, photograph.width, height))
        file = io.BytesIO()
        crop.resize(size).save(file, "JPEG", quality=90)
        encoded.append(file.getvalue())
    return encoded
