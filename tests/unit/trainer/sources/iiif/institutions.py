"""Manifests with the structure that libraries and museums publish, made by hand: all texts and addresses are invented.

What differs between institutions is kept: the version, where and how the image service is described, its level, which
property leads to the page of an object, and how texts, credits and rights are written.
"""

from dataclasses import dataclass

from tests.unit.trainer.sources.iiif.shapes import IMAGE_2, V2, V3, Json

SITE = "https://lib.example"
IMAGES = f"{SITE}/iiif"
LEVEL_1, LEVEL_2 = ("http://iiif.io/api/image/2/level1.json", "http://iiif.io/api/image/2/level2.json")
AUTH = {
    "@context": "http://iiif.io/api/auth/1/context.json",
    "@id": f"{SITE}/auth/login",
    "profile": "http://iiif.io/api/auth/1/clickthrough",
    "label": "Terms of use",
}


@dataclass(frozen=True)
class Institution:
    """A manifest with two canvases, and the image URLs of its rows. page: the repository URL of both."""

    manifest: Json
    images: tuple[str, str]
    page: str


def v2(image_service: object, /, *, name: str = "/full/full/0/default.jpg", **more: object) -> Json:
    """Return a manifest of version 2. image_service: of each image, with `{n}` for its number. name: ends its id."""
    canvases = [
        {
            "@id": f"{SITE}/canvas/{n}",
            "@type": "sc:Canvas",
            "label": f"f. {n}r",
            "width": 3000,
            "height": 4000,
            "images": [
                {
                    "@type": "oa:Annotation",
                    "motivation": "sc:painting",
                    "on": f"{SITE}/canvas/{n}",
                    "resource": {
                        "@id": f"{IMAGES}/{n}{name}",
                        "@type": "dctypes:Image",
                        "format": "image/jpeg",
                        "width": 3000,
                        "height": 4000,
                        "service": numbered(image_service, n),
                    },
                }
            ],
        }
        for n in (1, 2)
    ]
    sequences = [{"@type": "sc:Sequence", "label": "Current order", "canvases": canvases}]
    head = {"@context": V2, "@id": f"{SITE}/manifest.json", "@type": "sc:Manifest", "label": "A book"}
    return {**head, "sequences": sequences, **more}


def v3(
    image_service: object, /, *, name: str = "/full/max/0/default.jpg", size: Json | None = None, **more: object
) -> Json:
    """Return a manifest of version 3. size: of the resource, if it is smaller than the canvas."""
    canvases = []
    for n in (1, 2):
        body: Json = {
            "id": f"{IMAGES}/{n}{name}",
            "type": "Image",
            "format": "image/jpeg",
            "width": 3000,
            "height": 4000,
        }
        body |= size or {}
        if image_service is not None:
            body["service"] = numbered(image_service, n)
        annotation = {"id": f"{SITE}/painting/{n}", "type": "Annotation", "motivation": "painting", "body": body}
        page = {"id": f"{SITE}/page/{n}", "type": "AnnotationPage", "items": [annotation]}
        label = {"none": [f"f. {n}r"]}
        canvas = {
            "id": f"{SITE}/canvas/{n}",
            "type": "Canvas",
            "label": label,
            "width": 3000,
            "height": 4000,
            "items": [page],
        }
        canvases.append(canvas)
    head = {"@context": V3, "id": f"{SITE}/manifest.json", "type": "Manifest", "label": {"en": ["A book"]}}
    return {**head, "items": canvases, **more}


def numbered(value: object, number: int) -> object:
    """Return a JSON value with a number in place of `{n}` in its texts."""
    if isinstance(value, dict):
        return {name: numbered(each, number) for name, each in value.items()}
    if isinstance(value, list):
        return [numbered(each, number) for each in value]
    return value.replace("{n}", str(number)) if isinstance(value, str) else value


def urls(request: str) -> tuple[str, str]:
    return f"{IMAGES}/1/{request}", f"{IMAGES}/2/{request}"


SIZE = {"width": 3000, "height": 4000}
ID = f"{IMAGES}/{{n}}"
MANIFEST = f"{SITE}/manifest.json"
PAGE = f"{SITE}/object/7"
CONFINED, TALL = "full/!1024,1024/0/default.jpg", "full/,1024/0/default.jpg"
HTML = [{"id": PAGE, "type": "Text", "label": {"en": ["The object"]}, "format": "text/html", "language": ["en"]}]

INSTITUTIONS: dict[str, Institution] = {
    "British Library: version 2, level 2": Institution(
        v2(
            {"@context": IMAGE_2, "@id": ID, "profile": LEVEL_2},
            attribution="Public Domain",
            license="https://creativecommons.org/publicdomain/mark/1.0/",
            logo="https://lib.example/logo.png",
            related={"@id": PAGE, "format": "text/html", "label": "Catalogue"},
            service={"@context": "http://iiif.io/api/search/0/context.json", "@id": f"{SITE}/search"},
        ),
        urls(CONFINED),
        PAGE,
    ),
    "Bodleian: version 3, the service has the keys of both versions": Institution(
        v3(
            [{"@id": ID, "@type": "ImageService2", "id": ID, "type": "ImageService2", "profile": LEVEL_1}],
            homepage=HTML,
            requiredStatement={"label": {"en": ["Terms of Use"]}, "value": {"en": ["<span>CC-BY</span>"]}},
        ),
        urls(TALL),
        PAGE,
    ),
    "Gallica: version 1 of the Image API": Institution(
        v2(
            {
                "@context": "http://iiif.io/api/image/1/context.json",
                "@id": ID,
                "profile": "http://library.stanford.edu/iiif/image-api/1.1/compliance.html#level2",
            },
            name="/full/full/0/native.jpg",
            related=PAGE,
            seeAlso=[f"{SITE}/oai.xml"],
            label=[{"@language": "fr", "@value": "Un livre"}],
        ),
        urls("full/!1024,1024/0/native.jpg"),
        PAGE,
    ),
    "MDZ: version 2, renderings that are files": Institution(
        v2(
            {"@context": IMAGE_2, "@id": ID, "profile": LEVEL_2, "protocol": "http://iiif.io/api/image"},
            rendering=[
                {"@id": f"{SITE}/book.pdf", "format": "application/pdf"},
                {"@id": PAGE, "format": "text/html"},
            ],
        ),
        urls(CONFINED),
        PAGE,
    ),
    "Harvard Art Museums: the service of an image says its sizes": Institution(
        v2(
            {
                "@context": IMAGE_2,
                "@id": ID,
                "profile": [LEVEL_2, {"formats": ["jpg"], "supports": ["sizeByConfinedWh"], "maxWidth": 2400}],
                "width": 3000,
                "height": 4000,
                "sizes": [{"width": 300, "height": 400}],
            },
            attribution="A museum",
            within=f"{SITE}/collection.json",
            rendering={"@id": PAGE, "format": "text/html", "label": "Full record view"},
        ),
        urls(CONFINED),
        PAGE,
    ),
    "Heidelberg: version 2, level 1": Institution(
        v2(
            {"@context": IMAGE_2, "@id": ID, "profile": LEVEL_1, "width": 3000, "height": 4000},
            related=[{"@id": PAGE, "format": "text/html"}],
            metadata=[{"label": [{"@value": "Title", "@language": "en"}], "value": "A book"}],
        ),
        urls(TALL),
        PAGE,
    ),
    "e-codices: a path in the name of an image": Institution(
        v2(
            {"@context": IMAGE_2, "@id": f"{IMAGES}/{{n}}", "profile": LEVEL_2},
            related=PAGE,
            viewingHint="paged",
            structures=[{"@type": "sc:Range", "label": "Binding", "canvases": [f"{SITE}/canvas/1"]}],
        ),
        urls(CONFINED),
        PAGE,
    ),
    "Wellcome: two services, and a resource that is a smaller copy": Institution(
        v3(
            [
                {"@id": ID, "@type": "ImageService2", "profile": LEVEL_1, **SIZE, "service": AUTH},
                {"id": ID, "type": "ImageService3", "profile": "level1", **SIZE},
            ],
            name="/full/768,1024/0/default.jpg",
            size={"width": 768, "height": 1024},
            homepage=HTML,
            provider=[{"id": SITE, "type": "Agent", "label": {"en": ["A collection"]}}],
            services=[AUTH],
            rights="http://creativecommons.org/licenses/by/4.0/",
        ),
        urls(TALL),
        PAGE,
    ),
    "Wellcome's image host: a smaller copy, and no size of the image": Institution(
        v3(
            [{"@id": ID, "@type": "ImageService2", "profile": LEVEL_1}],
            name="/full/768,1024/0/default.jpg",
            size={"width": 768, "height": 1024},
            homepage=HTML,
        ),
        urls(TALL),
        PAGE,
    ),
    "Princeton: a permanent link as a rendering": Institution(
        v2(
            {"@context": IMAGE_2, "@id": ID, "profile": LEVEL_2},
            rendering={"@id": PAGE, "format": "text/html", "label": "View in catalog"},
            startCanvas=f"{SITE}/canvas/1",
            license="http://rightsstatements.org/vocab/NKC/1.0/",
        ),
        urls(CONFINED),
        PAGE,
    ),
    "National Library of Wales: services of login and of the image": Institution(
        v2(
            [{"@context": IMAGE_2, "@id": ID, "profile": LEVEL_2, "service": [AUTH]}],
            attribution=[{"@value": "Llyfrgell", "@language": "cy"}, {"@value": "Library", "@language": "en"}],
            related=[],
        ),
        urls(CONFINED),
        MANIFEST,
    ),
    "Internet Archive: version 3 of both": Institution(
        v3(
            [{"id": ID, "type": "ImageService3", "profile": "level2", "width": 3000, "height": 4000}],
            homepage=[{"id": PAGE, "type": "Text", "label": {"mul": ["A book"]}, "format": "text/html"}],
            label={"none": ["A book"]},
        ),
        urls(CONFINED),
        PAGE,
    ),
    "Vatican Library: links as plain texts": Institution(
        v2({"@context": IMAGE_2, "@id": ID, "profile": LEVEL_2}, seeAlso=[PAGE], attribution="Images (c) A library"),
        urls(CONFINED),
        MANIFEST,
    ),
    "Yale: version 3, an image service of version 2": Institution(
        v3(
            [{"@id": ID, "@type": "ImageService2", "profile": LEVEL_2}],
            homepage=HTML,
            provider=[{"id": SITE, "type": "Agent", "label": {"en": ["A library"]}, "homepage": HTML}],
            requiredStatement={"label": {"en": ["Provider"]}, "value": {"en": ["A library"]}},
        ),
        urls(CONFINED),
        PAGE,
    ),
    "Getty: a service of version 3 that says its features": Institution(
        v3(
            [
                {
                    "id": ID,
                    "type": "ImageService3",
                    "profile": "level1",
                    "width": 3000,
                    "height": 4000,
                    "extraFeatures": ["sizeByConfinedWh"],
                    "maxArea": 4_194_304,
                }
            ],
            homepage=HTML,
        ),
        urls(CONFINED),
        PAGE,
    ),
    "Europeana: a service that is no list, and a canvas of another kind": Institution(
        v3({"id": ID, "type": "ImageService2", "profile": LEVEL_1, "@context": IMAGE_2}, homepage=HTML),
        urls(TALL),
        PAGE,
    ),
    "Stanford: encoded slashes, and levels that are called otherwise": Institution(
        v2(
            {
                "@context": "http://library.stanford.edu/iiif/image-api/1.1/context.json",
                "@id": f"{IMAGES}/{{n}}",
                "profile": "http://library.stanford.edu/iiif/image-api/1.1/conformance.html#level1",
            },
            name="/full/full/0/native.jpg",
            seeAlso={"@id": f"{SITE}/7.mods", "format": "application/mods+xml"},
        ),
        urls("full/,1024/0/native.jpg"),
        MANIFEST,
    ),
    "Göttingen: resources are named by their service, which has another size": Institution(
        v2({"@context": IMAGE_2, "@id": ID, "profile": LEVEL_1, "width": 900, "height": 1000}, name="", related=PAGE),
        urls("full/full/0/default.jpg"),
        PAGE,
    ),
    "static files: level 0": Institution(
        v3([{"id": ID, "type": "ImageService3", "profile": "level0", "sizes": [{"width": 900, "height": 1200}]}]),
        urls("full/900,1200/0/default.jpg"),
        MANIFEST,
    ),
    "a small museum: no image service": Institution(
        v3(None, name=".jpg", homepage=HTML), (f"{IMAGES}/1.jpg", f"{IMAGES}/2.jpg"), PAGE
    ),
}  # fmt: skip
