"""Decodes an image no larger than its vector needs, in bounded memory."""

import contextlib
import math
import warnings
from dataclasses import dataclass

from PIL import ExifTags, Image, ImageOps, Jpeg2KImagePlugin, JpegImagePlugin

from embedder.decoding.header import DAMAGED, open_image
from embedder.decoding.image_error import ImageError
from embedder.decoding.preprocessing import Preprocessing
from embedder.decoding.tones import ToneRange, to_rgb, tone_range

# How many times larger than the input an image is kept: less would be felt by the vectors.
KEPT_SCALE = 2.0
# From here on an image is converted band by band, so that no second full copy is ever held.
BAND_PIXELS = 4_000_000
# EXIF orientations that exchange width and height.
SIDEWAYS = range(5, 9)


@dataclass(frozen=True)
class Decoded:
    """An upright image in RGB. width, height: of the whole, of which `image` may be a reduced copy."""

    image: Image.Image
    width: int
    height: int


@dataclass(frozen=True)
class Decoder:
    """Turns encoded bytes into an upright RGB image. `formats` are those that `prepare_pillow` gave."""

    formats: tuple[str, ...]
    max_pixels: int
    preprocessing: Preprocessing
    exact: bool = False

    def decode(self, data: bytes) -> Decoded:
        """The first frame, upright, in RGB, on white; reduced towards the input's size unless `exact`.

        Raises ImageError.
        """
        with warnings.catch_warnings():
            # What Pillow warns of in a file is its sender's affair.
            warnings.simplefilter("ignore")
            return self._decode(data)

    def _decode(self, data: bytes) -> Decoded:
        image = self._opened(data)
        width, height = image.size
        try:
            with self._loaded(image, data) as image:
                orientation = _orientation(image)
                rgb = self._reduced(image, tone_range(image))
        except ImageError:
            raise
        except MemoryError:
            raise ImageError("image_too_large", "Decoding the image takes more memory than is allowed.") from None
        except DAMAGED:
            raise ImageError("decode_error", "The image is damaged or incomplete.") from None
        if orientation in SIDEWAYS:
            width, height = height, width
        return Decoded(_upright(rgb, orientation), width, height)

    def _opened(self, data: bytes) -> Image.Image:
        return open_image(data, formats=self.formats, max_pixels=self.max_pixels)

    def _loaded(self, image: Image.Image, data: bytes) -> Image.Image:
        if not self.exact:
            self._reduce_while_loading(image)
        try:
            image.load()
        except DAMAGED:
            if not isinstance(image, Jpeg2KImagePlugin.Jpeg2KImageFile):
                raise
            # Pillow rounds some reduced sizes as the decoder does not, and some files have fewer resolutions.
            image = self._opened(data)
            image.load()
        return image

    def _reduce_while_loading(self, image: Image.Image) -> None:
        scale = self._scale(image)
        if scale < 2:
            return
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            image.draft(image.mode, (max(1, int(image.width / scale)), max(1, int(image.height / scale))))
        elif isinstance(image, Jpeg2KImagePlugin.Jpeg2KImageFile):
            # Its wavelets blur otherwise than a resize does (cosine 0.991): the last halving is ours.
            with contextlib.suppress(AttributeError):
                image.reduce = int(math.log2(scale)) - 1

    def _scale(self, image: Image.Image) -> float:
        """How many times larger the image is than what is kept of it, along the side where it is least so."""
        width, height = self.preprocessing.resized(image.width, image.height)
        return min(image.width / width, image.height / height) / KEPT_SCALE

    def _reduced(self, image: Image.Image, tones: ToneRange | None) -> Image.Image:
        factor = 1 if self.exact else int(self._scale(image))
        if factor < 2:
            return to_rgb(image, tones)
        small = Image.new("RGB", (image.width // factor, image.height // factor))
        # What is no multiple of the factor is cut off evenly, for a rest would be stretched to a full pixel.
        left, first = image.width % factor // 2, image.height % factor // 2
        rows = max(1, BAND_PIXELS // image.width // factor) * factor
        for top in range(0, small.height * factor, rows):
            below = min(top + rows, small.height * factor)
            band = image.crop((left, first + top, left + small.width * factor, first + below))
            small.paste(to_rgb(band, tones).reduce(factor), (0, top // factor))
        return small


def _orientation(image: Image.Image) -> int:
    """EXIF orientation; 1 where there is none, or where the metadata is damaged and the pixels are not."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except DAMAGED:
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    if orientation not in range(2, 9):
        return image
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = orientation
    upright = ImageOps.exif_transpose(image)
    return image if upright is None else upright
