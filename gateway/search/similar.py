"""Read the query parameters of "more like this"."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Never

from multidict import MultiMapping

from catalog.indexed_images import RowUrl
from gateway.http.parameters import ID, MAX_ID, shown, unknown_parameters
from gateway.search import question_fields
from gateway.search.question import Example, Question
from servicekit.errors import InvalidRequest

SOURCES = ("image_id", "image_url", "repo_url")
OPTIONS = ("num_results", "offset", "group_by", "min_percentile")
PARAMETERS = (*SOURCES, *OPTIONS)
ONE_SOURCE = "Send exactly one of image_id, image_url and repo_url."


@dataclass(frozen=True)
class Similar:
    """A question for more like images of the collection.

    source: the id of one image, or the URL of the rows of one or several. options: the question without examples.
    """

    source: int | RowUrl
    options: Question

    def question(self, image_ids: Iterable[int]) -> Question:
        """Return the question. image_ids: of the images that the source names."""
        return replace(self.options, examples=[Example(image_id=identifier) for identifier in image_ids])


def read_similar(query: MultiMapping[str]) -> Similar:
    """Return what query parameters ask.

    Raises InvalidRequest: image_missing, conflicting_fields, and invalid_<name> for a parameter with a wrong value.
    """
    _check_combination(query)
    return Similar(_source(query), question_fields.with_options([], {}, _only(query, OPTIONS)))


def similar_warnings(query: Iterable[str]) -> list[str]:
    """Return a sentence about the query parameters that have no meaning, if there are any."""
    return unknown_parameters(query, PARAMETERS)


def _check_combination(query: MultiMapping[str]) -> None:
    sources = [name for name in SOURCES if name in query]
    if not sources:
        raise InvalidRequest(f"The image to start from is missing. {ONE_SOURCE}", code="image_missing")
    if len(sources) > 1:
        _conflict(f"{sources[0]} and {sources[1]} exclude each other. {ONE_SOURCE}")
    repeated = next((name for name in PARAMETERS if len(query.getall(name, [])) > 1), None)
    if repeated is not None:
        _conflict(f"{repeated} is there more than once. Send it once.")
    other = next((name for name in question_fields.FIELDS if name in query and name not in PARAMETERS), None)
    if other is not None:
        allowed = f"Allowed are {', '.join(OPTIONS)}. POST /api/collection/{{id}}/search takes more."
        _conflict(f"{other} cannot be combined with {sources[0]} here. {allowed}")


def _source(query: Mapping[str, str]) -> int | RowUrl:
    if "image_id" in query:
        text = query["image_id"]
        if not ID.fullmatch(text) or int(text) > MAX_ID:
            problem = f"image_id must be the id of an image, a whole number from 1, not {shown(text)}."
            raise InvalidRequest(problem, code="invalid_image_id")
        return int(text)
    name, code = ("image_url", "invalid_image_url") if "image_url" in query else ("repo_url", "invalid_repo_url")
    text = query[name].strip()
    if not text:
        raise InvalidRequest(f"{name} must be a URL of the collection, not empty.", code=code)
    return RowUrl(text, is_entry=name == "repo_url")


def _only(query: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    return {name: query[name] for name in names if name in query}


def _conflict(message: str) -> Never:
    raise InvalidRequest(message, code="conflicting_fields")
