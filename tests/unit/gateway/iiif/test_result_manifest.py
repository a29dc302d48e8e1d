"""The manifest of results: canvases in order, and an annotation that says how near each result is."""

import json
from dataclasses import replace
from typing import Any, cast

from catalog.sources.records import ImageDetails
from gateway.iiif.result_manifest import Asked, Result, result_manifest

ADDRESS = "https://similis.example.org/api/collection/1/similar?image_id=7&format=iiif"
ASKED = Asked(ADDRESS, "image 7", 17, "https://similis.example.org/api/collection/1/indexes/17")
RESULTS = [
    Result("https://img.example/1.jpg", "https://repo.example/1", 0.9312, 12, 99.7, 0.01),
    Result("https://img.example/2.PNG?x=1", "Inventory 2", 0.5, 13, None, None),
]


DETAILS = ImageDetails("A coin", "A museum", "http://creativecommons.org/licenses/by/4.0/")


def made(results: list[Result], warnings: tuple[str, ...] = (), details: ImageDetails | None = None) -> dict[str, Any]:
    by_url = {} if details is None else {results[0].image_url: details}
    return cast("dict[str, Any]", json.loads(json.dumps(result_manifest(ASKED, results, by_url, warnings))))


def test_each_result_is_a_canvas_with_its_image() -> None:
    manifest = made(RESULTS)
    bodies = [canvas["items"][0]["items"][0]["body"] for canvas in manifest["items"]]
    assert [body["id"] for body in bodies] == [result.image_url for result in RESULTS]
    assert [body["format"] for body in bodies] == ["image/jpeg", "image/png"]
    targets = [canvas["items"][0]["items"][0]["target"] for canvas in manifest["items"]]
    assert targets == [canvas["id"] for canvas in manifest["items"]]


def test_an_annotation_says_score_percentile_query_and_index() -> None:
    annotation = made(RESULTS)["items"][0]["annotations"][0]["items"][0]
    sentence, facts = annotation["body"]
    assert sentence["value"] == "Score 0.931, percentile 99.7. Query: image 7. Index 17."
    assert json.loads(facts["value"]) == {
        "score": 0.9312, "percentile": 99.7, "false_match_rate": 0.01, "image_id": 12, "query": "image 7",
        "index": ASKED.index_url,
    }  # fmt: skip


def test_only_entries_with_an_address_are_linked() -> None:
    first, second = made(RESULTS)["items"]
    assert first["homepage"][0]["id"] == "https://repo.example/1"
    assert "homepage" not in second


def test_what_the_source_says_is_shown() -> None:
    first, second = made(RESULTS, details=DETAILS)["items"]
    assert first["label"] == {"none": ["1. Score 0.93: A coin"]}
    assert first["requiredStatement"]["value"] == {"none": ["A museum"]}
    assert first["rights"] == DETAILS.rights
    assert "rights" not in second
    other = made(RESULTS, details=replace(DETAILS, rights="Ask us"))["items"][0]
    assert other["metadata"][0]["value"] == {"none": ["Ask us"]}


def test_all_ids_differ() -> None:
    text = json.dumps(made(RESULTS))
    ids = [part.partition('"')[0] for part in text.split('"id": "')[1:]]
    assert len(ids) == len(set(ids))


def test_no_results_are_a_canvas_that_says_so() -> None:
    manifest = made([], ("Only 5 of 10 collections were searched.",))
    assert [canvas["label"] for canvas in manifest["items"]] == [{"en": ["No results"]}]
    assert manifest["summary"] == {"en": ["Only 5 of 10 collections were searched."]}
