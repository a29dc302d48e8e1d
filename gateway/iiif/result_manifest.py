"""The results of a search as a IIIF manifest (Presentation API 3.0), for viewers such as Mirador.

Each result is a canvas with a Web Annotation that says how near it is. The sizes of images are not known, so a canvas
has the size of a square, in which viewers fit the image.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from catalog.sources.records import ImageDetails
from gateway.http.json_object import JsonObject
from gateway.iiif.negotiation import CONTEXT

EDGE = 1000
WEB_ADDRESS = re.compile(r"https?://\S+", re.IGNORECASE)
# Some viewers need the format to show an image.
FORMATS = {"png": "image/png", "webp": "image/webp", "gif": "image/gif", "tif": "image/tiff", "tiff": "image/tiff"}
JPEG = "image/jpeg"
RIGHTS = re.compile(r"https?://(creativecommons|rightsstatements)\.org/", re.IGNORECASE)

Json = dict[str, object]


@dataclass(frozen=True)
class Asked:
    """What was asked. address: of this answer. query: what was looked for, in words. index_url: describes the index.

    index_id: None if the answer does not say it.
    """

    address: str
    query: str
    index_id: int | None
    index_url: str


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
    if warnings:
        manifest["summary"] = {"en": list(warnings)}
    return manifest


def _canvas(asked: Asked, place: int, result: Result, details: ImageDetails | None) -> Json:
    address = f"{asked.address}#canvas-{place}"
    canvas: Json = {
        "id": address,
        "type": "Canvas",
        "label": _label(place, result, details),
        "height": EDGE,
        "width": EDGE,
        "items": [_page(f"{address}-painting", [_painting(address, result.image_url)])],
        "annotations": [_page(f"{address}-annotations", [_annotation(asked, address, result)])],
    }
    if details is not None:
        canvas |= _credits(details)
    if WEB_ADDRESS.fullmatch(result.repo_url):
        entry = {"id": result.repo_url, "type": "Text", "label": {"en": ["Entry"]}, "format": "text/html"}
        canvas["homepage"] = [entry]
    return canvas


def _empty_canvas(asked: Asked) -> Json:
    address = f"{asked.address}#canvas-0"
    label = {"en": ["No results"]}
    return {"id": address, "type": "Canvas", "label": label, "height": EDGE, "width": EDGE, "items": []}


def _painting(canvas: str, image_url: str) -> Json:
    suffix = image_url.partition("?")[0].rpartition(".")[2].lower()
    return {
        "id": f"{canvas}-image",
        "type": "Annotation",
        "motivation": "painting",
        "body": {
            "id": image_url,
            "type": "Image",
            "format": FORMATS.get(suffix, JPEG),
            "height": EDGE,
            "width": EDGE,
        },
        "target": canvas,
    }


def _annotation(asked: Asked, canvas: str, result: Result) -> Json:
    """Return a Web Annotation: a sentence for people, and the same as data."""
    facts = {
        "score": result.score,
        "percentile": result.percentile,
        "false_match_rate": result.false_match_rate,
        "image_id": result.image_id,
        "query": asked.query,
        "index": asked.index_url,
    }
    percentile = "" if result.percentile is None else f", percentile {result.percentile:.1f}"
    sentence = f"Score {result.score:.3f}{percentile}. Query: {asked.query}. Index {_index(asked)}."
    return {
        "id": f"{canvas}-score",
        "type": "Annotation",
        "motivation": ["assessing", "commenting"],
        "body": [
            {"type": "TextualBody", "value": sentence, "format": "text/plain", "language": "en"},
            {"type": "TextualBody", "value": json.dumps(facts, ensure_ascii=False), "format": "application/json"},
        ],
        "target": canvas,
    }


def _page(address: str, annotations: Sequence[Json]) -> Json:
    return {"id": address, "type": "AnnotationPage", "items": list(annotations)}


def _index(asked: Asked) -> str:
    return "unknown" if asked.index_id is None else str(asked.index_id)


def _credits(details: ImageDetails) -> Json:
    found: Json = {}
    if details.attribution is not None:
        found["requiredStatement"] = {"label": {"en": ["Attribution"]}, "value": {"none": [details.attribution]}}
    # Only addresses of Creative Commons and RightsStatements.org are allowed there (Presentation 3, 3.1).
    if details.rights is not None and RIGHTS.match(details.rights):
        found["rights"] = details.rights
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
