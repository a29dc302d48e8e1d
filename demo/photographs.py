"""Free photographs that come with scikit-image and scikit-learn, and views of them.

Each photograph is one object of a repository. Its views (the whole image and overlapping parts) share the object's
URL.
"""

import io
from dataclasses import dataclass
from importlib.resources import files

from PIL import Image, ImageFilter

REPOSITORY = "https://repository.example.org"
PACKAGES = {
    "skimage": (
        *("astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "clock_motion.png", "coffee.png"),
        *("coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "page.png"),
        *("retina.jpg", "rocket.jpg", "text.png"),
    ),
    "sklearn": ("china.jpg", "flower.jpg"),
}
FOLDERS = {"skimage": ("data",), "sklearn": ("datasets", "images")}
# Two photographs of one object.
STEREO = ("motorcycle_left.png", "motorcycle_right.png")
HELD_OUT = "rocket"
# Parts of a photograph as fractions: left, upper, right, lower.
PARTS = {
    "whole": (0.0, 0.0, 1.0, 1.0),
    "left": (0.0, 0.1, 0.65, 0.95),
    "right": (0.35, 0.05, 1.0, 0.9),
}


@dataclass(frozen=True)
class View:
    """One image of the collection, as JPEG. `repo_url` is the entry of the object in it."""

    name: str
    jpeg: bytes
    repo_url: str


def collection() -> list[View]:
    """Return all views, except those of the photograph that is held out."""
    views = []
    for package, names in PACKAGES.items():
        for name in names:
            title = name.partition(".")[0]
            if title != HELD_OUT:
                photograph = _open(package, name)
                views += [_view(title, part, _part(photograph, box)) for part, box in PARTS.items()]
    return views + [_view("motorcycle", name.partition(".")[0], _open("skimage", name)) for name in STEREO]


def distorted() -> bytes:
    """Return a part of `chelsea`: rotated, smaller, blurred and strongly compressed."""
    crop = _part(_open("skimage", "chelsea.png"), (0.15, 0.05, 0.85, 0.95))
    rotated = crop.rotate(4, expand=False, resample=Image.Resampling.BICUBIC)
    small = rotated.resize((rotated.width // 2, rotated.height // 2)).filter(ImageFilter.GaussianBlur(1))
    return _jpeg(small, quality=35)


def held_out() -> bytes:
    """Return a photograph that is not in the collection."""
    return _jpeg(_open("skimage", f"{HELD_OUT}.jpg"))


def repo_url(title: str) -> str:
    """Return the repository's entry for the photograph `title`."""
    return f"{REPOSITORY}/{title}"


def _open(package: str, name: str) -> Image.Image:
    with files(package).joinpath(*FOLDERS[package], name).open("rb") as file, Image.open(file) as image:
        return image.convert("RGB")


def _part(image: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    left, upper, right, lower = box
    return image.crop(
        (
            round(left * image.width),
            round(upper * image.height),
            round(right * image.width),
            round(lower * image.height),
        )
    )


def _view(title: str, part: str, image: Image.Image) -> View:
    return View(f"{title}-{part}.jpg", _jpeg(image), repo_url(title))


def _jpeg(image: Image.Image, *, quality: int = 90) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
