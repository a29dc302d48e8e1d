"""Turn an encoded image into a backbone's inputs: the image itself, and its augmented views if the caller wants any."""

from embedder.decoding.decoder import Decoder
from embedder.decoding.image_error import raising_image_error
from embedder.decoding.resize import resize_and_crop
from embedder.decoding.views import augmented_views
from embedder.engines.engine import Pixels


def prepare_inputs(decoder: Decoder, image: bytes, views: int, seed: int) -> list[Pixels]:
    """Decode an image once and return the pixels [height, width, 3] of the image and of each view.

    Raises ImageError, and no other exception, whatever the bytes are.
    """
    decoded = decoder.decode(image)
    with raising_image_error("it could not be resized"):
        whole = resize_and_crop(decoded.image, decoder.preprocessing, decoded.full_size)
        augmented = augmented_views(decoded.image, views, seed)
        return [whole, *(resize_and_crop(view, decoder.preprocessing) for view in augmented)]
