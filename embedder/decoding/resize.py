"""Resize and crop a decoded image to a backbone's input."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.decoding.preprocessing import Preprocessing

REDUCING_GAP = 3.0


def resize_and_crop(
    image: Image.Image, preprocessing: Preprocessing, full_size: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """Return the pixels [crop_height, crop_width, 3] of an RGB image after resize and centre crop.

    full_size: width and height of the image that this one was reduced from. The resize rounds to whole pixels, and
    rounding from the reduced size moves the crop by a pixel, which changes the vector (cosine 0.988).

    Only the pixels inside the crop are resized, so that a strip of 1 × 50,000,000 pixels costs no more than any other
    image. The part of the crop outside the resized image is black.
    """
    width, height = preprocessing.resized(*(full_size or image.size))
    crop_width, crop_height = preprocessing.crop_width, preprocessing.crop_height
    kept_width, kept_height = min(width, crop_width), min(height, crop_height)
    left, top = (width - kept_width) // 2, (height - kept_height) // 2
    across, down = image.width / width, image.height / height
    box = (left * across, top * down, (left + kept_width) * across, (top + kept_height) * down)
    box = (box[0], box[1], min(box[2], image.width), min(box[3], image.height))
    resized = image.resize(
        (kept_width, kept_height), Image.Resampling(preprocessing.resample), box=box, reducing_gap=REDUCING_GAP
    )
    pixels = np.asarray(resized)
    if (kept_height, kept_width) == (crop_height, crop_width):
        return pixels
    padded = np.zeros((crop_height, crop_width, 3), np.uint8)
    above, before = (crop_height - kept_height) // 2, (crop_width - kept_width) // 2
    padded[above : above + kept_height, before : before + kept_width] = pixels
    return padded
