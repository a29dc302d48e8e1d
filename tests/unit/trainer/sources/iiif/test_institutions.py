"""The manifests of many institutions, as they are and broken in the ways that occur: right rows, or one clear error."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from servicekit.errors import ServiceError
from tests.unit.trainer.sources.iiif.institutions import AUTH, INSTITUTIONS, MANIFEST, SITE, Institution
from tests.unit.trainer.sources.iiif.shapes import Json
from trainer.sources.documents import parse_json
from trainer.sources.iiif.presentation import CollectionPage, Manifest, parse


def read(body: bytes) -> Manifest:
    found = parse(MANIFEST, parse_json(MANIFEST, body))
    assert isinstance(found, Manifest)
    return found


def rows(manifest: Manifest) -> list[tuple[str, str]]:
    return [(image.image_url, image.repo_url) for image in manifest.images]


def expected(institution: Institution) -> list[tuple[str, str]]:
    return [(image, institution.page) for image in institution.images]


def changed(institution: Institution, change: Callable[[Json], object]) -> bytes:
    manifest = copy.deepcopy(institution.manifest)
    change(manifest)
    return json.dumps(manifest).encode()


def canvases(manifest: Json) -> list[Json]:
    found: list[Json] = manifest["sequences"][0]["canvases"] if "sequences" in manifest else manifest["items"]
    return found


def paintings(manifest: Json) -> Iterator[Json]:
    for canvas in canvases(manifest):
        yield from canvas["images"] if "images" in canvas else canvas["items"][0]["items"]


def bodies(manifest: Json) -> Iterator[Json]:
    for painting in paintings(manifest):
        yield painting["resource"] if "resource" in painting else painting["body"]


def of_all(parts: Callable[[Json], Iterator[Json]], change: Callable[[Json], object]) -> Callable[[Json], object]:
    """Return a change of all parts of a manifest."""
    return lambda manifest: [change(part) for part in parts(manifest)]


def each(manifest: Json) -> Iterator[Json]:
    """Return the manifest and its canvases."""
    yield manifest
    yield from canvases(manifest)


def without(*names: str) -> Callable[[Json], object]:
    return lambda part: [part.pop(name, None) for name in names]


def put(**values: object) -> Callable[[Json], object]:
    return lambda part: part.update(values)


def in_a_list_or_not(body: Json) -> None:
    service = body.get("service")
    if service is not None:
        body["service"] = service[0] if isinstance(service, list) else [service]


def after_others(body: Json) -> None:
    service = body.get("service")
    if service is not None:
        others = [AUTH, None, "text", {"profile": "http://iiif.io/api/annex/services/physdim"}]
        body["service"] = [*others, *(service if isinstance(service, list) else [service])]


def sizes_as_texts(part: Json) -> None:
    for name in ("width", "height"):
        if name in part:
            part[name] = str(part[name])


def add_broken_canvases(manifest: Json) -> None:
    broken: list[Any] = [None, "x", {}, {"items": []}]
    canvases(manifest).extend(broken)


def relative(value: object) -> object:
    """Return a JSON value in which addresses of the site lack its name."""
    if isinstance(value, dict):
        return {name: relative(each) for name, each in value.items()}
    if isinstance(value, list):
        return [relative(each) for each in value]
    return value.removeprefix(SITE) or "/" if isinstance(value, str) and value.startswith(SITE) else value


# What changes nothing for the rows.
HARMLESS: dict[str, Callable[[Json], object]] = {
    "as it is": lambda _: None,
    "no context": without("@context"),
    "an unknown context": put(**{"@context": ["http://example.org/extension.json", 7]}),
    "no id": without("id", "@id"),
    "no type of the manifest": without("type", "@type"),
    "no types of canvases": of_all(lambda manifest: iter(canvases(manifest)), without("type", "@type")),
    "no types of images": of_all(bodies, without("type", "@type")),
    "no formats of images": of_all(bodies, without("format")),
    "no labels": of_all(each, without("label")),
    "labels that are numbers": of_all(each, put(label=7)),
    "labels that are lists": of_all(each, put(label=["A", {"@value": "B"}, None])),
    "labels with languages": of_all(each, put(label={"de": ["Buch"], "en": "Book", "x": None})),
    "no motivations": of_all(paintings, without("motivation")),
    "motivations of the other version": of_all(paintings, put(motivation=["sc:painting"])),
    "a service in a list, or not": of_all(bodies, in_a_list_or_not),
    "other services before that of the image": of_all(bodies, after_others),
    "equal ids of canvases": of_all(lambda manifest: iter(canvases(manifest)), put(id="x", **{"@id": "x"})),
    "canvases that are null, texts or empty": add_broken_canvases,
    "broken structures": put(structures="none", metadata=[None], service=7, rights=[None], license={}),
    "unknown properties": of_all(each, put(navPlace={"type": "x"}, viewingHint=["paged"], behavior=7)),
    "sizes that are texts": of_all(bodies, sizes_as_texts),
    "images in a list": of_all(
        paintings, lambda part: part.update({name: [part[name]] for name in ("resource", "body") if name in part})
    ),
}  # fmt: skip

EMPTY: dict[str, Callable[[Json], object]] = {
    "no sequences and no items": without("sequences", "items"),
    "empty lists": put(sequences=[], items=[]),
    "sequences that are null": put(sequences=None, items=None),
    "canvases without images": of_all(lambda manifest: iter(canvases(manifest)), put(images=[], items=[])),
    "images without an address": of_all(bodies, lambda body: body.clear()),
    "sound in place of images": of_all(bodies, put(type="Sound", format="audio/mpeg", **{"@type": "dctypes:Sound"})),
}

# What is sent, and what the error says.
NOT_A_MANIFEST: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut off": (lambda body: body[: len(body) // 2], r"found invalid JSON \(.*EOF"),
    "a web page": (lambda _: b"<!doctype html><title>Sign in</title>", "found a web page or XML"),
    "XML": (lambda _: b"\xef\xbb\xbf<?xml version='1.0'?><a/>", "found a web page or XML"),
    "nothing but spaces": (lambda _: b"  \n", "found invalid JSON"),
    "an error in JSON": (lambda _: b'{"error": "not found"}', "found JSON of the type “none”"),
    "null": (lambda _: b"null", "found JSON of the type “none”"),
    "a list of manifests": (lambda body: b"[" + body + b"]", "found JSON of the type “none”"),
    "a number that JSON has not": (lambda body: body.replace(b"4000", b"NaN", 1), "found invalid JSON"),
    "a comma too many": (lambda body: body.replace(b'"width": 3000,', b'"width": 3000,,', 1), "found invalid JSON"),
    "UTF-16": (lambda body: body.decode().encode("utf-16"), "found invalid JSON"),
}


@pytest.mark.parametrize("name", INSTITUTIONS)
def test_a_manifest_has_the_right_rows_whatever_harmless_is_wrong(name: str) -> None:
    institution = INSTITUTIONS[name]
    for what, change in HARMLESS.items():
        assert rows(read(changed(institution, change))) == expected(institution), what


@pytest.mark.parametrize("name", INSTITUTIONS)
def test_relative_addresses_count_from_the_manifest(name: str) -> None:
    institution = INSTITUTIONS[name]
    assert rows(read(json.dumps(relative(institution.manifest)).encode())) == expected(institution)


@pytest.mark.parametrize("name", INSTITUTIONS)
def test_white_space_and_a_byte_order_mark_do_no_harm(name: str) -> None:
    institution = INSTITUTIONS[name]
    body = json.dumps(institution.manifest, indent=2).encode()
    assert rows(read(b"\xef\xbb\xbf\r\n " + body + b"\n\n")) == expected(institution)


@pytest.mark.parametrize("name", INSTITUTIONS)
def test_a_manifest_without_images_has_no_rows(name: str) -> None:
    for what, change in EMPTY.items():
        assert rows(read(changed(INSTITUTIONS[name], change))) == [], what


@pytest.mark.parametrize("name", [name for name in INSTITUTIONS if not name.startswith("Göttingen")])
def test_without_a_service_that_is_described_the_named_image_counts(name: str) -> None:
    institution = INSTITUTIONS[name]
    named = [body.get("id", body.get("@id")) for body in bodies(institution.manifest)]
    services: list[object] = [f"{SITE}/iiif/x", {"@id": f"{SITE}/iiif/x"}, 7, [], {"profile": "level2"}]
    for service in services:
        found = read(changed(institution, of_all(bodies, put(service=service))))
        assert [image.image_url for image in found.images] == named, service


@pytest.mark.parametrize("kind", NOT_A_MANIFEST)
@pytest.mark.parametrize("name", list(INSTITUTIONS)[:2])
def test_what_is_no_manifest_is_one_clear_error(name: str, kind: str) -> None:
    change, problem = NOT_A_MANIFEST[kind]
    with pytest.raises(ServiceError, match=problem) as refused:
        read(change(json.dumps(INSTITUTIONS[name].manifest).encode()))
    assert refused.value.code == "source_invalid"
    assert refused.value.message.startswith(f"{MANIFEST}: expected a IIIF manifest")


MEMBERS = [f"{SITE}/1", f"{SITE}/2"]
OF_3 = [{"id": member, "type": "Manifest"} for member in MEMBERS]
OF_2 = [{"@id": member, "@type": "sc:Manifest"} for member in MEMBERS]
COLLECTIONS: dict[str, Json] = {
    "version 3": {"type": "Collection", "items": OF_3},
    "version 2": {"@type": "sc:Collection", "manifests": OF_2},
    "version 2.1, members": {"@type": "sc:Collection", "members": OF_2},
    "version 2, both lists with the same": {"@type": "sc:Collection", "members": OF_2, "manifests": OF_2},
    "embedded manifests": {"type": "Collection", "items": [{**one, "items": []} for one in OF_3]},
    "plain addresses": {"@type": "sc:Collection", "manifests": MEMBERS},
    "relative addresses": {"type": "Collection", "items": [{"id": "/1"}, {"id": "./2", "type": "Manifest"}]},
    "members that are null, without an id, or of another kind": {
        "type": "Collection",
        "items": [None, {"type": "Manifest"}, *OF_3, {"id": "urn:x"}, 7],
    },
    "a member twice": {"type": "Collection", "items": [*OF_3, *OF_3]},
}


@pytest.mark.parametrize("name", COLLECTIONS)
def test_a_collection_lists_its_manifests(name: str) -> None:
    found = parse(f"{SITE}/top", COLLECTIONS[name])
    assert found == CollectionPage(tuple(MEMBERS), (), ())
