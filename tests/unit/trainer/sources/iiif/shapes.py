"""Manifests in the shapes that institutions publish, made by hand: names and addresses are invented."""

from typing import Any

Json = dict[str, Any]
V2 = "http://iiif.io/api/presentation/2/context.json"
V3 = "http://iiif.io/api/presentation/3/context.json"
IMAGE_2 = "http://iiif.io/api/image/2/context.json"


def canvas_2(resource: Any, **more: Any) -> Json:
    annotation = {"@type": "oa:Annotation", "motivation": "sc:painting", "resource": resource}
    return {"@type": "sc:Canvas", "label": "1r", "width": 3000, "height": 4000, "images": [annotation], **more}


def manifest_2(*canvases: Json, **more: Any) -> Json:
    return {
        "@context": V2,
        "@type": "sc:Manifest",
        "label": "A book",
        "sequences": [{"canvases": list(canvases)}],
        **more,
    }


def canvas_3(body: Any, **more: Any) -> Json:
    annotation = {"type": "Annotation", "motivation": "painting", "body": body}
    page = {"type": "AnnotationPage", "items": [annotation]}
    return {"type": "Canvas", "width": 3000, "height": 4000, "items": [page], **more}


def manifest_3(*canvases: Json | None, **more: Any) -> Json:
    return {"@context": V3, "type": "Manifest", "label": {"en": ["A book"]}, "items": list(canvases), **more}


def image(service: Any = None, address: str = "https://img.example/1/full/full/0/default.jpg", **more: Any) -> Json:
    found = {"@id": address, "@type": "dctypes:Image", "format": "image/jpeg", **more}
    return found if service is None else {**found, "service": service}


# Each: the manifest, and image URL, landing page, label, attribution and rights of its first row.
SHAPES: dict[str, tuple[Json, tuple[str, str, str | None, str | None, str | None]]] = {
    "a university library: version 2, level 2, HTML in the attribution": (
        manifest_2(
            canvas_2(
                image(
                    {"@context": IMAGE_2, "@id": "https://img.example/1", "profile": "http://iiif.io/api/image/2/level2.json"}
                )
            ),
            attribution="Provided by <a href='https://lib.example'>the library</a> &amp; friends",
            license="https://creativecommons.org/publicdomain/mark/1.0/",
            related={"@id": "https://lib.example/book/1", "format": "text/html"},
        ),
        (
            "https://img.example/1/full/!1024,1024/0/default.jpg",
            "https://lib.example/book/1",
            "A book",
            "Provided by the library & friends",
            "https://creativecommons.org/publicdomain/mark/1.0/",
        ),
    ),
    "a national library: version 1 of the Image API, labels with languages": (
        manifest_2(
            canvas_2(
                image(
                    {
                        "@context": "http://library.stanford.edu/iiif/image-api/1.1/context.json",
                        "@id": "https://img.example/ark:/1/f1",
                        "profile": "http://library.stanford.edu/iiif/image-api/1.1/compliance.html#level2",
                    }
                )
            ),
            label=[{"@value": "Un livre", "@language": "fr"}, {"@value": "A book", "@language": "en"}],
            related="https://lib.example/ark:/1",
        ),
        (
            "https://img.example/ark:/1/f1/full/!1024,1024/0/native.jpg",
            "https://lib.example/ark:/1",
            "Un livre",
            None,
            None,
        ),
    ),
    "a museum: version 3, level 2, homepage and required statement": (
        manifest_3(
            canvas_3(
                {
                    "id": "https://img.example/1/full/max/0/default.jpg",
                    "type": "Image",
                    "service": [{"id": "https://img.example/1", "type": "ImageService3", "profile": "level2"}],
                }
            ),
            label={"none": ["Inv. 7"], "en": ["A coin"]},
            homepage=[{"id": "https://museum.example/7", "type": "Text", "format": "text/html"}],
            requiredStatement={"label": {"en": ["Credit"]}, "value": {"en": ["A museum", "A donor"]}},
            rights="http://creativecommons.org/licenses/by/4.0/",
        ),
        (
            "https://img.example/1/full/!1024,1024/0/default.jpg",
            "https://museum.example/7",
            "Inv. 7",
            "A museum; A donor",
            "http://creativecommons.org/licenses/by/4.0/",
        ),
    ),
    "a museum with static tiles: level 0 with sizes": (
        manifest_3(
            canvas_3(
                {
                    "id": "https://static.example/1/full/max/0/default.jpg",
                    "type": "Image",
                    "service": {
                        "id": "https://static.example/1",
                        "type": "ImageService3",
                        "profile": "level0",
                        "sizes": [{"width": 375 * n, "height": 500 * n} for n in (1, 2, 4)],
                    },
                }
            ),
            rendering=[{"id": "https://static.example/1.pdf", "format": "application/pdf"}],
        ),
        ("https://static.example/1/full/1500,2000/0/default.jpg", "https://static.example/1.pdf", "A book", None, None),
    ),
    "an archive with static tiles of version 2": (
        manifest_2(
            canvas_2(
                image(
                    {
                        "@context": IMAGE_2,
                        "@id": "https://static.example/1",
                        "profile": ["http://iiif.io/api/image/2/level0.json"],
                        "sizes": [{"width": 90, "height": 120}, {"width": 600, "height": 800}],
                    }
                )
            )
        ),
        ("https://static.example/1/full/600,/0/default.jpg", "https://a.example/manifest", "A book", None, None),
    ),
    "an archive with level 1: one side only": (
        manifest_2(
            canvas_2(
                image({"@context": IMAGE_2, "@id": "https://img.example/1/", "profile": "http://iiif.io/api/image/2/level1.json"})
            )
        ),
        ("https://img.example/1/full/,1024/0/default.jpg", "https://a.example/manifest", "A book", None, None),
    ),
    "a repository with level 1 that supports more": (
        manifest_2(
            canvas_2(
                image(
                    {
                        "@context": IMAGE_2,
                        "@id": "https://img.example/1",
                        "profile": [
                            "http://iiif.io/api/image/2/level1.json",
                            {"supports": ["sizeByConfinedWh"], "maxWidth": 800},
                        ],
                    }
                )
            )
        ),
        ("https://img.example/1/full/!800,800/0/default.jpg", "https://a.example/manifest", "A book", None, None),
    ),
    "a gallery without an image service": (
        manifest_3(canvas_3({"id": "https://media.example/photo.jpg", "type": "Image", "format": "image/jpeg"})),
        ("https://media.example/photo.jpg", "https://a.example/manifest", "A book", None, None),
    ),
    "a library with a choice of images": (
        manifest_3(
            canvas_3(
                {
                    "type": "Choice",
                    "items": [
                        {"id": "https://media.example/natural.jpg", "type": "Image"},
                        {"id": "https://media.example/uv.jpg", "type": "Image"},
                    ],
                },
                label={"de": ["Blatt 1"]},
            ),
            canvas_3({"id": "https://media.example/2.jpg", "type": "Image"}),
        ),
        ("https://media.example/natural.jpg", "https://a.example/manifest", "A book, Blatt 1", None, None),
    ),
    "a sound archive with a cover": (
        manifest_3(
            canvas_3({"id": "https://media.example/side-a.mp3", "type": "Sound", "format": "audio/mpeg"}),
            canvas_3({"id": "https://media.example/cover.jpg", "type": "Image"}, homepage=[{"id": "https://sound.example/9"}]),
            provider=[{"type": "Agent", "label": {"en": ["A sound archive"]}}],
        ),
        ("https://media.example/cover.jpg", "https://sound.example/9", "A book", "A sound archive", None),
    ),
}  # fmt: skip

# Each: a manifest that is broken in a typical way, and the image URLs that are left.
BROKEN: dict[str, tuple[Json, list[str]]] = {
    "no sequences": ({"@context": V2, "@type": "sc:Manifest"}, []),
    "a canvas that is null": (manifest_3(canvas_3({"id": "https://m.example/1.jpg", "type": "Image"}), None), ["https://m.example/1.jpg"]),
    "an address without a scheme": (
        manifest_3(canvas_3({"id": "//m.example/1.jpg", "type": "Image"})),
        ["https://m.example/1.jpg"],
    ),
    "an image without an address": (manifest_2(canvas_2({"@type": "dctypes:Image"})), []),
    "a service without a profile": (
        manifest_2(canvas_2(image({"@id": "https://img.example/1"}))),
        ["https://img.example/1/full/full/0/default.jpg"],
    ),
    "a label that is a number": (manifest_3(canvas_3({"id": "https://m.example/1.jpg"}), label=7), ["https://m.example/1.jpg"]),
    "a list in place of an object": (
        manifest_2(canvas_2([image()])),
        ["https://img.example/1/full/full/0/default.jpg"],
    ),
    "control characters in a label": (
        manifest_3(canvas_3({"id": "https://m.example/1.jpg"}), label={"en": ["a\u0000b\nc"]}),
        ["https://m.example/1.jpg"],
    ),
    "a size of zero": (
        manifest_2(
            canvas_2(
                image({"@context": IMAGE_2, "@id": "https://img.example/1", "profile": "level1", "width": 0}),
                width=None,
                height=None,
            )
        ),
        ["https://img.example/1/full/full/0/default.jpg"],
    ),
    "types as addresses": (
        {
            **manifest_2(canvas_2(image(**{"@type": "http://purl.org/dc/dcmitype/StillImage"}))),
            "@type": "http://iiif.io/api/presentation/2#Manifest",
        },
        ["https://img.example/1/full/full/0/default.jpg"],
    ),
    "a format that is no media type": (
        manifest_3(*(canvas_3({"id": f"https://m.example/{n}", "format": f}) for n, f in ((1, "jpg"), (2, "pdf")))),
        ["https://m.example/1"],
    ),
    "an image whose format says nothing": (
        manifest_2(canvas_2(image(format="application/octet-stream")), canvas_2(image(format="application/pdf"))),
        ["https://img.example/1/full/full/0/default.jpg"],
    ),
    "a profile that is an object": (
        manifest_2(
            canvas_2(
                image({"@id": "https://img.example/1", "profile": {"@id": "http://iiif.io/api/image/2/level2.json"}})
            )
        ),
        ["https://img.example/1/full/!1024,1024/0/default.jpg"],
    ),
    "choices inside themselves": (
        manifest_3(canvas_3({"type": "Choice", "items": [{"type": "Choice", "items": []}]})),
        [],
    ),
}  # fmt: skip
