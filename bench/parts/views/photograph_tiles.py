"""Tiles of photographs, for collections that are larger than the number of photographs at hand."""

import io

from PIL import Image

# Each photograph has TILES rows of TILES tiles.
TILES = 3


def tiles(photograph: bytes) -> list[bytes]:
    """Return the tiles of a photograph as JPEG. They do not overlap, so no two of them are the same picture.

    Tiles of a photograph are alike, as are images of a kind. They are coarser than photographs.
    """
    image = Image.open(io.BytesIO(photograph)).convert("RGB")
    found = []
    for row in range(TILES):
        for column in range(TILES):
            box = (
                *(column * image.width // TILES, row * image.height // TILES),
                *((column + 1) * image.width // TILES, (row + 1) * image.height // TILES),
            )
            out = io.BytesIO()
            image.crop(box).save(out, "JPEG", quality=90)
            found.append(out.getvalue())
    return found
