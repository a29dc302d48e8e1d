"""Which schemes a repository URL must not have."""

import pytest

from catalog.content.cell_text import foreign_scheme


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        ("javascript:alert(1)", "javascript"),
        ("JaVaScRiPt:alert(1)", "javascript"),
        (" \t javascript:alert(1)", "javascript"),
        ("\x01\x1fjavascript:alert(1)", "javascript"),
        ("java\tscr\nipt\r:alert(1)", "javascript"),
        ("\u200b\u00a0java\u00adscript:alert(1)", "javascript"),
        ("javascript://example.org/%0aalert(1)", "javascript"),
        ("vbscript:x", "vbscript"),
        ("data:text/html,<script>", "data"),
        ("DATA:text/html;base64,QQ==", "data"),
        ("blob:https://example.org/1", "blob"),
        ("view-source:https://example.org", "view-source"),
        ("file:///etc/passwd", "file"),
        ("file:x", "file"),
        ("ftp://example.org/1", "ftp"),
        ("mailto:a@example.org", "mailto"),
        ("ms-msdt:/id", "ms-msdt"),
        ("anything://example.org", "anything"),
        ("x+y-z.1://example.org", "x+y-z.1"),
    ],
)
def test_a_scheme_that_programs_act_on_is_found(text: str, scheme: str) -> None:
    assert foreign_scheme(text) == scheme


@pytest.mark.parametrize(
    "text",
    [
        *("", "obj-17", "https://example.org/javascript:x", "HTTP://example.org", "http:", "https:example.org"),
        *("HD:123", "inv:1234", "Inv.-Nr.: 12", "MS-12:3", "BSB:Clm 4450", "GND:118540238", "Sammlung: Münzen"),
        *("urn:nbn:de:bsz:16-heidok-1", "doi:10.11588/heidicon.1", "hdl:1234/5", "ark:/12345/x", "info:ark/1"),
        *("www.example.org/1", "//example.org/1", "example.org:8080/1", "C:\\photos", "12:30", "a javascript:b"),
        *("metadata:1", "profile:1", "not-javascript:1", "jävascript:1"),
    ],
)
def test_identifiers_and_http_urls_have_no_foreign_scheme(text: str) -> None:
    assert foreign_scheme(text) is None
