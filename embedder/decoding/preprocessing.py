"""How a backbone wants its images: resize, crop and normalisation."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

Resize = Literal["exact", "shortest_edge"]


@dataclass(frozen=True)
class Preprocessing:
    """Resize, centre crop, then (pixel - mean) / std for each channel, with pixels from 0 to 255.

    `exact` scales to resize_height × resize_width and ignores the aspect ratio; `shortest_edge` scales the shorter side
    to resize_height and keeps it. The crop is the size of the input. `resample` is a number of Pillow's `Resampling`.
    """

    resize: Resize
    resize_height: int
    resize_width: int
    crop_height: int
    crop_width: int
    resample: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height of an image after the resize and before the crop."""
        if self.resize == "exact":
            return self.resize_width, self.resize_height
        short = self.resize_height
        if width <= height:
            return short, max(1, int(short * height / width))
        return max(1, int(short * width / height)), short

    def canonical(self) -> bytes:
        """Return bytes for checksums: equal preprocessing has equal bytes."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preprocessing":
        """Return the preprocessing that `asdict` turned into `values`, even if they went through JSON since."""
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**fields)
