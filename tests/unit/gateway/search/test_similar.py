"""What query parameters ask for "more like this", and what a client is told about a wrong combination."""

import pytest
from multidict import MultiDict

from catalog.indexed_images import RowUrl
from gateway.search.question import Example, Question
from gateway.search.similar import Similar, read_similar, similar_warnings
from servicekit.errors import InvalidRequest

URL = "https://example.org/1.jpg"


def read(*query: tuple[str, str]) -> Similar:
    return read_similar(MultiDict(query))


def test_each_source_is_read() -> None:
    assert read(("image_id", "7")).source == 7
    assert read(("image_url", f" {URL} ")).source == RowUrl(URL, is_entry=False)
    assert read(("repo_url", "Inv. 5")).source == RowUrl("Inv. 5", is_entry=True)


def test_every_option_is_read() -> None:
    options = {"num_results": "10", "offset": "20", "group_by": "repo_url", "min_percentile": "99.5"}
    wanted = read(("image_id", "7"), *options.items())
    examples = [Example(image_id=7), Example(image_id=8)]
    assert wanted.question([7, 8]) == Question(examples, 10, 20, min_percentile=99.5, by_entry=True)
    assert wanted.question([7, 8]).left_out == {7, 8}
    assert read(("image_id", "7")).question([7]) == Question([Example(image_id=7)], 5)


@pytest.mark.parametrize(
    ("query", "code", "named"),
    [
        ([], "image_missing", "image_id, image_url and repo_url"),
        ([("offset", "3")], "image_missing", "image_id, image_url and repo_url"),
        ([("image_id", "1"), ("image_url", URL)], "conflicting_fields", "image_id and image_url exclude"),
        ([("repo_url", URL), ("image_url", "")], "conflicting_fields", "image_url and repo_url exclude"),
        ([("image_id", "1"), ("image_id", "2")], "conflicting_fields", "image_id is there more than once"),
        ([("image_id", "1"), ("region", "0,0,1,1")], "conflicting_fields", "region cannot be combined with image_id"),
        (
            [("repo_url", URL), ("threshold", "5")],
            "conflicting_fields",
            "num_results, offset, group_by, min_percentile",
        ),
        *(([("image_id", text)], "invalid_image_id", "image_id") for text in ("", "0", "-1", "1.0", "9" * 19, "x")),
        ([("image_url", "")], "invalid_image_url", "image_url"),
        ([("repo_url", " ")], "invalid_repo_url", "repo_url"),
        ([("image_id", "1"), ("num_results", "0")], "invalid_num_results", "1 and 1000"),
        ([("image_id", "1"), ("offset", "9999")], "invalid_offset", "at most 10000"),
        ([("image_id", "1"), ("group_by", "image_url")], "invalid_group_by", "repo_url"),
        ([("image_id", "1"), ("min_percentile", "101")], "invalid_min_percentile", "between 0 and 100"),
    ],
)
def test_a_wrong_combination_or_value_is_refused(query: list[tuple[str, str]], code: str, named: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        read(*query)
    assert (error.value.code, named in error.value.message) == (code, True), error.value.message


def test_unknown_parameters_are_named() -> None:
    [warning] = similar_warnings(["image_id", "limit", "_"])
    assert '"limit"' in warning


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_text_that_the_database_refuses_is_no_url_of_a_row(text: str) -> None:
    assert not RowUrl(text, is_entry=True).is_storable
    assert RowUrl(URL, is_entry=True).is_storable
