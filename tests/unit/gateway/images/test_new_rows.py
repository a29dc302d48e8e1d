"""Rows that are added as JSON are checked as those of an upload."""

import pytest

from catalog.content.cell_text import MAX_FIELD_CHARACTERS
from gateway.images.new_rows import MAX_ROWS, check_rows
from servicekit.errors import InvalidRequest

GOOD = {"image_url": "https://a.example/1.jpg", "repo_url": "https://r.example/1"}


def refusal(images: object) -> str:
    """Return the message with which the rows are refused."""
    with pytest.raises(InvalidRequest) as error:
        check_rows({"images": images})
    assert error.value.code == "invalid_images"
    return error.value.message


@pytest.mark.parametrize("repo_url", ["https://r.example/1", "", "HD 7", "urn:nbn:de:1", "two\nlines", "Köln"])
def test_what_an_upload_accepts_can_be_added(repo_url: str) -> None:
    assert check_rows({"images": [{**GOOD, "repo_url": repo_url}]}).rows == [(GOOD["image_url"], repo_url)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_url": None}, "images[1].image_url is missing."),
        ({"repo_url": None}, "images[1].repo_url is missing."),
        ({"image_url": 7}, "images[1].image_url must be a string, not a number."),
        ({"image_url": ""}, "images[1].image_url must be an http(s) URL, not an empty field."),
        ({"image_url": "ftp://a.example/1"}, "images[1].image_url must be an http(s) URL, not “ftp://a.example/1”."),
        (
            {"image_url": "HD 7", "repo_url": "https://a.example/1.jpg"},
            "images[1].image_url must be an http(s) URL, not “HD 7”. repo_url looks like the image URL: swap the fields.",  # noqa: E501
        ),
        (
            {"repo_url": "java\tscript:alert(1)"},
            "images[1].repo_url must be an http(s) URL, or text without another scheme, not “javascript:” in “java\tscript:alert(1)”.",  # noqa: E501
        ),
        (
            {"repo_url": "x" * (MAX_FIELD_CHARACTERS + 1)},
            f"images[1].repo_url must have at most {MAX_FIELD_CHARACTERS} characters, not {MAX_FIELD_CHARACTERS + 1}.",
        ),
        (
            {"repo_url": "a\0b"},
            "images[1].repo_url must be text that UTF-8 can write, without NUL characters and lone surrogates.",
        ),
        (
            {"repo_url": "\ud800"},
            "images[1].repo_url must be text that UTF-8 can write, without NUL characters and lone surrogates.",
        ),
    ],
)
def test_a_wrong_row_is_named_by_its_position(change: dict[str, object], message: str) -> None:
    assert refusal([GOOD, {**GOOD, **change}, GOOD]) == message


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (None, 'images is missing. Send a list of {"image_url": …, "repo_url": …}.'),
        ({}, "images must be a list, not an object."),
        ([], f"images must have between 1 and {MAX_ROWS} images, not 0."),
        ([GOOD] * (MAX_ROWS + 1), f"images must have between 1 and {MAX_ROWS} images, not {MAX_ROWS + 1}."),
        ([GOOD, "https://a.example/1.jpg"], "images[1] must be an object, not a string."),
    ],
)
def test_anything_but_a_list_of_rows_is_refused(images: object, message: str) -> None:
    assert refusal(images) == message


def test_invisible_characters_are_removed_and_named() -> None:
    checked = check_rows(
        {"images": [GOOD, {"image_url": " https://a.example/\u200b2.jpg\n", "repo_url": "\ufeffHD 7"}]}
    )
    assert checked.rows[1] == ("https://a.example/2.jpg", "HD 7")
    assert checked.warnings() == [
        "Invisible characters were removed from 1 image, first from images[1], among them: U+200B zero width space, U+FEFF zero width no-break space."  # noqa: E501
    ]


def test_a_character_that_another_one_protected_is_removed_too() -> None:
    """Otherwise the row would be another one when it is read from the CSV."""
    image_url = "https://a.example/é\u200d\u00adx"
    assert check_rows({"images": [{**GOOD, "image_url": image_url}]}).rows[0][0] == "https://a.example/éx"


def test_unknown_fields_are_named() -> None:
    checked = check_rows({"images": [{**GOOD, "title": "Coin"}, {**GOOD, "title": "Coin", "year": 7}]})
    assert checked.warnings() == [
        "Fields of images that are unknown and ignored: title, year. Known: image_url, repo_url."
    ]
