"""The manifest of results: canvases in order, and annotations that say how near each result is."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import pytest

from catalog.sources.records import ImageDetails
from gateway.iiif.asked_examples import asked_regions, in_words
from gateway.iiif.result_manifest import Asked, Result, result_manifest
from gateway.search.question import Example
from servicekit.image_region import Region
from tests.presentation_schema import SCHEMA, VALIDATOR, assert_valid
from tests.specification import DOCUMENT

ADDRESS = "https://similis.example.org/api/collection/1/similar?image_id=7&format=iiif"
ASKED = Asked(ADDRESS, "image 7", 17, "https://similis.example.org/api/collection/1/indexes/17")
RESULTS = [
    Result("https://img.example/1.jpg", "https://repo.example/1", 0.9312, 12, 99.7, 0.01),
    Result("https://img.example/2.PNG?x=1", "Inventory 2", 0.5, 13, None, None),
]
# A row of a CSV can have any characters in its URL.
ODD = Result("https://img.example/Blätter [1] 100%.jpg?q=a|b#x#y", "https://repo.example/é", 0.25, 14, 1.0, 1.0)


DETAILS = ImageDetails("A coin", "A museum", "http://creativecommons.org/licenses/by/4.0/")
REGION = Region(0.1, 0.25, 1 / 3, 0.5)


def made(
    results: list[Result],
    warnings: tuple[str, ...] = (),
    details: ImageDetails | None = None,
    examples: tuple[Example, ...] = (),
) -> dict[str, Any]:
    """Return a manifest that is valid."""
    by_url = {} if details is None else {results[0].image_url: details}
    asked = replace(ASKED, regions=asked_regions(examples, {7: "https://img.example/7.jpg#x"}))
    manifest = cast("dict[str, Any]", json.loads(json.dumps(result_manifest(asked, results, by_url, warnings))))
    assert_valid(manifest)
    return manifest


def identifiers(value: object) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from identifiers(each)
    if isinstance(value, dict):
        # The address of an image is also that of another image in another answer.
        if value.get("type") in ("Manifest", "Canvas", "AnnotationPage", "Annotation"):
            yield value["id"]
        for each in value.values():
            yield from identifiers(each)


def test_the_schema_refuses_what_the_specification_does_not_allow() -> None:
    VALIDATOR.check_schema(SCHEMA)
    for path, value in (
        ("label", "A text without a language"),
        ("rights", "https://creativecommons.org/licenses/by/4.0/"),
        ("id", f"{ADDRESS}#a-canvas-with-a-fragment"),
        ("width", 0),
        ("homepage", [{"id": "https://repo.example/1"}]),
        ("unknown", "property"),
    ):
        manifest = made(RESULTS)
        manifest["items"][0][path] = value
        assert not VALIDATOR.is_valid(manifest), path


def test_each_result_is_a_canvas_with_its_image() -> None:
    manifest = made(RESULTS)
    bodies = [canvas["items"][0]["items"][0]["body"] for canvas in manifest["items"]]
    assert [body["id"] for body in bodies] == [result.image_url for result in RESULTS]
    assert [body["format"] for body in bodies] == ["image/jpeg", "image/png"]
    targets = [canvas["items"][0]["items"][0]["target"] for canvas in manifest["items"]]
    assert targets == [canvas["id"] for canvas in manifest["items"]]


def test_a_canvas_has_a_thumbnail_or_else_the_image_as_one() -> None:
    images = "https://similis.example.org/api/collection/1/images"
    for images_url, thumbnail in ((images, f"{images}/12/thumbnail"), (None, RESULTS[0].image_url)):
        manifest = result_manifest(replace(ASKED, images_url=images_url), RESULTS, {}, ())
        assert_valid(manifest)
        first = cast("list[dict[str, Any]]", manifest["items"])[0]
        assert first["thumbnail"] == [{"id": thumbnail, "type": "Image", "format": "image/jpeg"}]


def test_annotations_say_score_percentile_query_and_index() -> None:
    canvas = made(RESULTS)["items"][0]
    comment, data = canvas["annotations"][0]["items"]
    assert [each["motivation"] for each in (comment, data)] == ["commenting", "assessing"]
    assert [each["target"] for each in (comment, data)] == [canvas["id"]] * 2
    assert comment["body"][0]["value"] == "Score 0.931, percentile 99.7. Query: image 7. Index 17."
    assert json.loads(data["body"][0]["value"]) == {
        "score": 0.9312, "percentile": 99.7, "false_match_rate": 0.01, "image_id": 12, "query": "image 7",
        "index": ASKED.index_url,
    }  # fmt: skip


def test_only_entries_with_an_address_are_linked() -> None:
    first, second = made(RESULTS)["items"]
    assert first["homepage"][0]["id"] == "https://repo.example/1"
    assert "homepage" not in second


def test_addresses_with_characters_that_a_uri_cannot_have_are_encoded() -> None:
    canvas = made([ODD])["items"][0]
    body = canvas["items"][0]["items"][0]["body"]
    assert body["id"] == "https://img.example/Bl%C3%A4tter%20%5B1%5D%20100%25.jpg?q=a%7Cb#x%23y"
    assert canvas["homepage"][0]["id"] == "https://repo.example/%C3%A9"


def test_what_the_source_says_is_shown() -> None:
    first, second = made(RESULTS, details=DETAILS)["items"]
    assert first["label"] == {"none": ["1. Score 0.93: A coin"]}
    assert first["requiredStatement"]["value"] == {"none": ["A museum"]}
    assert first["rights"] == DETAILS.rights
    assert "rights" not in second


@pytest.mark.parametrize(
    ("said", "rights"),
    [
        ("https://creativecommons.org/publicdomain/zero/1.0/", "http://creativecommons.org/publicdomain/zero/1.0/"),
        ("https://www.creativecommons.org/licenses/by/4.0/", "http://creativecommons.org/licenses/by/4.0/"),
        ("http://rightsstatements.org/vocab/InC/1.0/", "http://rightsstatements.org/vocab/InC/1.0/"),
        ("http://rightsstatements.org/page/InC/1.0/", None),
        ("https://library.example/terms", None),
        ("Ask us", None),
    ],
)
def test_only_addresses_that_the_specification_allows_are_rights(said: str, rights: str | None) -> None:
    canvas = made(RESULTS, details=replace(DETAILS, rights=said))["items"][0]
    assert canvas.get("rights") == rights
    if rights is None:
        assert canvas["metadata"][0]["value"] == {"none": [said]}


def test_all_ids_differ_and_those_of_canvases_have_no_fragment() -> None:
    manifest = made(RESULTS, examples=(Example(image_id=7, region=REGION),) * 2)
    ids = list(identifiers(manifest))
    assert len(ids) == len(set(ids))
    assert not any("#" in canvas["id"] for canvas in manifest["items"])


def test_no_results_are_a_canvas_that_says_so() -> None:
    manifest = made([], ("Only 5 of 10 collections were searched.",))
    assert [canvas["label"] for canvas in manifest["items"]] == [{"en": ["No results"]}]
    assert manifest["summary"] == {"en": ["Only 5 of 10 collections were searched."]}


def test_a_region_that_was_asked_for_is_the_target_of_an_annotation() -> None:
    examples = (
        Example(image_id=7, region=REGION),
        Example(image_url="https://img.example/x.jpg", region=Region(0, 0, 1, 1)),
        Example(image_id=8),
    )
    (page,) = made(RESULTS, examples=examples)["annotations"]
    assert [each["target"] for each in page["items"]] == [
        "https://img.example/7.jpg#xywh=percent:10,25,33.33,50",
        "https://img.example/x.jpg#xywh=percent:0,0,100,100",
    ]
    assert page["items"][0]["body"][0]["value"] == "The query: a part of image 7 (33.33 % × 50 % at 10 %, 25 %)."


def test_a_region_of_an_image_without_an_address_has_no_target() -> None:
    examples = (Example(image=b"jpeg", region=REGION), Example(image_id=9, region=REGION))
    assert "annotations" not in made(RESULTS, examples=examples)


@pytest.mark.parametrize(
    ("examples", "words"),
    [
        ([Example(image=b"jpeg")], "an image that was sent"),
        ([Example(text="a red seal")], "“a red seal”"),
        ([Example(text="x" * 201)], f"“{'x' * 200}…”"),
        (
            [Example(image_id=3), Example(image_url="https://img.example/4.jpg"), Example(text="gold", weight=-0.5)],
            "image 3 and https://img.example/4.jpg, and not to “gold”",
        ),
    ],
)
def test_the_query_is_said_in_words(examples: list[Example], words: str) -> None:
    assert in_words(examples) == words


def test_the_example_in_the_specification_is_valid() -> None:
    assert_valid(DOCUMENT["components"]["examples"]["iiif_manifest"]["value"])
