"""How an image becomes a backbone's input: the resize, the crop and the normalisation."""

import json
from dataclasses import asdict, dataclass
from typing import Literal

Resize = Literal["exact", "shortest_edge"]


@dataclass(frozen=True)
class Preprocessing:
    """Resize, centre crop, then (pixel - mean) / std for each channel, pixels in 0 to 255.

    `exact` scales to resize_height × resize_width whatever the proportions; `shortest_edge` scales the shorter side to
    resize_height and keeps them. The crop is the input's size. `resample` is one of Pillow's numbers.
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
        """Width and height of an image after the resize, before the crop."""
        if self.resize == "exact":
            return self.resize_width, self.resize_height
        short = self.resize_height
        if width <= height:
            return short, max(1, int(short * height / width))
        return max(1, int(short * width / height)), short

    def canonical(self) -> bytes:
        """The same bytes for equal preprocessing, for checksums."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> "Preprocessing":
        """The inverse of `asdict`, also after a round trip through JSON."""
        plain = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return cls(**plain)  # type: ignore[arg-type]
