"""Open an encoded image and check its header, before any pixel is decoded."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import AvifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, UnidentifiedImageError

from embedder.decoding.effort import check_effort, check_scans
from embedder.decoding.formats import gif_blocks
from embedder.decoding.formats.other_formats import other_format
from embedder.decoding.formats.png_chunks import MAX_METADATA_BYTES
from embedder.decoding.image_error import ImageError, raising_image_error

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "JPEG2000")
HEIF = "HEIF"
DISPLAY_NAMES = {"WEBP": "WebP", "JPEG2000": "JPEG 2000"}


def prepare_pillow() -> tuple[str, ...]:
    """Configure Pillow for this process and return the supported formats, with HEIF if its plugin is installed."""
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    # Pillow allows 1 MiB, and profiles of printers and histories of edits are larger.
    PngImagePlugin.MAX_TEXT_CHUNK = MAX_METADATA_BYTES
    # Pillow refuses a JPEG whose EXIF resolution is an empty text. We do not need the resolution.
    setattr(JpegImagePlugin.JpegImageFile, "_read_dpi_from_exif", _skip)  # noqa: B010 - the type checker objects
    try:
        import pillow_heif
    except ImportError:
        return FORMATS
    pillow_heif.register_heif_opener(thumbnails=False)
    return (*FORMATS, HEIF)


def _skip(_: Image.Image) -> None:
    """Do nothing, in place of a method of Pillow."""


def open_image(data: bytes, *, formats: tuple[str, ...], max_pixels: int) -> Image.Image:
    """Return the image with its header read and its size checked, but no pixel decoded.

    Raises ImageError: not_an_image, decode_error for a damaged header, image_too_large, image_too_slow.
    """
    if not data:
        raise ImageError("not_an_image", "The image is empty.")
    check_size(_webp_canvas(data), max_pixels)
    check_effort(data)
    # Pillow allocates what the first frame covers when it opens the file, and the frame may be larger than the image.
    if gif_blocks.is_gif(data):
        frame = gif_blocks.gif_start(data).frame
        check_size(None if frame is None else frame[2:], max_pixels)
    with raising_image_error("its header is damaged"), _limit_of_pillow(max_pixels):
        try:
            image = Image.open(io.BytesIO(data), formats=formats)
        except Image.DecompressionBombError:
            message = f"A part of the image has more than {max_pixels / 1e6:g} megapixels, which is the limit."
            raise ImageError("image_too_large", message) from None
        except UnidentifiedImageError:
            supported = ", ".join(DISPLAY_NAMES.get(name, name) for name in formats)
            kind = other_format(data)
            what = "The image has an unknown format" if kind is None else f"The file is {kind}"
            raise ImageError("not_an_image", f"{what}. Supported formats: {supported}.") from None
    check_size(image.size, max_pixels)
    check_scans(data, image)
    return image


@contextmanager
def _limit_of_pillow(max_pixels: int) -> Iterator[None]:
    """Make Pillow fail at twice this number of pixels while entered, also where a part of the image is larger."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def check_size(size: tuple[int, int] | None, max_pixels: int) -> None:
    """Raise ImageError if an image of this width and height is too large, or if one of them is 0."""
    if size is None:
        return
    width, height = size
    if width < 1 or height < 1:
        raise ImageError("decode_error", "The image could not be decoded: its width or height is 0.")
    if width * height > max_pixels:
        raise ImageError(
            "image_too_large",
            f"The image has {width} × {height} pixels. The limit is {max_pixels / 1e6:g} megapixels.",
        )


def _webp_canvas(data: bytes) -> tuple[int, int] | None:
    """Return the canvas size of an extended WebP, because its decoder allocates the canvas when it opens the file."""
    if len(data) < 30 or data[:4] != b"RIFF" or data[8:16] != b"WEBPVP8X":
        return None
    return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
