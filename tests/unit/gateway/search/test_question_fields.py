"""What a JSON object asks, and what a client is told about a combination that makes no sense."""

import base64
import json
import re
from itertools import combinations
from typing import Any

import pytest

from gateway.http.base64_body import Base64Fields
from gateway.search import question_fields
from gateway.search.question import Example, Question
from servicekit.errors import InvalidRequest
from servicekit.image_region import Region

IMAGE = base64.b64encode(b"\xff\xd8 image").decode()
OTHER = base64.b64encode(b"\xff\xd8 other").decode()
ID = {"image_id": 5}


def asked(body: dict[str, Any] | str, query: dict[str, str] | None = None, *, size: int = 7) -> Question:
    """Return the question of a JSON body that arrives in pieces of `size` bytes."""
    text = (body if isinstance(body, str) else json.dumps(body)).encode()
    images: list[bytearray] = []

    def begin() -> Any:
        images.append(bytearray())
        return images[-1].extend

    fields = Base64Fields(begin, question_fields.IMAGE_PATHS)
    for start in range(0, len(text), size):
        fields.feed(text[start : start + size])
    return question_fields.question(fields.finish(), [bytes(image) for image in images], query or {})


def refused(body: dict[str, Any] | str, query: dict[str, str] | None = None) -> tuple[str, str]:
    with pytest.raises(InvalidRequest) as error:
        asked(body, query)
    return error.value.code, error.value.message


def test_an_image_alone_is_asked_for_with_the_defaults() -> None:
    assert asked({"image": IMAGE}) == Question([Example(image=b"\xff\xd8 image")], num_results=5)


def test_every_source_is_read() -> None:
    assert asked({"image_url": " https://example.org/1.jpg "}).examples == [
        Example(image_url="https://example.org/1.jpg")
    ]
    assert asked({"image_id": 2**63 - 1}).examples == [Example(image_id=2**63 - 1)]
    assert asked({"text": "a coin"}).examples == [Example(text="a coin")]


def test_several_examples_keep_their_order_and_their_images() -> None:
    region = {"x": 0.5, "y": 0, "width": 0.5, "height": 1}
    examples = [
        {"image": IMAGE, "region": region},
        {"image_id": 5, "weight": -0.5, "region": region},
        {"weight": 0.25, "image": OTHER},
        {"text": "gold", "weight": 1},
    ]
    for size in (1, 7, 10_000):
        assert asked({"num_results": 3, "examples": examples, "offset": 4}, size=size) == Question(
            [
                Example(image=b"\xff\xd8 image", region=Region(0.5, 0, 0.5, 1)),
                Example(image_id=5, weight=-0.5, region=Region(0.5, 0, 0.5, 1)),
                Example(image=b"\xff\xd8 other", weight=0.25),
                Example(text="gold"),
            ],
            num_results=3,
            offset=4,
        )


def test_every_option_is_read() -> None:
    options = {"num_results": 10, "offset": 9990, "threshold": 50, "min_percentile": 1, "max_false_match_rate": 0.5}
    lists = {"group_by": "repo_url", "exclude": [3, 4], "exclude_self": False}
    expected = Question(
        [Example(image_id=5)], 10, 9990, 0.5, 1, 0.5, by_entry=True, exclude=frozenset((3, 4)), exclude_self=False
    )
    assert asked(ID | options | lists) == expected
    query = {name: str(value) for name, value in options.items()} | {"group_by": "repo_url"}
    assert asked(ID | {"exclude": [3, 4], "exclude_self": False}, query) == expected
    assert asked(ID | options | lists, dict.fromkeys(query, "7")) == expected


def test_images_that_ask_are_left_out_if_only_ids_ask() -> None:
    assert asked(ID).left_out == {5}
    assert asked(ID | {"exclude": [7]}).left_out == {5, 7}
    assert asked(ID | {"exclude": [7], "exclude_self": False}).left_out == {7}
    assert asked({"examples": [ID, {"image_id": 6, "weight": -1}]}).left_out == {5, 6}
    assert asked({"examples": [ID, {"image": IMAGE}]}).left_out == set()


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"image": IMAGE, "image_id": 5}, ("image ", "image_id ")),
        ({"image_url": "https://example.org", "text": "coin"}, ("image_url ", "text ")),
        ({"image": "", "text": "coin"}, ("image ", "text ")),
        ({"image": IMAGE, "examples": [ID]}, ("image ", "examples")),
        ({"region": {}, "examples": [ID]}, ("region ", "examples")),
        ({"weight": 1, "examples": [ID]}, ("weight ", "examples")),
        ({"image": IMAGE, "weight": 1}, ("weight ", "examples")),
        ({"text": "coin", "region": {}}, ("region ", "text")),
        ({"examples": [ID, {"image": IMAGE, "text": "coin"}]}, ("examples[1].image ", "examples[1].text ")),
        ({"examples": [{"text": "coin", "region": {}}]}, ("examples[0].region ", "examples[0].text")),
        ({"text": "coin", "exclude_self": False}, ("exclude_self ", "text")),
        ({"examples": [ID, {"text": "coin"}], "exclude_self": True}, ("exclude_self ", "text")),
        ({"text": "coin", "max_false_match_rate": 0.1}, ("max_false_match_rate ", "text", "min_percentile")),
        ({"examples": [ID, {"text": "coin"}], "threshold": 5}, ("threshold ", "text", "min_percentile")),
    ],
)
def test_fields_that_exclude_each_other_are_named(body: dict[str, Any], names: tuple[str, ...]) -> None:
    code, message = refused(body)
    assert code == "conflicting_fields"
    assert all(name in message for name in names), message


# A valid value of each field.
VALUES: dict[str, Any] = {
    "image": IMAGE,
    "image_url": "https://example.org/1.jpg",
    "image_id": 5,
    "text": "coin",
    "region": {"x": 0, "y": 0, "width": 0.5, "height": 1},
    "weight": 1,
    "examples": [{"image_id": 6}],
    "num_results": 10,
    "threshold": 50,
    "min_percentile": 50,
    "max_false_match_rate": 0.1,
    "offset": 10,
    "group_by": "repo_url",
    "exclude": [7],
    "exclude_self": False,
}
# The pairs that make no sense, as docs/api.md describes them.
SENSELESS = {
    *(frozenset(pair) for pair in combinations(("image", "image_url", "image_id", "text", "examples"), 2)),
    *(frozenset(("text", name)) for name in ("region", "exclude_self", "max_false_match_rate")),
    frozenset(("examples", "region")),
    *(frozenset(("weight", name)) for name in VALUES if name != "weight"),
}


def test_every_field_is_in_the_table_of_pairs() -> None:
    assert set(VALUES) == {*question_fields.FIELDS, "weight"}


@pytest.mark.parametrize(("one", "other"), list(combinations(VALUES, 2)))
def test_each_pair_of_fields_is_accepted_or_both_are_named(one: str, other: str) -> None:
    body = {one: VALUES[one], other: VALUES[other]}
    if body.keys().isdisjoint((*question_fields.SOURCES, "examples")):
        body |= ID
    if frozenset((one, other)) not in SENSELESS:
        assert asked(body).examples
        return
    code, message = refused(body)
    assert code == "conflicting_fields"
    # A weight belongs into examples, whatever it is sent with.
    named = ("weight", "examples") if "weight" in (one, other) else (one, other)
    assert all(re.search(rf"\b{name}\b", message) for name in named), message
    # The same in the list of examples, for the fields that are there, too.
    if {one, other} <= {*question_fields.SOURCES, "region"}:
        code, message = refused({"examples": [ID, body]})
        assert code == "conflicting_fields"
        assert all(f"examples[1].{name}" in message for name in (one, other)), message


@pytest.mark.parametrize(
    ("body", "code", "part"),
    [
        ({}, "image_missing", "image is missing"),
        ({"image": None}, "image_missing", "image is missing"),
        ({"image": ""}, "image_missing", "image is missing"),
        ({"examples": [ID, {}]}, "image_missing", "examples[1].image is missing"),
        ({"image": 5}, "invalid_base64", "not a number"),
        ({"examples": [{"image": [1]}]}, "invalid_base64", "examples[0].image"),
        ({"examples": [{"image": "é"}]}, "invalid_base64", "examples[0].image"),
        ({"examples": [ID, {"image": base64.b64encode(b"%PDF-1.7 rest").decode()}]}, "not_an_image", "a PDF"),
        ('{"examples": [{"image": "QQ==", "image": "QQ=="}]}', "invalid_json", "examples[0].image occurs"),
        ('{"image_id": 5, "image_id": NaN}', "invalid_json", "NaN"),
        ({"image_url": ""}, "invalid_image_url", "a string of 1 to 8000"),
        ({"image_url": ["https://example.org"]}, "invalid_image_url", "not a list"),
        ({"image_url": "x" * 8001}, "invalid_image_url", "8001"),
        *(({"image_id": value}, "invalid_image_id", "whole number") for value in (0, -1, 1.5, "5", True, 2**63)),
        ({"text": " "}, "invalid_text", "1 to 2000"),
        ({"text": 5}, "invalid_text", "not a number"),
        ({"image": IMAGE, "region": [0, 0, 1, 1]}, "invalid_region", "x, y, width and height"),
        ({"image": IMAGE, "region": {"x": 0, "y": 0, "width": 1}}, "invalid_region", "x, y, width and height"),
        ({"image": IMAGE, "region": {"x": 0.6, "y": 0, "width": 0.5, "height": 1}}, "invalid_region", "right edge"),
        ({"image": IMAGE, "region": {"x": "0", "y": 0, "width": 1, "height": 1}}, "invalid_region", "between 0 and 1"),
        ({"examples": {}}, "invalid_examples", "a list of 1 to 16"),
        ({"examples": []}, "invalid_examples", "not a list of 0"),
        ({"examples": [ID] * 17}, "invalid_examples", "not a list of 17"),
        ({"examples": [ID, 5]}, "invalid_examples", "examples[1] is a number"),
        ({"examples": [ID | {"weight": -1}]}, "invalid_examples", "positive weight"),
        *(({"examples": [ID | {"weight": value}]}, "invalid_weight", "examples[0].weight") for value in (0, 1.5, "1")),
        *((ID | {"offset": each}, "invalid_offset", "offset") for each in (-1, 1.5, "5", 10_001)),
        (ID | {"offset": 9996}, "invalid_offset", "num_results must be at most 10000"),
        (ID | {"group_by": "image_url"}, "invalid_group_by", '"repo_url"'),
        (ID | {"group_by": ["repo_url"]}, "invalid_group_by", '"repo_url"'),
        *((ID | {"exclude": value}, "invalid_exclude", "1000") for value in (5, [0], ["5"], [1] * 1001)),
        (ID | {"exclude": [3, 0]}, "invalid_exclude", "but exclude[1] is 0."),
        (ID | {"exclude": "3"}, "invalid_exclude", 'not "3".'),
        (ID | {"exclude": [1] * 1001}, "invalid_exclude", "not 1001 of them."),
        *(({**ID, "exclude_self": each}, "invalid_exclude_self", "true or false") for each in (0, "true")),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(body: dict[str, Any] | str, code: str, part: str) -> None:
    found, message = refused(body)
    assert (found, part in message) == (code, True), message


def test_fields_without_meaning_are_named_in_examples_too() -> None:
    warnings = question_fields.search_warnings({"k": 5, "examples": [{"image_id": 5, "wieght": 1}, 7]}, {"limit": "3"})
    assert [name in warning for name, warning in zip(('"k"', '"limit"', '"examples[0].wieght"'), warnings, strict=True)]


def test_only_later_fields_add_to_the_answer() -> None:
    assert question_fields.has_first_fields_only({"image": "0", "num_results": 5, "k": 1}, {"threshold": "5"})
    assert not question_fields.has_first_fields_only({"image": "0", "offset": 0}, {})
    assert not question_fields.has_first_fields_only({"image": "0"}, {"offset": "0"})
    assert not question_fields.has_first_fields_only({"image_id": 5}, {})


@pytest.mark.parametrize(
    ("text", "value"), [("1e-05", 0.00001), ("5E-1", 0.5), ("0.25", 0.25), ("1", 1.0), ("2.2e-266", 2.2e-266)]
)
def test_a_number_in_a_query_may_have_an_exponent(text: str, value: float) -> None:
    """Python and JavaScript write small numbers like this."""
    assert question_fields.image_question(b"image", {"max_false_match_rate": text}).max_false_match_rate == value


@pytest.mark.parametrize("text", ["1e400", "1e", "e5", "1e1.5", "0x1", "1_0", "nan", "inf", "١"])
def test_a_parameter_that_is_not_a_number_from_0_to_1_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        question_fields.image_question(b"image", {"max_false_match_rate": text})
    assert error.value.code == "invalid_max_false_match_rate"
