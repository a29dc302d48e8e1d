"""Views of an object made from one photograph, for collections with small entries.

Each view is a different part of the photograph, seen from another angle and in other light. Views that are made like
this are easier than photographs of an object: the camera, the background and the moment are the same, and no view shows
another side of the object. They are harder than the augmented views that training uses: two of them may overlap little.
"""

import io
import random

from PIL import Image, ImageEnhance, ImageFilter

# The share of the photograph's area that a view shows, and how far its corners are moved, as a share of its sides.
SHOWN = (0.25, 0.6)
TILT = 0.15
TURN = 25.0


def object_view(photograph: Image.Image, chance: random.Random, shown: tuple[float, float] = SHOWN) -> bytes:
    """Return one view of an RGB photograph as JPEG."""
    view = _tilted(
        _part(photograph.rotate(chance.uniform(-TURN, TURN), Image.Resampling.BILINEAR), chance, shown), chance
    )
    for enhancer, low, high in (
        (ImageEnhance.Brightness, 0.6, 1.4),
        (ImageEnhance.Contrast, 0.6, 1.4),
        (ImageEnhance.Color, 0.3, 1.6),
    ):
        view = enhancer(view).enhance(chance.uniform(low, high))
    if chance.random() < 0.4:
        view = view.filter(ImageFilter.GaussianBlur(max(view.size) / 224 * chance.uniform(0.3, 1.2)))
    out = io.BytesIO()
    view.save(out, "JPEG", quality=chance.randint(40, 90))
    return out.getvalue()


def _part(photograph: Image.Image, chance: random.Random, shown: tuple[float, float]) -> Image.Image:
    """Return a random part, with sides in other proportions than the photograph's."""
    area, stretch = chance.uniform(*shown), chance.uniform(0.75, 1.33) ** 0.5
    width = round(min(photograph.width * area**0.5 * stretch, photograph.width))
    height = round(min(photograph.height * area**0.5 / stretch, photograph.height))
    left, top = chance.randint(0, photograph.width - width), chance.randint(0, photograph.height - height)
    return photograph.crop((left, top, left + width, top + height))


def _tilted(view: Image.Image, chance: random.Random) -> Image.Image:
    """Return the view as seen from another angle: each corner moves inwards."""
    width, height = view.size

    def inwards(side: int) -> float:
        return chance.uniform(0, TILT) * side

    corners = (
        *(inwards(width), inwards(height)),
        *(inwards(width), height - inwards(height)),
        *(width - inwards(width), height - inwards(height)),
        *(width - inwards(width), inwards(height)),
    )
    return view.transform(view.size, Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)
