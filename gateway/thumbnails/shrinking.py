"""The shrink process: decode one image at a time and make a small JPEG of it, outside the gateway's own process.

It receives frames with a JSON header, `{"side": 640}`, and an encoded image as the body. It answers each with a JPEG,
or with a header that has the `code` and the `message` of what is wrong with the image. It exits when the gateway hangs
up. An image that needs too much memory or time costs this process only.
"""

import io
import json
import resource
import sys
import warnings
from typing import cast

from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from servicekit.process.parent_link import ParentLink
from servicekit.process.priority import step_back

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "AVIF")
MAX_PIXELS = 50_000_000
MEMORY_BYTES = 1 << 30
QUALITY = 82
# Larger colour profiles are left out: they can be larger than the thumbnail.
PROFILE_BYTES = 16 * 1024
# Searches come first.
NICENESS = 5


class NotShrinkable(Exception):
    """An image of which no thumbnail can be made. code: one of the reasons of failures."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def shrink(data: bytes, side: int) -> bytes:
    """Return the image as a JPEG whose longer side has at most `side` pixels. Raises NotShrinkable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _shrunk(data, side)
    except NotShrinkable:
        raise
    except MemoryError:
        raise NotShrinkable("image_too_large", "The image needs too much memory.") from None
    except Exception:
        raise NotShrinkable("decode_error", "The image is damaged.") from None


def _shrunk(data: bytes, side: int) -> bytes:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise NotShrinkable("not_an_image", "The file is not an image in a supported format.") from None
    if image.width * image.height > MAX_PIXELS:
        raise NotShrinkable("image_too_large", f"The image has more than {MAX_PIXELS:,} pixels.")
    # JPEGs are decoded at a fraction of their size.
    image.draft("RGB", (2 * side, 2 * side))
    profile = image.info.get("icc_profile") or b""
    keeps_profile = image.mode == "RGB" and len(profile) <= PROFILE_BYTES
    small = _in_8_bits(image)
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    upright = ImageOps.exif_transpose(small)
    buffer = io.BytesIO()
    _on_white(upright).save(
        buffer, "JPEG", quality=QUALITY, optimize=True, icc_profile=profile if keeps_profile else None
    )
    return buffer.getvalue()


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Return an image with 8 bits a channel. Wider values are spread between the darkest and the lightest."""
    if image.mode == "F" or image.mode.startswith("I"):
        wide = image.convert("F")
        # An image with several bands would have a pair for each.
        low, high = cast("tuple[float, float]", wide.getextrema())
        scale = 255 / (high - low) if high > low else 0.0
        return wide.point(lambda value: value * scale - low * scale).convert("L")
    if image.mode in ("P", "PA", "LA") or "transparency" in image.info:
        return image.convert("RGBA")
    return image if image.mode in ("RGB", "RGBA", "L") else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def answer(header: bytes, image: bytes) -> tuple[bytes, bytes]:
    """Return the header and the body that answer a request."""
    try:
        return b"{}", shrink(image, json.loads(header)["side"])
    except NotShrinkable as error:
        return json.dumps({"code": error.code, "message": error.message}).encode(), b""


def main() -> int:
    """Serve until the gateway hangs up."""
    link = ParentLink.open(int(sys.argv[1]))
    step_back(NICENESS)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    # We check the number of pixels ourselves. A file that lacks its end shows what it has.
    Image.MAX_IMAGE_PIXELS = None
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        while True:
            for header, image in link.receive():
                link.send(*answer(header, image))
    except (EOFError, ConnectionError):
        return 0


if __name__ == "__main__":
    sys.exit(main())
