"""The results of a search as a IIIF manifest (Presentation API 3.0), for viewers such as Mirador.

Each result is a canvas with two Web Annotations that say how near it is: a sentence for people, which viewers show,
and the same as data. The sizes of images are not known, so a canvas is a square, in which viewers fit the image.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from catalog.sources.records import ImageDetails
from gateway.http.json_object import JsonObject
from gateway.iiif.asked_examples import AskedRegion, as_uri
from gateway.iiif.negotiation import CONTEXT

EDGE = 1000
WEB_ADDRESS = re.compile(r"https?://\S+", re.IGNORECASE)
# Some viewers need the format to show an image.
FORMATS = {"png": "image/png", "webp": "image/webp", "gif": "image/gif", "tif": "image/tiff", "tiff": "image/tiff"}
JPEG = "image/jpeg"
# The only addresses that `rights` may have (Presentation 3, 3.1). Their scheme is http.
RIGHTS = re.compile(
    r"https?://(?:www\.)?(creativecommons\.org/(?:licenses|publicdomain)/\S+|rightsstatements\.org/vocab/\S+)",
    re.IGNORECASE,
)

Json = dict[str, object]


@dataclass(frozen=True)
class Asked:
    """What was asked. address: of this answer. query: what was looked for, in words. index_url: describes the index.

    index_id: None if the answer does not say it. regions: the parts of images that were looked for. images_url: of the
    images of the collection, if thumbnails of them are served; None: they are not.
    """

    address: str
    query: str
    index_id: int | None
    index_url: str
    regions: Sequence[AskedRegion] = ()
    images_url: str | None = None

    def part(self, name: str) -> str:
        """Return the address of a part of the answer."""
        return f"{self.address}#{name}"

    def canvas(self, place: int) -> str:
        """Return the address of a canvas. It must not have a fragment (Presentation 3, 3.2, id)."""
        return f"{self.address}{'&' if '?' in self.address else '?'}canvas={place}"


@dataclass(frozen=True)
class Result:
    """A result of a search, as its answer has it."""

    image_url: str
    repo_url: str
    score: float
    image_id: int | None
    percentile: float | None
    false_match_rate: float | None

    @classmethod
    def of(cls, fields: JsonObject) -> "Result":
        """Return the result in an answer."""
        return cls(
            image_url=str(fields["image_url"]),
            repo_url=str(fields["repo_url"]),
            score=cast("float", fields["score"]),
            image_id=cast("int | None", fields.get("image_id")),
            percentile=cast("float | None", fields.get("percentile")),
            false_match_rate=cast("float | None", fields.get("false_match_rate")),
        )


def result_manifest(
    asked: Asked, results: Sequence[Result], details: Mapping[str, ImageDetails], warnings: Sequence[str]
) -> Json:
    """Return the manifest of the results, in their order. A manifest needs a canvas, so no result is one without.

    details: what the source of the collection says about images, by image URL.
    """
    canvases = [
        _canvas(asked, place, result, details.get(result.image_url)) for place, result in enumerate(results, 1)
    ] or [_empty_canvas(asked)]
    manifest: Json = {
        "@context": CONTEXT,
        "id": asked.address,
        "type": "Manifest",
        "label": {"en": [f"Images similar to {asked.query}"]},
        "metadata": [_entry("Query", asked.query), _entry("Index", _index(asked))],
        "seeAlso": [
            {
                "id": asked.index_url,
                "type": "Dataset",
                "label": {"en": ["Description of the index"]},
                "format": "application/json",
            }
        ],
        "items": canvases,
    }
    if asked.regions:
        found = [_region(asked, place, each) for place, each in enumerate(asked.regions, 1)]
        manifest["annotations"] = [_page(asked.part("regions"), found)]
    if warnings:
        manifest["summary"] = {"en": list(warnings)}
    return manifest


def _canvas(asked: Asked, place: int, result: Result, details: ImageDetails | None) -> Json:
    address, name = asked.canvas(place), f"canvas-{place}"
    canvas: Json = {
        "id": address,
        "type": "Canvas",
        "label": _label(place, result, details),
        "height": EDGE,
        "width": EDGE,
        "thumbnail": [_thumbnail(asked, result)],
        "items": [
            _page(asked.part(f"{name}-painting"), [_painting(asked.part(f"{name}-image"), address, result.image_url)])
        ],
        "annotations": [
            _page(
                asked.part(f"{name}-annotations"),
                [
                    _annotation(asked.part(f"{name}-score"), "commenting", _sentence(asked, result), address),
                    _annotation(asked.part(f"{name}-facts"), "assessing", _facts(asked, result), address),
                ],
            )
        ],
    }
    if details is not None:
        canvas |= _credits(details)
    if WEB_ADDRESS.fullmatch(result.repo_url):
        entry = {"id": as_uri(result.repo_url), "type": "Text", "label": {"en": ["Entry"]}, "format": "text/html"}
        canvas["homepage"] = [entry]
    return canvas


def _empty_canvas(asked: Asked) -> Json:
    label = {"en": ["No results"]}
    return {"id": asked.canvas(0), "type": "Canvas", "label": label, "height": EDGE, "width": EDGE, "items": []}


def _thumbnail(asked: Asked, result: Result) -> Json:
    if asked.images_url is None or result.image_id is None:
        return _image(result.image_url)
    return {"id": f"{asked.images_url}/{result.image_id}/thumbnail", "type": "Image", "format": JPEG}


def _image(url: str) -> Json:
    suffix = url.partition("?")[0].rpartition(".")[2].lower()
    return {"id": as_uri(url), "type": "Image", "format": FORMATS.get(suffix, JPEG)}


def _painting(address: str, canvas: str, image_url: str) -> Json:
    return {
        "id": address,
        "type": "Annotation",
        "motivation": "painting",
        "body": {**_image(image_url), "height": EDGE, "width": EDGE},
        "target": canvas,
    }


def _sentence(asked: Asked, result: Result) -> Json:
    percentile = "" if result.percentile is None else f", percentile {result.percentile:.1f}"
    sentence = f"Score {result.score:.3f}{percentile}. Query: {asked.query}. Index {_index(asked)}."
    return _text(sentence)


def _facts(asked: Asked, result: Result) -> Json:
    facts = {
        "score": result.score,
        "percentile": result.percentile,
        "false_match_rate": result.false_match_rate,
        "image_id": result.image_id,
        "query": asked.query,
        "index": asked.index_url,
    }
    return {"type": "TextualBody", "value": json.dumps(facts, ensure_ascii=False), "format": "application/json"}


def _region(asked: Asked, place: int, region: AskedRegion) -> Json:
    body = _text(f"The query: {region.words}.")
    return _annotation(asked.part(f"region-{place}"), "highlighting", body, region.target)


def _annotation(address: str, motivation: str, body: Json, target: str) -> Json:
    return {"id": address, "type": "Annotation", "motivation": motivation, "body": [body], "target": target}


def _text(sentence: str) -> Json:
    return {"type": "TextualBody", "value": sentence, "format": "text/plain", "language": "en"}


def _page(address: str, annotations: Sequence[Json]) -> Json:
    return {"id": address, "type": "AnnotationPage", "items": list(annotations)}


def _index(asked: Asked) -> str:
    return "unknown" if asked.index_id is None else str(asked.index_id)


def _credits(details: ImageDetails) -> Json:
    found: Json = {}
    if details.attribution is not None:
        found["requiredStatement"] = {"label": {"en": ["Attribution"]}, "value": {"none": [details.attribution]}}
    known = None if details.rights is None else RIGHTS.fullmatch(details.rights)
    if known is not None:
        found["rights"] = f"http://{known[1]}"
    elif details.rights is not None:
        found["metadata"] = [_entry("Rights", details.rights)]
    return found


def _label(place: int, result: Result, details: ImageDetails | None) -> Json:
    score = f"{place}. Score {result.score:.2f}"
    if details is None or details.label is None:
        return {"en": [score]}
    return {"none": [f"{score}: {details.label}"]}


def _entry(label: str, value: str) -> Json:
    return {"label": {"en": [label]}, "value": {"none": [value]}}
