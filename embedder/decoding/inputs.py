"""Turn an encoded image into a backbone's inputs: the image itself, and its augmented views if the caller wants any."""

from dataclasses import dataclass

from embedder.decoding.decoder import Decoder
from embedder.decoding.image_error import raising_image_error
from embedder.decoding.miniature import miniature
from embedder.decoding.resize import resize_and_crop
from embedder.decoding.views import augmented_views, middle_of
from embedder.engines.engine import Pixels
from servicekit.image_region import Region


@dataclass(frozen=True)
class Inputs:
    """The pixels [height, width, 3] of an image, if it is wanted, and of each of its views.

    warnings: codes of what was wrong with the image. "truncated": its file lacks its end. miniature: [height, width];
    None unless the caller wants one.
    """

    pixels: list[Pixels]
    warnings: list[str]
    miniature: Pixels | None = None

    @property
    def grey_values(self) -> bytes:
        """The miniature, row by row; empty without one."""
        return b"" if self.miniature is None else self.miniature.tobytes()

    @property
    def grey_width(self) -> int:
        """The width of the miniature; 0 without one."""
        return 0 if self.miniature is None else self.miniature.shape[1]


def prepare_inputs(
    decoder: Decoder,
    image: bytes,
    views: int,
    seed: int,
    region: Region | None = None,
    *,
    whole: bool = True,
    with_miniature: bool = False,
) -> Inputs:
    """Decode an image once and return what the backbone takes of it and of its views.

    region: the part that counts as the image; None: all of it. whole: whether the image itself is wanted, or its views
    alone. Raises ImageError, and no other exception, whatever the bytes are.
    """
    with raising_image_error("the file is damaged"):
        decoded = decoder.decode(image, region)
    with raising_image_error("it could not be resized"):
        pixels = [resize_and_crop(decoded.image, decoder.preprocessing, decoded.full_size)] if whole else []
        augmented = augmented_views(middle_of(decoded.image), views, seed) if views else ()
        pixels += [resize_and_crop(view, decoder.preprocessing) for view in augmented]
        small = miniature(decoded.image) if with_miniature else None
    return Inputs(pixels, ["truncated"] if decoded.truncated else [], small)
