"""Turn an encoded image into a backbone's inputs: the image itself, and its augmented views if the caller wants any."""

from dataclasses import dataclass

from embedder.decoding.decoder import Decoder
from embedder.decoding.image_error import raising_image_error
from embedder.decoding.resize import resize_and_crop
from embedder.decoding.views import augmented_views, middle_of
from embedder.engines.engine import Pixels
from servicekit.image_region import Region


@dataclass(frozen=True)
class Inputs:
    """The pixels [height, width, 3] of an image and of each of its views.

    warnings: codes of what was wrong with the image. "truncated": its file lacks its end.
    """

    pixels: list[Pixels]
    warnings: list[str]


def prepare_inputs(decoder: Decoder, image: bytes, views: int, seed: int, region: Region | None = None) -> Inputs:
    """Decode an image once and return what the backbone takes of it and of its views.

    region: the part that counts as the image; None: all of it. Raises ImageError, and no other exception, whatever the
    bytes are.
    """
    with raising_image_error("the file is damaged"):
        decoded = decoder.decode(image, region)
    with raising_image_error("it could not be resized"):
        whole = resize_and_crop(decoded.image, decoder.preprocessing, decoded.full_size)
        augmented = augmented_views(middle_of(decoded.image), views, seed) if views else ()
        pixels = [whole, *(resize_and_crop(view, decoder.preprocessing) for view in augmented)]
    return Inputs(pixels, ["truncated"] if decoded.truncated else [])
