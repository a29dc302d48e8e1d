"""From encoded bytes to a backbone's inputs: the image, and its augmented views if any are asked for."""

from embedder.decoding.decode import Decoder
from embedder.decoding.fit import fit
from embedder.decoding.header import DAMAGED
from embedder.decoding.image_error import ImageError
from embedder.decoding.views import augmented_views
from embedder.engines.engine import Pixels


def inputs_of(decoder: Decoder, image: bytes, views: int, seed: int) -> list[Pixels]:
    """Pixels [height, width, 3] of the image and of each view, from one decode. Raises ImageError, and nothing else."""
    decoded = decoder.decode(image)
    try:
        whole = fit(decoded.image, decoder.preprocessing, (decoded.width, decoded.height))
        return [whole, *(fit(view, decoder.preprocessing) for view in augmented_views(decoded.image, views, seed))]
    except MemoryError:
        raise ImageError("image_too_large", "Resizing the image takes more memory than is allowed.") from None
    except DAMAGED:
        raise ImageError("decode_error", "The image cannot be resized.") from None
