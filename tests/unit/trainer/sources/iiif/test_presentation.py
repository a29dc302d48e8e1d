"""Manifests and collections: the right rows, whatever shape an institution has chosen."""

import pytest

from servicekit.errors import ServiceError
from tests.unit.trainer.sources.iiif.shapes import BROKEN, SHAPES, Json, canvas_3, manifest_3
from trainer.sources.iiif.presentation import CollectionPage, Manifest, parse

URL = "https://a.example/manifest"


def manifest(document: Json) -> Manifest:
    found = parse(URL, document)
    assert isinstance(found, Manifest)
    return found


@pytest.mark.parametrize("name", SHAPES)
def test_the_manifest_of_an_institution_has_the_right_row(name: str) -> None:
    document, expected = SHAPES[name]
    first = manifest(document).images[0]
    assert (first.image_url, first.repo_url, first.label, first.attribution, first.rights) == expected


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_manifest_loses_only_what_is_broken(name: str) -> None:
    document, expected = BROKEN[name]
    assert [image.image_url for image in manifest(document).images] == expected


def test_a_canvas_is_a_row_whatever_is_on_it() -> None:
    one = {"id": "https://m.example/1.jpg", "type": "Image"}
    found = manifest(manifest_3(canvas_3([one, {"id": "https://m.example/2.jpg", "type": "Image"}]), canvas_3(one)))
    assert [image.image_url for image in found.images] == ["https://m.example/1.jpg"] * 2


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            {
                "type": "Collection",
                "items": [{"type": "Manifest", "id": "https://a.example/1"}, {"type": "Collection", "id": "https://a.example/2"}],
            },
            CollectionPage(("https://a.example/1",), ("https://a.example/2",), ()),
        ),
        (
            {
                "@type": "sc:Collection",
                "manifests": [{"@id": "https://a.example/1"}, "https://a.example/3"],
                "collections": [{"@id": "https://a.example/2"}],
                "next": "https://a.example/page2",
            },
            CollectionPage(("https://a.example/1", "https://a.example/3"), ("https://a.example/2",), ("https://a.example/page2",)),
        ),
        (
            {
                "@type": "sc:Collection",
                "members": [{"@type": "sc:Manifest", "@id": "https://a.example/1"}, {"@id": "x"}],
            },
            CollectionPage(("https://a.example/1",), (), ()),
        ),
    ],
    ids=["version 3", "version 2", "members of version 2.1"],
)  # fmt: skip
def test_a_collection_lists_manifests_and_collections(document: Json, expected: CollectionPage) -> None:
    assert parse(URL, document) == expected


@pytest.mark.parametrize("document", [[], "text", None, {}, {"type": "Canvas"}, {"@context": "x"}])
def test_other_documents_are_refused(document: object) -> None:
    with pytest.raises(ServiceError, match="expected a IIIF manifest or collection") as refused:
        parse(URL, document)
    assert refused.value.code == "source_invalid"
