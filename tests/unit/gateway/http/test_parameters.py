"""What a client is told about parameters: the value that was sent, and what is allowed."""

import pytest

from gateway.http import parameters
from servicekit.errors import InvalidRequest


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (5, "5"),
        (True, "true"),
        (["a"], '["a"]'),
        ({"a": None}, '{"a": null}'),
        pytest.param(10**5000, "this value", id="many digits"),
        ([1] * 100, "[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, …"),
    ],
)
def test_a_name_of_another_type_is_shown(value: object, shown: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        parameters.name({"name": value}, 200)
    assert error.value.message == f"name must be a string, not {shown}."


@pytest.mark.parametrize("text", ["coins", "1.0", "", "{id}", "9" * 30, "x" * 500, "1\x1b[2J"])
def test_a_malformed_id_is_shown_with_the_route_that_lists_ids(text: str) -> None:
    with pytest.raises(InvalidRequest, match="GET /api/collection/list") as error:
        parameters.collection_id(text)
    assert error.value.code == "collection_not_found"
    assert error.value.message.isprintable()
    assert len(error.value.message) < 150


def test_what_has_no_meaning_is_named_with_what_has_one() -> None:
    assert parameters.unknown_fields({"image": "", "num_results": 3}, ("image", "num_results")) == []
    assert parameters.unknown_fields({"k": 3}, ("image", "num_results")) == [
        'The field "k" is unknown and ignored. Known: image, num_results.'
    ]
    assert parameters.unknown_parameters(["a", "b", "a", "_"]) == [
        'The query parameters "a", "b" are unknown and ignored. There are no query parameters here.'
    ]
    [warning] = parameters.unknown_fields([str(number) for number in range(99)])
    assert warning.count('"') == 20
    assert "…" in warning


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([1, "2", 0], 'must have whole numbers from 1 only, but image_ids[1] is "2".'),
        ([True], "must have whole numbers from 1 only, but image_ids[0] is true."),
        ("1", 'must be a list of whole numbers, not "1".'),
        ([], "must have between 1 and 5 ids, not 0."),
    ],
)
def test_the_place_of_a_wrong_id_is_named(value: object, problem: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        parameters.image_ids({"image_ids": value}, 5)
    assert error.value.message == f"image_ids {problem}"
