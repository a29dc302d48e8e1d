"""What an encoded image says of itself, read before any pixel is."""

import io
import struct

from PIL import AvifImagePlugin, Image, UnidentifiedImageError

from embedder.decoding.image_error import ImageError

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "JPEG2000")
HEIF = "HEIF"
# Everything that opening or loading a damaged file has been seen to raise in Pillow.
DAMAGE = (OSError, SyntaxError, ValueError, KeyError, IndexError, TypeError, EOFError, OverflowError, struct.error)
DAMAGED = (*DAMAGE, ZeroDivisionError, AttributeError, NotImplementedError, RuntimeError)


def prepare_pillow() -> tuple[str, ...]:
    """Sets up Pillow in this process and gives the formats that are read: HEIF too if its plugin is installed."""
    # The limit is checked here, exactly, and not at twice its value.
    Image.MAX_IMAGE_PIXELS = None
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    try:
        import pillow_heif
    except ImportError:
        return FORMATS
    pillow_heif.register_heif_opener(thumbnails=False)
    return (*FORMATS, HEIF)


def open_image(data: bytes, *, formats: tuple[str, ...], max_pixels: int) -> Image.Image:
    """The image with its header read and its size checked; no pixel is decoded yet.

    Raises ImageError: not_an_image, decode_error (a damaged header), image_too_large.
    """
    if not data:
        raise ImageError("not_an_image", "The image is empty.")
    _check_size(_webp_size(data), max_pixels)
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError:
        known = ", ".join("JPEG 2000" if name == "JPEG2000" else name for name in formats)
        raise ImageError("not_an_image", f"The data is not an image of a known format ({known}).") from None
    except MemoryError:
        raise ImageError("image_too_large", "Reading the image takes more memory than is allowed.") from None
    except DAMAGED:
        raise ImageError("decode_error", "The header of the image is damaged.") from None
    _check_size(image.size, max_pixels)
    return image


def _check_size(size: tuple[int, int] | None, max_pixels: int) -> None:
    if size is None:
        return
    width, height = size
    if width < 1 or height < 1:
        raise ImageError("decode_error", "The image has no pixels.")
    if width * height > max_pixels:
        raise ImageError(
            "image_too_large",
            f"The image has {width} × {height} pixels; at most {max_pixels / 1e6:g} megapixels are allowed.",
        )


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """Canvas of an extended WebP: its decoder allocates the whole canvas as soon as the file is opened."""
    if len(data) < 30 or data[:4] != b"RIFF" or data[8:16] != b"WEBPVP8X":
        return None
    return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
