"""Kinds of objects whose images are hard to tell apart, made from photographs of fewer and easier kinds."""

import random
from pathlib import Path

from PIL import Image

from bench.parts.photographs import image_files
from bench.parts.views.object_views import object_view

KINDS, IMAGES = 40, 52
# The share of a photograph's area that an image shows.
OF_OBJECT, OF_PHOTOGRAPH = (0.5, 0.9), (0.06, 0.35)


def look_alikes(photographs: Path, kinds: Path) -> list[tuple[int, bytes]]:
    """Return IMAGES images of each of KINDS kinds, as JPEG, each with its kind.

    A kind is a folder in `kinds` or, if there are too few, a single photograph. Its images are object views. Those of a
    folder show most of a photograph, those of a single photograph a small part. So the images of a kind are as alike as
    photographs of a kind of object are, and many of them are hard to tell apart.
    """
    chance, found = random.Random(0), []
    folders = [image_files(path) for path in sorted(kinds.iterdir()) if path.is_dir()][:KINDS]
    alone = [[path] for path in chance.sample(image_files(photographs), KINDS - len(folders))]
    for number, files in enumerate([*folders, *alone]):
        of = OF_PHOTOGRAPH if len(files) == 1 else OF_OBJECT
        for position in range(IMAGES):
            with Image.open(files[position % len(files)]) as opened:
                found.append((number, object_view(opened.convert("RGB"), chance, of)))
    return found
