"""The URL of an image at a useful size, from its Image API service (versions 1 to 3, levels 0 to 2)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from trainer.sources.iiif.json_values import Resource, identifier, items, kind, number, resource, resources, string
from trainer.sources.image_links import IMAGE_SUFFIXES, is_image_link

# Longer than what any backbone looks at, and small enough to be sent quickly.
EDGE = 1024
LEVEL = re.compile(r"level-?([012])\b", re.IGNORECASE)
VERSION = re.compile(r"iiif\.io/api/image/([123])\b")
VERSION_1 = re.compile(r"iiif/image-api/|iiif\.io/api/image/1")
IMAGE_KINDS = frozenset({"image", "stillimage", ""})
OTHER_MEDIA = ("audio/", "video/", "text/", "model/", "application/pdf", "application/json", "application/ld+json")
# A request for a whole image in another size than its own.
SMALLER = re.compile(r"/full/(?!full/|max/)[^/]+/!?[\d.]+/\w+\.\w+$")
# Regions that every service of level 1 cuts out (Image API 3, 4.1), in pixels.
REGION = re.compile(r"\d{1,9},\d{1,9},(\d{1,9}),(\d{1,9})", re.ASCII)
# The names of "!w,h": in version 2.0, and since 2.1.
CONFINED = frozenset({"sizeByConfinedWh"})
CONFINED_2_0 = "sizeByWh"


@dataclass(frozen=True)
class ImageService:
    """An Image API service. version: 1 to 3. level: None if it is not known. region: what to ask for.

    width, height: of the image or region. exact: they are not those of a smaller copy.
    """

    address: str
    version: int
    level: int | None
    features: frozenset[str]
    width: int | None
    height: int | None
    sizes: tuple[tuple[int, int], ...]
    most: int
    region: str
    exact: bool

    def image_url(self) -> str | None:
        """Return the URL of the image with edges of at most `EDGE` pixels; None if no size is known to be served."""
        size = self._size()
        return None if size is None else self._request(self.region, size)

    def full_url(self) -> str:
        """Return the URL of the image in the size that services of all levels send."""
        return self._request("full", self._whole)

    @property
    def _whole(self) -> str:
        return "max" if self.version == 3 else "full"

    def _request(self, region: str, size: str) -> str:
        return f"{self.address}/{region}/{size}/0/{'native' if self.version == 1 else 'default'}.jpg"

    def _size(self) -> str | None:
        edge = min(EDGE, self.most)
        if self.level == 2 or self.features & CONFINED or (self.version == 2 and CONFINED_2_0 in self.features):
            return f"!{edge},{edge}"
        if self.level == 1:
            return self._by_one_side(edge)
        return self._listed(edge)

    def _by_one_side(self, edge: int) -> str | None:
        if self.width is None or self.height is None:
            return self._listed(edge)
        if max(self.width, self.height) <= edge:
            return self._whole if self.exact else None
        return f"{edge}," if self.width >= self.height else f",{edge}"

    def _listed(self, edge: int) -> str | None:
        """Return the smallest listed size that is large enough, or else the largest."""
        if not self.sizes:
            return None
        large = [size for size in self.sizes if max(size) >= edge]
        width, height = min(large, key=max) if large else max(self.sizes, key=max)
        return f"{width},{height}" if self.version == 3 else f"{width},"


def image_url(content: Resource, canvas: Resource) -> str | None:
    """Return the URL of the image that a canvas shows. content: the image resource of an annotation."""
    services = list(_services(content, canvas))
    for service in services:
        url = service.image_url()
        if url is not None:
            return url
    named = identifier(content)
    # Some resources are named by the address of their service, which leads to its description.
    if services and not (named and is_image_link(named)):
        return services[0].full_url()
    return named


def part_of(content: Resource, selector: object) -> Resource:
    """Return an image resource of which a selector chooses a part."""
    regions = (string(each.get("region")) for each in resources(selector) if kind(each).lower() == "imageapiselector")
    region = next((each for each in regions if each and REGION.fullmatch(each)), None)
    return content if region is None else {**content, "region": region}


def _services(content: Resource, canvas: Resource) -> Iterator[ImageService]:
    for found in resources(content.get("service")):
        service = _service(found, content, canvas)
        if service is not None:
            yield service


def _service(found: Resource, content: Resource, canvas: Resource) -> ImageService | None:
    address = identifier(found)
    profiles = list(items(found.get("profile")))
    names = [name for profile in profiles if (name := identifier(profile))]
    version = _version(found, names)
    if address is None or version is None:
        return None
    described = [found, *(resource(profile) for profile in profiles)]
    width, height, exact = _dimensions(found, content, canvas)
    level = _level(names)
    region = "full"
    part = REGION.fullmatch(string(content.get("region")) or "") if level else None
    if part is not None:
        region, width, height, exact = part[0], int(part[1]), int(part[2]), True
    return ImageService(
        address=address.rstrip("/").removesuffix("/info.json"),
        version=version,
        level=level,
        features=frozenset(_features(described)),
        width=width,
        height=height,
        sizes=tuple(_sizes(found)),
        most=_most(described),
        region=region,
        exact=exact,
    )


def _dimensions(found: Resource, content: Resource, canvas: Resource) -> tuple[int | None, int | None, bool]:
    """Return width and height of the image, and whether they are exact.

    Without those of the service, those of the resource count. If it is a smaller copy, the canvas may be larger. Else,
    the canvas may not: those of small images should have twice their size (Presentation 2.1, 5.3).
    """
    named, shown = _dimension(content), _dimension(canvas)
    is_copy = SMALLER.search(identifier(content) or "") is not None
    if (size := _dimension(found)) is not None:
        return *size, True
    if named is not None and not is_copy:
        return *named, True
    sizes = [size for size in (named, shown) if size is not None]
    return (*max(sizes, key=max), False) if sizes else (None, None, False)


def _dimension(part: Resource) -> tuple[int, int] | None:
    width, height = number(part.get("width")), number(part.get("height"))
    return (width, height) if width and height else None


def _version(found: Resource, profiles: list[str]) -> int | None:
    name = kind(found)
    if name.startswith("ImageService") and name[-1:] in ("1", "2", "3"):
        return int(name[-1])
    texts = [text for text in (*items(found.get("@context")), *profiles) if isinstance(text, str)]
    for text in texts:
        matched = VERSION.search(text)
        if matched:
            return int(matched[1])
    if any(VERSION_1.search(text) for text in texts):
        return 1
    # Version 3 names its levels without an address.
    return 3 if any(LEVEL.fullmatch(profile) for profile in profiles) else None


def _level(profiles: list[str]) -> int | None:
    levels = [int(matched[1]) for profile in profiles if (matched := LEVEL.search(profile))]
    return max(levels, default=None)


def _features(described: list[Resource]) -> Iterator[str]:
    for part in described:
        for name in ("supports", "extraFeatures"):
            yield from (text for text in items(part.get(name)) if isinstance(text, str))


def _sizes(found: Resource) -> Iterator[tuple[int, int]]:
    for size in resources(found.get("sizes")):
        width, height = number(size.get("width")), number(size.get("height"))
        if width and height:
            yield width, height


def _most(described: list[Resource]) -> int:
    """Return the longest edge that the service sends (Image API 3, 5.3; Image API 2.1, 5.3)."""
    limits: list[int] = []
    for part in described:
        width, height, area = (number(part.get(name)) for name in ("maxWidth", "maxHeight", "maxArea"))
        if width:
            limits.append(min(width, height or width))
        if area:
            limits.append(max(int(area**0.5), 1))
    return min(limits, default=EDGE)


def is_image(content: Resource) -> bool:
    """Return whether a resource is an image. Some lack a type, and some have a format that is no media type."""
    name, media = kind(content).lower(), (string(content.get("format")) or "").strip().lower()
    if media.startswith(OTHER_MEDIA) or name not in IMAGE_KINDS:
        return False
    return bool(name) or not media or media.startswith("image/") or f".{media}" in IMAGE_SUFFIXES
