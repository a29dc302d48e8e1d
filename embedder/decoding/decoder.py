"""Decode an image in bounded memory, and no larger than the backbone needs it."""

import contextlib
import math
import warnings
from dataclasses import dataclass

from PIL import Image, Jpeg2KImagePlugin, JpegImagePlugin

from embedder.decoding.header import open_image
from embedder.decoding.image_error import raising_image_error
from embedder.decoding.orientation import SIDEWAYS, read_orientation, turn_upright
from embedder.decoding.preprocessing import Preprocessing
from embedder.decoding.rgb import GreyRange, grey_range, to_rgb

# A reduced image stays this many times larger than the backbone's input. Anything smaller changes the vectors.
KEPT_SCALE = 2.0
# Larger images are converted band by band, so that a second full copy never exists.
BAND_PIXELS = 4_000_000


@dataclass(frozen=True)
class DecodedImage:
    """An upright RGB image, possibly reduced. full_size: width and height of the upright image before reduction."""

    image: Image.Image
    full_size: tuple[int, int]


@dataclass(frozen=True)
class Decoder:
    """Decodes images of the `formats` that `prepare_pillow` returned, up to `max_pixels`."""

    formats: tuple[str, ...]
    max_pixels: int
    preprocessing: Preprocessing

    def decode(self, data: bytes) -> DecodedImage:
        """Return the first frame upright, in RGB, on white, and reduced towards the size of the backbone's input.

        Raises ImageError.
        """
        with warnings.catch_warnings():
            # Pillow warns about oddities in the file, which only its author could mend.
            warnings.simplefilter("ignore")
            return self._decode(data)

    def _decode(self, data: bytes) -> DecodedImage:
        opened = self._open(data)
        width, height = opened.size
        with raising_image_error("the file is damaged or incomplete"), self._load(opened, data) as loaded:
            orientation = read_orientation(loaded)
            upright = turn_upright(self._reduce(loaded, grey_range(loaded)), orientation)
        return DecodedImage(upright, (height, width) if orientation in SIDEWAYS else (width, height))

    def _open(self, data: bytes) -> Image.Image:
        return open_image(data, formats=self.formats, max_pixels=self.max_pixels)

    def _load(self, image: Image.Image, data: bytes) -> Image.Image:
        self._reduce_while_loading(image)
        try:
            image.load()
        except Exception as error:
            if isinstance(error, MemoryError) or not isinstance(image, Jpeg2KImagePlugin.Jpeg2KImageFile):
                raise
            # Pillow and the JPEG 2000 decoder round some reduced sizes differently, and some files have fewer
            # resolutions than we ask for.
            image = self._open(data)
            image.load()
        return image

    def _reduce_while_loading(self, image: Image.Image) -> None:
        """Have the decoder itself reduce the image, if its format allows that."""
        scale = self._scale(image)
        if scale < 2:
            return
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            image.draft(image.mode, (max(1, int(image.width / scale)), max(1, int(image.height / scale))))
        elif isinstance(image, Jpeg2KImagePlugin.Jpeg2KImageFile):
            # Wavelets blur differently than a resize (cosine 0.991), so we leave the last halving to `_reduce`.
            with contextlib.suppress(AttributeError):
                image.reduce = int(math.log2(scale)) - 1

    def _scale(self, image: Image.Image) -> float:
        """Return by which factor the image can be reduced, along the side where that is least."""
        width, height = self.preprocessing.resized(image.width, image.height)
        return min(image.width / width, image.height / height) / KEPT_SCALE

    def _reduce(self, image: Image.Image, grey: GreyRange | None) -> Image.Image:
        factor = int(self._scale(image))
        if factor < 2:
            return to_rgb(image, grey)
        small = Image.new("RGB", (image.width // factor, image.height // factor))
        # Cut what exceeds a multiple of the factor off both sides: `Image.reduce` would stretch it to a full pixel.
        left, first = image.width % factor // 2, image.height % factor // 2
        rows = max(1, BAND_PIXELS // image.width // factor) * factor
        for top in range(0, small.height * factor, rows):
            bottom = min(top + rows, small.height * factor)
            band = image.crop((left, first + top, left + small.width * factor, first + bottom))
            small.paste(to_rgb(band, grey).reduce(factor), (0, top // factor))
        return small
