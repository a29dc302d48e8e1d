"""Convert the colours of a file to sRGB, as the colour profile in it says (ICC.1:2022)."""

import hashlib
import io
from collections import OrderedDict

import numpy as np
from PIL import Image, ImageCms

# Transforms that are kept. Each takes up to 2 MB, and the images of a collection share a few profiles.
KEPT_TRANSFORMS = 8
# A profile that moves no colour further than this, of 255, is not worth applying: most say that the image is sRGB.
UNSEEN_DIFFERENCE = 4
PROBE_STEPS = 6
INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
# The mode of the images that a profile of this colour space describes.
MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}

Transform = ImageCms.ImageCmsTransform


class ColourConverter:
    """Converts images to sRGB, and keeps the transforms of the profiles that it saw last."""

    def __init__(self) -> None:
        self._srgb = ImageCms.createProfile("sRGB")
        self._lab = ImageCms.buildTransform(ImageCms.createProfile("LAB"), self._srgb, "LAB", "RGB", INTENT)
        self._transforms: OrderedDict[bytes, Transform | None] = OrderedDict()

    def to_srgb(self, image: Image.Image, profile: bytes | None, *, grey: bool) -> Image.Image:
        """Return an image of mode RGB, CMYK or LAB in sRGB: the same one if nothing has to be converted.

        profile: the ICC profile in the file. It is ignored if it is damaged or meant for another kind of image, as
        browsers do. grey: whether the file has one channel, which then stands in all three.
        """
        if image.mode == "LAB":
            return _apply(self._lab, image)
        transform = self._transform(profile) if profile else None
        if transform is not None and transform.input_mode == image.mode:
            return _apply(transform, image)
        if transform is not None and transform.input_mode == "L" and grey:
            return _apply(transform, image.getchannel(0))
        return image if image.mode == "RGB" else image.convert("RGB")

    def _transform(self, profile: bytes) -> Transform | None:
        """Return the transform from a profile to sRGB; None if there is none or it changes nothing that can be seen."""
        key = hashlib.sha256(profile).digest()
        if key not in self._transforms:
            self._transforms[key] = self._built(profile)
            if len(self._transforms) > KEPT_TRANSFORMS:
                self._transforms.popitem(last=False)
        self._transforms.move_to_end(key)
        return self._transforms[key]

    def _built(self, profile: bytes) -> Transform | None:
        try:
            opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            mode = MODES[opened.profile.xcolor_space]
            flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
            transform = ImageCms.buildTransform(opened, self._srgb, mode, "RGB", INTENT, flags)
            return transform if _can_be_seen(transform) else None
        except (ImageCms.PyCMSError, KeyError, OSError, TypeError, ValueError):
            return None


def _apply(transform: Transform, image: Image.Image) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None, "only a transform in place returns None"  # noqa: S101
    return converted


def _can_be_seen(transform: Transform) -> bool:
    """Return whether a transform from RGB or grey changes any of some colours from all over the cube by much."""
    if transform.input_mode == "CMYK":
        return True
    steps = np.linspace(0, 255, PROBE_STEPS).astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    if transform.input_mode == "L":
        colours = np.repeat(np.arange(256, dtype=np.uint8)[np.newaxis, :, np.newaxis], 3, axis=2)
    probe = Image.fromarray(colours)
    found = _apply(transform, probe.getchannel(0) if transform.input_mode == "L" else probe)
    return bool(np.abs(np.asarray(found).astype(np.int16) - colours).max() > UNSEEN_DIFFERENCE)
