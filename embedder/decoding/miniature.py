"""Miniatures: small grey pictures of whole images. The trainer compares them to find duplicates."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 32


def miniature(image: Image.Image) -> NDArray[np.uint8]:
    """Return the grey values [height, width] of an RGB image whose longer side is SIDE. No side is empty."""
    scale = SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.asarray(small.convert("L"))
