"""What a search asked for, in words, and the regions of images in it as targets of Web Annotations."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from gateway.search.question import Example
from servicekit.image_region import Region

# What a path, a query and a fragment may have besides letters and digits (RFC 3986, 3.3 to 3.5).
KEPT_IN_URLS = "/?:@!$&'()*+,;=%~"
BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
MAX_TEXT_CHARACTERS = 200


@dataclass(frozen=True)
class AskedRegion:
    """A part of an image that has an address. words: what it was asked for as."""

    image_url: str
    region: Region
    words: str

    @property
    def target(self) -> str:
        """The address of the part (Media Fragments URI 1.0, 4.2.2), in percent, because the image's size is unknown."""
        whole = as_uri(self.image_url).partition("#")[0]
        return f"{whole}#xywh=percent:{','.join(_percent(value) for value in self.region)}"


def in_words(examples: Sequence[Example]) -> str:
    """Return what was asked for, for people."""
    liked = [_example(each) for each in examples if each.weight > 0]
    disliked = [_example(each) for each in examples if each.weight < 0]
    wanted = " and ".join(liked) or "nothing"
    return f"{wanted}, and not to {' or '.join(disliked)}" if disliked else wanted


def asked_regions(examples: Sequence[Example], urls: Mapping[int, str]) -> list[AskedRegion]:
    """Return the regions of images that have an address. urls: of the images of the collection, by their ids."""
    found = []
    for each in examples:
        url = each.image_url if each.image_id is None else urls.get(each.image_id)
        if each.region is not None and url is not None:
            found.append(AskedRegion(url, each.region, _example(each)))
    return found


def as_uri(url: str) -> str:
    """Return a URL of a row with all characters encoded that a URI cannot have (RFC 3986, 2)."""
    whole, mark, fragment = url.partition("#")
    scheme, separator, rest = whole.partition("://")
    authority, slash, path = rest.partition("/")
    host = quote(authority, safe=f"{KEPT_IN_URLS}[]")
    parts = (scheme, separator, host, slash, quote(path, safe=KEPT_IN_URLS), mark, quote(fragment, safe=KEPT_IN_URLS))
    return BARE_PERCENT.sub("%25", "".join(parts))


def _example(example: Example) -> str:
    whole = _whole(example)
    if example.region is None:
        return whole
    x, y, width, height = (_percent(value) for value in example.region)
    return f"a part of {whole} ({width} % × {height} % at {x} %, {y} %)"


def _whole(example: Example) -> str:
    if example.image_id is not None:
        return f"image {example.image_id}"
    if example.image_url is not None:
        return example.image_url
    if example.text is None:
        return "an image that was sent"
    text = example.text
    return f"“{text if len(text) <= MAX_TEXT_CHARACTERS else f'{text[:MAX_TEXT_CHARACTERS]}…'}”"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}".rstrip("0").rstrip(".")
