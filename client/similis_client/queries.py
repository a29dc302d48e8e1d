"""What a search asks. The service checks the values, and its errors name the field."""

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

# The bytes of an image file, or the path of one.
ImageSource = bytes | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class Region:
    """A part of an image, as fractions 0 to 1 of its upright width and height. x, y: the upper left corner."""

    x: float
    y: float
    width: float
    height: float

    def body(self) -> dict[str, object]:
        """Return the JSON object that the service expects."""
        return {"x": self.x, "y": self.y, "width": self.width, "height": self.height}


@dataclass(frozen=True, kw_only=True)
class Example:
    """One thing that results should look like, or unlike. Exactly one of the first four is given.

    weight: −1 to 1; negative: less like this.
    """

    image: ImageSource | None = None
    image_url: str | None = None
    image_id: int | None = None
    text: str | None = None
    region: Region | None = None
    weight: float | None = None

    def body(self) -> dict[str, object]:
        """Return the JSON object that the service expects. Reads the image if it is a file."""
        return _body(self)


@dataclass(frozen=True, kw_only=True)
class Query:
    """A search. Exactly one of `image`, `image_url`, `image_id`, `text` and `examples` is given.

    What is None is left to the service: `docs/api.md` has the defaults and explains the fields.
    """

    image: ImageSource | None = None
    image_url: str | None = None
    image_id: int | None = None
    text: str | None = None
    region: Region | None = None
    examples: Sequence[Example] | None = None
    num_results: int | None = None
    threshold: float | None = None
    min_percentile: float | None = None
    max_false_match_rate: float | None = None
    offset: int | None = None
    group_by: str | None = None
    exclude: Sequence[int] | None = None
    exclude_self: bool | None = None

    def body(self) -> dict[str, object]:
        """Return the JSON object that the service expects. Reads the images that are files."""
        return _body(self)


@dataclass(frozen=True, kw_only=True)
class NewImage:
    """An image to add to a collection."""

    image_url: str
    repo_url: str = ""

    def body(self) -> dict[str, object]:
        """Return the JSON object that the service expects."""
        return {"image_url": self.image_url, "repo_url": self.repo_url}


def _body(asked: Query | Example) -> dict[str, object]:
    given = {field.name: getattr(asked, field.name) for field in fields(asked)}
    return {name: _json(value) for name, value in given.items() if value is not None}


def _json(value: object) -> object:
    if isinstance(value, bytes | os.PathLike):
        content = value if isinstance(value, bytes) else Path(value).read_bytes()
        return base64.b64encode(content).decode("ascii")
    if isinstance(value, Region | Example):
        return value.body()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_json(item) for item in value]
    return value
