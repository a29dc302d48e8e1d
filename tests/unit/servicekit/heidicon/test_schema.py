"""Which tags of HeidICON a name means, and which ones a message suggests."""

import time
import unicodedata

import pytest

from servicekit.errors import InvalidRequest
from servicekit.heidicon.schema import find_tags

TAGS = {1: {"Münzen", "Coins"}, 2: {"Karten "}, 3: {"Alte  Drucke"}, 12: {"Gemälde"}}


@pytest.mark.parametrize(
    ("wanted", "identifier"),
    [("Coins", 1), ("Karten", 2), ("Alte Drucke", 3), ("12", 12), (unicodedata.normalize("NFD", "Gemälde"), 12)],
)
def test_white_space_and_the_form_of_accents_do_not_matter(wanted: str, identifier: int) -> None:
    assert find_tags(TAGS, wanted) == [identifier]


def test_a_name_in_the_form_that_was_asked_for_comes_first() -> None:
    assert find_tags({**TAGS, 13: {"Karten"}}, "Karten") == [13]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("münzen", "HeidICON has no tag “münzen”. Similar ones: “Münzen”."),
        ("Kartne", "HeidICON has no tag “Kartne”. Similar ones: “Karten”."),
        ("Photographs", "HeidICON has no tag “Photographs”."),
    ],
)
def test_an_unknown_tag_comes_with_similar_ones(wanted: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        find_tags(TAGS, wanted)
    assert error.value.message == message


def test_many_tags_are_not_compared_for_long() -> None:
    many = {number: {f"Sammlung {number} {'x' * 100}"} for number in range(100_000)}
    began = time.process_time()
    with pytest.raises(InvalidRequest):
        find_tags(many, "Sammlung y")
    assert time.process_time() - began < 2
