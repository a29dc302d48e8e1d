"""What a search asks."""

from collections.abc import Sequence
from dataclasses import dataclass

from servicekit.image_region import Region

# The most results that a search reaches by paging.
MAX_DEPTH = 10_000


@dataclass(frozen=True)
class Example:
    """What results should look like, or should not.

    Exactly one of image (an encoded file), image_url, image_id (of an indexed image) and text is set. region: the part
    of the image that counts; None: all of it. weight: −1 to 1, not 0; negative: results should look less like this.
    """

    image: bytes | None = None
    image_url: str | None = None
    image_id: int | None = None
    text: str | None = None
    region: Region | None = None
    weight: float = 1.0

    @property
    def stored_id(self) -> int | None:
        """The id of the image whose vector the index has; None: the example has to be embedded."""
        return self.image_id if self.region is None else None


@dataclass(frozen=True)
class Question:
    """What to search for, and which results to return.

    threshold: the lowest cosine similarity of a result. min_percentile, 0 to 100, and max_false_match_rate, 0 to 1:
    the limits of a result's percentile and false match rate. None: there is no limit. by_entry: return one result for
    each repository URL. exclude: ids of images that must not be found. exclude_self: nor must the examples, if all of
    them are indexed images.
    """

    examples: Sequence[Example]
    num_results: int
    offset: int = 0
    threshold: float | None = None
    min_percentile: float | None = None
    max_false_match_rate: float | None = None
    by_entry: bool = False
    exclude: frozenset[int] = frozenset()
    exclude_self: bool = True

    @property
    def has_text(self) -> bool:
        """Whether a text asks, alone or with images."""
        return any(example.text is not None for example in self.examples)

    @property
    def is_mixed(self) -> bool:
        """Whether both texts and images ask."""
        return self.has_text and any(example.text is None for example in self.examples)

    @property
    def left_out(self) -> frozenset[int]:
        """The ids of all images that must not be found."""
        ids = [example.image_id for example in self.examples if example.image_id is not None]
        only_ids = len(ids) == len(self.examples)
        return self.exclude | frozenset(ids) if self.exclude_self and only_ids else self.exclude
