"""The canary: an image whose vector is known. An engine that returns this vector works."""

import io

import numpy as np
from PIL import Image

from embedder.engines.engine import EngineError, Vectors

SIDE = 320
MIN_COSINE = 0.99


def canary_image() -> bytes:
    """Return a PNG with gradients, a grid and a disc. Its pixels are the same on every machine."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    red = columns * 255 // SIDE
    green = rows * 255 // SIDE
    blue = ((columns // 20 + rows // 20) % 2) * 200
    disc = (columns - 120) ** 2 + (rows - 180) ** 2 < 70**2
    pixels = np.stack([np.where(disc, 230, red), np.where(disc, 40, green), blue], axis=2).astype(np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    return encoded.getvalue()


def cosine(a: Vectors, b: Vectors) -> float:
    """Return the cosine of two vectors, or 0 if one of them is zero or not finite."""
    lengths = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return float(a @ b) / lengths if np.isfinite(lengths) and lengths > 0 else 0.0


def check_canary(vectors: Vectors, expected: Vectors | None) -> None:
    """Raise EngineError unless the first vector is `expected` or, if that is None, the vectors are plausible."""
    if expected is None:
        if not np.isfinite(vectors).all() or not vectors.any():
            raise EngineError("the engine returns vectors that are zero or not finite")
    elif (found := cosine(vectors[0], expected)) < MIN_COSINE:
        raise EngineError(f"the vectors of the engine differ from those of torch: cosine {found:.4f}")
