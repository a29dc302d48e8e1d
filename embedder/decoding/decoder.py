"""Decode an image in bounded memory, and no larger than the backbone needs it."""

import contextlib
import math
import warnings
from dataclasses import dataclass, field, replace

from PIL import Image, Jpeg2KImagePlugin, JpegImagePlugin, TiffImagePlugin

from embedder.decoding.colour import ColourConverter
from embedder.decoding.flattening import GREY_MODES, WIDE_GREY_MODES, Flattening
from embedder.decoding.formats import bmp_masks, cut_jpeg, gif_blocks, png_chunks, tiff_tags, wide_jpeg2000, wide_png
from embedder.decoding.formats.other_formats import unusual_jpeg
from embedder.decoding.formats.tiff_directories import PREFIXES as TIFF_PREFIXES
from embedder.decoding.formats.tiff_directories import is_tiff, with_main_image_first
from embedder.decoding.header import open_image
from embedder.decoding.image_error import ImageError, raising_image_error
from embedder.decoding.orientation import SIDEWAYS, read_orientation, stored_box, turn_upright
from embedder.decoding.preprocessing import Preprocessing
from embedder.decoding.profiles import profile_of
from servicekit.image_region import Box, Region

# A reduced image stays this many times larger than the backbone's input. Anything smaller changes the vectors.
KEPT_SCALE = 2.0
# Larger images are converted band by band, so that a second full copy never exists.
BAND_PIXELS = 4_000_000
# What a script may send before an image, and images after it.
LEADING, MAX_LEADING = b"\xef\xbb\xbf \t\r\n", 100
IMAGE_STARTS = (cut_jpeg.START, png_chunks.SIGNATURE, *gif_blocks.PREFIXES, *TIFF_PREFIXES, b"RIFF")
# A JPEG may lack a tenth of its bytes. Estimates are rough, but an image of which a third is missing is refused.
MAX_MISSING = 0.2


@dataclass(frozen=True)
class DecodedImage:
    """An upright RGB image, or a region of one, possibly reduced.

    full_size: its width and height before reduction. truncated: whether the file's end is missing.
    """

    image: Image.Image
    full_size: tuple[int, int]
    truncated: bool = False


@dataclass(frozen=True)
class Decoder:
    """Decodes images of the `formats` that `prepare_pillow` returned, up to `max_pixels`."""

    formats: tuple[str, ...]
    max_pixels: int
    preprocessing: Preprocessing
    colours: ColourConverter = field(default_factory=ColourConverter)

    def decode(self, data: bytes, region: Region | None = None) -> DecodedImage:
        """Return the first frame upright, in sRGB, on white, and reduced towards the size of the backbone's input.

        Of a TIFF, it is the first image that is no thumbnail and no mask of another.

        region: the part to return. It is cut from the full resolution, and reduced only as far as the backbone allows
        for an image of its size. Raises ImageError.
        """
        with warnings.catch_warnings():
            # Pillow warns about oddities in the file, which only its author could mend.
            warnings.simplefilter("ignore")
            data = with_main_image_first(_without_leading_text(data))
            if cut_jpeg.is_padded(data):
                return self._decode_cut(data, region)
            try:
                return replace(self._decode(data, region), truncated=cut_jpeg.lacks_end(data))
            except ImageError as error:
                if error.code in ("image_too_large", "image_too_slow"):
                    raise
                return self._decode_damaged(data, region, error)

    def _decode_damaged(self, data: bytes, region: Region | None, error: ImageError) -> DecodedImage:
        """Decode what is usable of a file that could not be decoded as it is. Raises `error` if nothing is."""
        if kind := unusual_jpeg(data):
            advice = "Save it as a usual JPEG of 8 bits."
            raise ImageError("decode_error", f"The image could not be decoded: it is {kind}. {advice}")
        if data.startswith(cut_jpeg.START):
            return self._decode_cut(data, region)
        mended = png_chunks.without_damaged_metadata(data)
        if mended is None:
            raise error
        return self._decode(mended, region)

    def _decode_cut(self, data: bytes, region: Region | None) -> DecodedImage:
        """Decode a JPEG without its end, if little of it is missing."""
        with raising_image_error("the file is damaged or incomplete"):
            completed = cut_jpeg.completed(data, self._decode_roughly)
        if completed is None or completed.missing > MAX_MISSING:
            raise ImageError("decode_error", "The image could not be decoded: a large part of the file is missing.")
        found = self._decode(completed.data, region)
        return DecodedImage(found.image, found.full_size, truncated=True)

    def _decode_roughly(self, data: bytes) -> Image.Image:
        """Return a JPEG at half its size."""
        image = self._open(data)
        image.draft(image.mode, (max(1, image.width // 2), max(1, image.height // 2)))
        image.load()
        return image

    def _decode(self, data: bytes, region: Region | None) -> DecodedImage:
        opened = self._open(data)
        with raising_image_error("the file is damaged or incomplete"):
            loaded, size = self._load(opened, data, region)
            with loaded:
                orientation = read_orientation(loaded)
                box = (0, 0, *size) if region is None else _stored_box(region, size, orientation)
                small = self._reduce(loaded, _scaled(box, size, loaded.size), self._flattening(loaded, data))
                in_srgb = self.colours.to_srgb(small, profile_of(loaded), grey=loaded.mode in GREY_MODES)
                upright = turn_upright(in_srgb, orientation)
        # Pillow writes some of the metadata into the files that it makes of an image, and fails if it does not fit.
        upright.info = {}
        return DecodedImage(upright, _turned(_size_of(box), orientation))

    def _flattening(self, image: Image.Image, data: bytes) -> Flattening:
        declared = png_chunks.declared_maximum(data) if image.mode in WIDE_GREY_MODES else 0.0
        return Flattening.of(image, declared)

    def _open(self, data: bytes) -> Image.Image:
        """Return an image whose header is read, or the whole image if only we can read its kind of file."""
        try:
            return open_image(data, formats=self.formats, max_pixels=self.max_pixels)
        except ImageError as error:
            if error.code == "not_an_image" and is_tiff(data):
                return self._read_wide_tiff(data)
            if error.code == "decode_error" and bmp_masks.has_masks(data):
                return self._read_masked_bmp(data)
            raise

    def _read_wide_tiff(self, data: bytes) -> Image.Image:
        # Most workers never need it, and it takes a tenth of a second to import.
        from embedder.decoding.formats.wide_tiff import read_wide_tiff

        with raising_image_error("the file is damaged or incomplete"):
            return read_wide_tiff(data, self.max_pixels)

    def _read_masked_bmp(self, data: bytes) -> Image.Image:
        with raising_image_error("the file is damaged or incomplete"):
            return bmp_masks.read_masked_bmp(data, self.max_pixels)

    def _load(self, image: Image.Image, data: bytes, region: Region | None) -> tuple[Image.Image, tuple[int, int]]:
        """Return the image with its pixels, and its size before its format's decoder reduced it."""
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            image = self._load_tiff(image, data)
            return image, image.size
        size, unpacker = image.size, wide_png.unpacker_of(image)
        png_chunks.mend_transparency(image)
        image = self._load_reduced(image, data, region)
        if isinstance(image, Jpeg2KImagePlugin.Jpeg2KImageFile):
            image = self._with_white(image, data, region)
        if gif_blocks.is_gif(data):
            image = gif_blocks.with_clear_margin(image, data)
        return image if unpacker is None else self._with_all_bits(image, unpacker, data), size

    def _with_white(self, image: Image.Image, data: bytes, region: Region | None) -> Image.Image:
        shifted = wide_jpeg2000.with_one_more_bit(data) if wide_jpeg2000.may_lack_white(image) else None
        if shifted is None:
            return image
        try:
            return wide_jpeg2000.with_white(image, self._load_reduced(self._open(shifted), shifted, region))
        except Exception:
            # The image without its white is still better than none.
            return image

    def _load_reduced(self, image: Image.Image, data: bytes, region: Region | None) -> Image.Image:
        """Return the image with its pixels, reduced by its format's decoder, if that allows it."""
        self._reduce_while_loading(image, region)
        try:
            image.load()
        except Exception as error:
            if isinstance(image, JpegImagePlugin.JpegImageFile) and region is not None:
                # The largest progressive files need too much memory in full resolution.
                scale = 2
            elif isinstance(image, Jpeg2KImagePlugin.Jpeg2KImageFile) and not isinstance(error, MemoryError):
                # Pillow and the JPEG 2000 decoder round some reduced sizes differently, and some files have fewer
                # resolutions than we ask for.
                scale = 1
            else:
                raise
        else:
            return image
        # Only now, because the error holds the memory of the first attempt.
        image.close()
        image = self._open(data)
        if scale > 1:
            image.draft(image.mode, (max(1, image.width // scale), max(1, image.height // scale)))
        image.load()
        return image

    def _load_tiff(self, image: TiffImagePlugin.TiffImageFile, data: bytes) -> Image.Image:
        if tiff_tags.is_misread(image):
            return self._read_wide_tiff(data)
        tiff_tags.mend_palette(image)
        is_wide = tiff_tags.is_wide_colour(image)
        try:
            image.load()
        except MemoryError:
            raise
        except Exception:
            # Pillow takes some layouts for others, such as planes of grey with alpha.
            return self._read_wide_tiff(data)
        return image if not is_wide or wide_png.uses_all_bits(image) else self._read_wide_tiff(data)

    def _with_all_bits(self, image: Image.Image, unpacker: str, data: bytes) -> Image.Image:
        """Return a colour PNG of 16 bits whose lower bytes are taken into account if the upper ones say too little."""
        if wide_png.uses_all_bits(image):
            return wide_png.with_transparency(image)
        lower = self._open(data)
        wide_png.select_lower_bytes(lower, unpacker)
        lower.load()
        return wide_png.in_8_bits(image, lower, unpacker, declared=png_chunks.declared_maximum(data))

    def _reduce_while_loading(self, image: Image.Image, region: Region | None) -> None:
        """Have the decoder itself reduce the image, if its format allows that and the region is large enough."""
        if not isinstance(image, JpegImagePlugin.JpegImageFile | Jpeg2KImagePlugin.Jpeg2KImageFile):
            return
        part = image.size if region is None else _size_of(_stored_box(region, image.size, read_orientation(image)))
        scale = self._scale(part)
        if scale < 2:
            return
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            image.draft(image.mode, (max(1, int(image.width / scale)), max(1, int(image.height / scale))))
        else:
            # Wavelets blur differently than a resize (cosine 0.991), so we leave the last halving to `_reduce`.
            with contextlib.suppress(AttributeError):
                image.reduce = int(math.log2(scale)) - 1

    def _scale(self, size: tuple[int, int]) -> float:
        """Return by which factor an image of this size can be reduced, along the side where that is least."""
        width, height = self.preprocessing.resized(*size)
        return min(size[0] / width, size[1] / height) / KEPT_SCALE

    def _reduce(self, image: Image.Image, box: Box, flattening: Flattening) -> Image.Image:
        """Return a part of an image, flattened and reduced."""
        width, height = _size_of(box)
        factor = int(self._scale((width, height)))
        if factor < 2:
            return flattening.apply(image if box == (0, 0, *image.size) else image.crop(box))
        small = Image.new(flattening.mode, (width // factor, height // factor))
        # Cut what exceeds a multiple of the factor off both sides: `Image.reduce` would stretch it to a full pixel.
        left, first = box[0] + width % factor // 2, box[1] + height % factor // 2
        rows = max(1, BAND_PIXELS // width // factor) * factor
        for top in range(0, small.height * factor, rows):
            bottom = min(top + rows, small.height * factor)
            band = image.crop((left, first + top, left + small.width * factor, first + bottom))
            small.paste(flattening.apply(band).reduce(factor), (0, top // factor))
        return small


def _without_leading_text(data: bytes) -> bytes:
    """Return a file without white space or a byte order mark before it, which faulty scripts send first."""
    if data[:1] not in LEADING:
        return data
    found = data[:MAX_LEADING].lstrip(LEADING) + data[MAX_LEADING:]
    return found if found.startswith(IMAGE_STARTS) else data


def _stored_box(region: Region, size: tuple[int, int], orientation: int) -> Box:
    """Return where a region is in an image that is not upright yet."""
    upright_size = _turned(size, orientation)
    return stored_box(region.box(upright_size), upright_size, orientation)


def _scaled(box: Box, size: tuple[int, int], reduced_size: tuple[int, int]) -> Box:
    """Return a box of an image of `size` in the reduced image: at least one pixel."""
    across, down = reduced_size[0] / size[0], reduced_size[1] / size[1]
    left, top = min(round(box[0] * across), reduced_size[0] - 1), min(round(box[1] * down), reduced_size[1] - 1)
    return left, top, max(round(box[2] * across), left + 1), max(round(box[3] * down), top + 1)


def _turned(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return the size of an image after it was turned upright, or before."""
    return (size[1], size[0]) if orientation in SIDEWAYS else size


def _size_of(box: Box) -> tuple[int, int]:
    return box[2] - box[0], box[3] - box[1]
