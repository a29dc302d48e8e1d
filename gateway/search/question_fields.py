"""Read a question from the fields of a JSON object and the query parameters of a request."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Never

from gateway.content.file_kind import HEAD_BYTES, other_kind
from gateway.http.base64_body import EACH, Path, is_base64
from gateway.http.json_object import JsonObject, kind_of
from gateway.http.parameters import is_id, shown, unknown_fields, unknown_parameters, wrong_member
from gateway.search.question import MAX_DEPTH, Example, Question
from servicekit.errors import InvalidRequest
from servicekit.image_region import Region

DEFAULT_RESULTS = 5
MAX_RESULTS = 1000
MAX_EXAMPLES = 16
MAX_EXCLUDED = 1000
MAX_TEXT_CHARACTERS = 2000
MAX_URL_CHARACTERS = 8000
# Programs write many digits, and small numbers with an exponent: 0.57 * 100 is 56.99999999999999 in floating point, and
# Python writes 0.00001 as 1e-05.
NUMBER = re.compile(r"(-?[0-9]{1,9})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", re.ASCII)

SOURCES = ("image", "image_url", "image_id", "text")
OF_EXAMPLES = (*SOURCES, "region", "weight")
# Query parameters can have these too.
OPTIONS = ("num_results", "threshold", "min_percentile", "max_false_match_rate", "offset", "group_by")
FIELDS = (*SOURCES, "region", "examples", *OPTIONS, "exclude", "exclude_self")
# The answer to a search without any other fields stays as it was before there were others.
FIRST_FIELDS = ("image", "num_results", "threshold", "min_percentile", "max_false_match_rate")
REGION = ("x", "y", "width", "height")
IMAGE_PATHS: tuple[Path, ...] = (("image",), ("examples", EACH, "image"))
ONE_SOURCE = "Send exactly one of image, image_url, image_id, text and examples."


def image_question(image: bytes, options: Mapping[str, str]) -> Question:
    """Return the question of a body that is nothing but an image. options: query parameters.

    Raises InvalidRequest as `question`.
    """
    return with_options([Example(image=_checked(image, "image"))], {}, options)


def question(fields: JsonObject, images: Sequence[bytes], query: Mapping[str, str]) -> Question:
    """Return the question of a JSON object. Fields take precedence over query parameters.

    fields: as `Base64Fields.finish` returns them. images: what was decoded. Raises InvalidRequest: image_missing,
    invalid_base64, not_an_image, conflicting_fields, and invalid_<name> for the field that has the wrong value.
    """
    return with_options(_examples(fields, images), fields, query)


def has_first_fields_only(fields: JsonObject, query: Mapping[str, str]) -> bool:
    """Return whether a question has no other fields and parameters than the first version of the API had."""
    later = set(FIELDS) - set(FIRST_FIELDS)
    return all(fields.get(name) is None and name not in query for name in later)


def search_warnings(fields: JsonObject, query: Mapping[str, str], *, also: Sequence[str] = ()) -> list[str]:
    """Return sentences about the fields and query parameters of a search that have no meaning. also: known fields."""
    warnings = unknown_fields(fields, (*FIELDS, *also)) + unknown_parameters(query, OPTIONS)
    examples = fields.get("examples")
    unknown = [
        f"examples[{place}].{name}"
        for place, example in enumerate(examples if isinstance(examples, list) else [])
        if isinstance(example, dict)
        for name in example
        if name not in OF_EXAMPLES
    ]
    return warnings + unknown_fields(unknown, OF_EXAMPLES)


def with_options(examples: Sequence[Example], fields: JsonObject, query: Mapping[str, str]) -> Question:
    """Return the question that examples and options make. Fields take precedence over query parameters.

    Raises InvalidRequest, conflicting_fields and invalid_<name>.
    """
    num_results = _whole_number("num_results", fields, query, least=1, most=MAX_RESULTS, default=DEFAULT_RESULTS)
    threshold = _percent_or_rate("threshold", fields, query, most=100)
    min_percentile = _percent_or_rate("min_percentile", fields, query, most=100)
    max_false_match_rate = _percent_or_rate("max_false_match_rate", fields, query, most=1)
    offset = _whole_number("offset", fields, query, least=0, most=MAX_DEPTH, default=0)
    if offset + num_results > MAX_DEPTH:
        _invalid("offset", f"and num_results must be at most {MAX_DEPTH} together, not {offset} + {num_results}")
    question = Question(
        examples,
        num_results=num_results,
        offset=offset,
        threshold=None if threshold is None else threshold / 100,
        min_percentile=min_percentile,
        max_false_match_rate=max_false_match_rate,
        by_entry=_by_entry(_option("group_by", fields, query)),
        exclude=_exclude(fields.get("exclude")),
        exclude_self=_exclude_self(fields.get("exclude_self")),
    )
    if question.has_text:
        _check_options_of_text(question, fields)
    return question


def _check_options_of_text(question: Question, fields: JsonObject) -> None:
    if fields.get("exclude_self") is not None:
        _conflict("exclude_self needs image_id alone. It cannot be combined with text. Use exclude.")
    if question.max_false_match_rate is not None:
        problem = "false match rates are measured with images only"
        _conflict(f"max_false_match_rate cannot be combined with text: {problem}. Use min_percentile.")
    if question.is_mixed and question.threshold is not None:
        problem = "what is similar to both has no cosine similarity"
        _conflict(f"threshold cannot be combined with text and images together: {problem}. Use min_percentile.")


def _examples(fields: JsonObject, images: Sequence[bytes]) -> list[Example]:
    if fields.get("examples") is None:
        if fields.get("weight") is not None:
            _conflict("weight needs examples, because it compares them. Put it into each of the examples.")
        return [_example(fields, images)]
    if conflicting := _present(fields, (*SOURCES, "region", "weight")):
        _conflict(f"{conflicting[0]} cannot be sent with examples. Put it into one of the examples.")
    found = fields["examples"]
    if not isinstance(found, list) or not 1 <= len(found) <= MAX_EXAMPLES:
        _invalid("examples", f"must be a list of 1 to {MAX_EXAMPLES} objects, not {sort_of(found)}")
    examples = [_example(each, images, f"examples[{place}].") for place, each in enumerate(_objects(found))]
    if all(example.weight < 0 for example in examples):
        _invalid("examples", "must have at least one with a positive weight")
    return examples


def _objects(found: Sequence[object]) -> Iterator[JsonObject]:
    for place, each in enumerate(found):
        if not isinstance(each, dict):
            _invalid("examples", f"must be a list of objects, but examples[{place}] is {kind_of(each)}")
        yield each


def _example(fields: JsonObject, images: Sequence[bytes], at: str = "") -> Example:
    """Return one example. at: what precedes the names of its fields in messages."""
    sources = _present(fields, SOURCES)
    if len(sources) > 1:
        allowed = ONE_SOURCE if not at else "Each example has exactly one of image, image_url, image_id and text."
        _conflict(f"{at}{sources[0]} and {at}{sources[1]} exclude each other. {allowed}")
    region = fields.get("region")
    if region is not None and "text" in sources:
        _conflict(f"{at}region needs {at}image, {at}image_url or {at}image_id. It cannot be combined with {at}text.")
    return Example(
        image=_image(fields, images, at) if not sources or "image" in sources else None,
        image_url=_text("image_url", fields.get("image_url"), MAX_URL_CHARACTERS, at),
        image_id=_image_id(fields.get("image_id"), at),
        text=_text("text", fields.get("text"), MAX_TEXT_CHARACTERS, at),
        region=_region(region, at),
        weight=_weight(fields.get("weight"), at),
    )


def _image(fields: JsonObject, images: Sequence[bytes], at: str) -> bytes:
    name = f"{at}image"
    image = images[int(str(fields["image"]))] if is_base64(fields, "image", name) else b""
    return _checked(image, name)


def _checked(image: bytes, name: str) -> bytes:
    if kind := other_kind(image[:HEAD_BYTES]):
        raise InvalidRequest(f"The file is {kind}, not an image.", code="not_an_image")
    if not image:
        raise InvalidRequest(f"{name} is missing. Send it as base64 or as a data URL.", code="image_missing")
    return image


def _text(name: str, value: object, most: int, at: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > most:
        problem = f"{at}{name} must be a string of 1 to {most} characters, not {sort_of(value)}."
        raise InvalidRequest(problem, code="invalid_text" if name == "text" else "invalid_image_url")
    return value.strip()


def _image_id(value: object, at: str) -> int | None:
    if value is None:
        return None
    if not is_id(value):
        _invalid("image_id", f"must be the id of an image, a whole number from 1, not {shown(value)}", at)
    return int(str(value))


def _region(value: object, at: str) -> Region | None:
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != set(REGION):
        wanted = 'an object with exactly x, y, width and height, such as {"x": 0, "y": 0, "width": 0.5, "height": 0.5}'
        _invalid("region", f"must be {wanted}, not {shown(value)}", at)
    numbers = [_number(value[name]) for name in REGION]
    region = Region(*(float("nan") if number is None else number for number in numbers))
    if problem := region.problem():
        _invalid("region", f"{shown(value)} is not a part of an image. {problem.rstrip('.')}", at)
    return region


def _weight(value: object, at: str) -> float:
    if value is None:
        return 1.0
    weight = _number(value)
    if weight is None or not -1 <= weight <= 1 or weight == 0:
        _invalid("weight", f"must be a number between -1 and 1 other than 0, not {shown(value)}", at)
    return weight


def _by_entry(value: object) -> bool:
    if value not in (None, "repo_url"):
        _invalid("group_by", f'must be "repo_url", not {shown(value)}')
    return value is not None


def _exclude(value: object) -> frozenset[int]:
    if value is None:
        return frozenset()
    if not isinstance(value, list) or len(value) > MAX_EXCLUDED or not all(map(is_id, value)):
        problem = f"must be a list of up to {MAX_EXCLUDED} ids of images, whole numbers from 1"
        _invalid("exclude", problem + wrong_member("exclude", value))
    return frozenset(value)


def _exclude_self(value: object) -> bool:
    if value is None:
        return True
    if not isinstance(value, bool):
        _invalid("exclude_self", f"must be true or false, not {shown(value)}")
    return value


def _option(name: str, fields: JsonObject, query: Mapping[str, str]) -> object:
    value = fields.get(name)
    if value is not None:
        return value
    text = query.get(name)
    found = None if text is None else NUMBER.fullmatch(text)
    if found is None:
        return text
    return int(found[0]) if found[0] == found[1] else float(found[0])


def _whole_number(
    name: str, fields: JsonObject, query: Mapping[str, str], *, least: int, most: int, default: int
) -> int:
    value = _option(name, fields, query)
    if value is None:
        return default
    number = _number(value)
    if number is None or number % 1 or not least <= number <= most:
        problem = f"{name} must be a whole number between {least} and {most}, not {shown(value)}."
        raise InvalidRequest(problem, code="invalid_offset" if name == "offset" else "invalid_num_results")
    return int(number)


def _percent_or_rate(name: str, fields: JsonObject, query: Mapping[str, str], *, most: int) -> float | None:
    """Return an option between 0 and `most`; None if it is missing. Raises InvalidRequest, invalid_<name>."""
    value = _option(name, fields, query)
    if value is None:
        return None
    number = _number(value)
    if number is None or not 0 <= number <= most:
        _invalid(name, f"must be a number between 0 and {most}, not {shown(value)}")
    return number


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _present(fields: JsonObject, names: Collection[str]) -> list[str]:
    return [name for name in names if fields.get(name) is not None]


def sort_of(value: object) -> str:
    """Return what a value is, for a message: its text would be too long."""
    if isinstance(value, list | str):
        return f"{kind_of(value)} of {len(value)}"
    return kind_of(value)


def _conflict(message: str) -> Never:
    raise InvalidRequest(message, code="conflicting_fields")


def _invalid(name: str, problem: str, at: str = "") -> Never:
    raise InvalidRequest(f"{at}{name} {problem}.", code=f"invalid_{name}")
