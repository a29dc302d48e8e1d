"""The images that are embedded: a folder's own, or crops of photographs that scikit-image and scikit-learn ship."""

import io
from pathlib import Path

from PIL import Image

from bench.parts.photographs import SUFFIXES

# A thumbnail or a small photograph, as it is found in repositories: 0.18 megapixels.
WIDTH, HEIGHT = 500, 360
CROPS = 4


def images_of(folder: Path | None) -> list[bytes]:
    """Encoded images. Raises SystemExit when there are none."""
    found = _own(folder) if folder else _shipped()
    if not found:
        raise SystemExit(f"no images in {folder or 'scikit-image: pip install scikit-image'}")
    return found


def _own(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES][:1000]


def _shipped() -> list[bytes]:
    import skimage
    import sklearn

    folders = (Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets" / "images")
    images = []
    for path in sorted(path for folder in folders for path in folder.iterdir()):
        if path.suffix.lower() in SUFFIXES:
            with Image.open(path) as photograph:
                images += _crops(photograph.convert("RGB"))
    return images


def _crops(photograph: Image.Image) -> list[bytes]:
    """Crops that overlap, each scaled to one size and encoded as a JPEG of quality 90."""
    encoded = []
    for index in range(CROPS):
        share = 1 - 0.1 * index
        width, height = int(photograph.width * share), int(photograph.height * share)
        crop = photograph.crop((photograph.width - width, 0, photograph.width, height))
        file = io.BytesIO()
        crop.resize((WIDTH, HEIGHT)).save(file, "JPEG", quality=90)
        encoded.append(file.getvalue())
    return encoded
