"""Responses of repositories, with the faults that occur: right records, or one clear error."""

import time

import pytest

from servicekit.errors import ServiceError
from trainer.sources.oai.response import Page, parse_page

URL = "https://repository.example/oai"
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/">'
DC = 'xmlns:oai_dc="http://www.openarchives.org/OAI/2.0/oai_dc/" xmlns:dc="http://purl.org/dc/elements/1.1/"'
LINKS = "<dc:identifier>https://img.example/1.jpg</dc:identifier><dc:identifier>https://lib.example/1</dc:identifier>"


def record(number: int = 1, *, title: str = "A leaf", datestamp: str = "2026-01-31", links: str = LINKS) -> str:
    return (
        f"<record><header><identifier>oai:{number}</identifier><datestamp>{datestamp}</datestamp></header>"
        f"<metadata><oai_dc:dc {DC}><dc:title>{title}</dc:title>{links}</oai_dc:dc></metadata></record>"
    )


def response(*parts: str, date: str = "2026-01-31T12:00:00Z") -> str:
    return f"{HEAD}<responseDate>{date}</responseDate><ListRecords>{''.join(parts)}</ListRecords></OAI-PMH>"


def parsed(body: str | bytes) -> Page:
    return parse_page(URL, body.encode() if isinstance(body, str) else body)


def labels(page: Page) -> list[str | None]:
    return [image.label for one in page.records for image in one.images or ()]


# Each: a response with one record, and the label of its image.
MENDED: dict[str, tuple[bytes, str]] = {
    "control characters": (response(record(title="A\x0bleaf\x00")).encode(), "A leaf"),
    "references to control characters": (response(record(title="A&#11;leaf&#x1F;&#xFFFF;")).encode(), "A leaf"),
    "a bare ampersand": (response(record(title="Smith & Sons &amp; Co")).encode(), "Smith & Sons & Co"),
    "an entity of HTML": (response(record(title="A&nbsp;leaf &eacute;")).encode(), "A leaf é"),
    "Windows-1252 in place of UTF-8": (response(record(title="Bl\xe4tter \x96 1")).encode("latin-1"), "Blätter – 1"),
    "Windows-1252 and UTF-8": (response(record(title="Bl\xe4tter")).encode() + b"<!-- \xe4 -->", "Blätter"),
    "an ampersand in an address": (
        response(record(links=LINKS.replace("1.jpg", "1.jpg?a=1&b=2"))).encode(),
        "A leaf",
    ),
    "a section of characters": (response(record(title="<![CDATA[A & B]]> & Co")).encode(), "A & B & Co"),
}  # fmt: skip


@pytest.mark.parametrize("name", MENDED)
def test_a_fault_in_a_text_costs_no_record(name: str) -> None:
    body, label = MENDED[name]
    assert labels(parsed(body)) == [label]


@pytest.mark.parametrize("status", ["deleted", "Deleted", " DELETED "])
def test_a_deleted_record_is_one_however_that_is_written(status: str) -> None:
    header = f"<header status='{status}'><identifier>oai:1</identifier></header>"
    assert [one.deleted for one in parsed(response(f"<record>{header}</record>")).records] == [True]


def test_an_address_keeps_its_ampersand() -> None:
    page = parsed(MENDED["an ampersand in an address"][0])
    assert [image.image_url for image in page.records[0].images or ()] == ["https://img.example/1.jpg?a=1&b=2"]


@pytest.mark.parametrize("encoding", ["ISO-8859-1", "windows-1252", "utf-16", "US-ASCII"])
def test_other_encodings_are_read(encoding: str) -> None:
    title = "A leaf" if encoding == "US-ASCII" else "Blätter"
    text = response(record(title=title)).replace("UTF-8", encoding)
    assert labels(parsed(text.encode(encoding))) == [title]


RIGHT = response(record())
DOCTYPE = '<?xml version="1.0"?><!DOCTYPE OAI-PMH SYSTEM "http://x/oai.dtd">'


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (
            RIGHT.replace("http://www.openarchives", "https://www.openarchives"),
            "in the namespace “https://www.openarchives",
        ),
        (RIGHT.replace(' xmlns="http://www.openarchives.org/OAI/2.0/"', ""), "are in no namespace"),
        (RIGHT[:-20], "not valid XML: unclosed token"),
        (RIGHT.replace("</metadata>", ""), "not valid XML: mismatched tag"),
        (RIGHT.replace("UTF-8", "klingon"), "the encoding of the XML is not supported"),
        ("<html><body>Sign in</body></html>", "not an OAI-PMH 2.0 response; check the base URL"),
        ("", "not an OAI-PMH 2.0 response"),
        (DOCTYPE + RIGHT[38:], "document type declaration"),
    ],
    ids=["https namespace", "no namespace", "cut off", "mismatched", "unknown encoding", "web page", "empty", "DTD"],
)
def test_what_is_no_response_is_one_clear_error(body: str, problem: str) -> None:
    with pytest.raises(ServiceError) as refused:
        parsed(body)
    assert refused.value.code == "source_invalid"
    assert problem in refused.value.message


@pytest.mark.parametrize(
    ("date", "used"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31", "2026-01-31"),
        ("2026-01-31T12:00:00.123Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00:00+01:00", "2026-01-31T11:00:00Z"),
        ("2026-01-31T12:00:00", "2026-01-31T12:00:00Z"),
        ("31.01.2026", None),
        ("2026-02-31", None),
        ("", None),
    ],
)
def test_the_next_harvest_begins_at_a_date_that_requests_may_have(date: str, used: str | None) -> None:
    assert parsed(response(record(), date=date)).response_date == used


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("<resumptionToken>a b</resumptionToken>", ("a b", None)),
        ("<resumptionToken/>", (None, None)),
        ("<resumptionToken completeListSize='7'> </resumptionToken>", (None, 7)),
        ("<resumptionToken completeListSize='-1'>x</resumptionToken>", ("x", None)),
        ("<resumptionToken completeListSize='many' cursor='x'>x</resumptionToken>", ("x", None)),
        ("", (None, None)),
    ],
)
def test_tokens(token: str, expected: tuple[str | None, int | None]) -> None:
    page = parsed(response(record(), token))
    assert (page.token, page.complete_size) == expected


def test_records_without_what_they_must_have_cost_only_themselves() -> None:
    broken = (
        "<record/>",
        "<record><header/></record>",
        "<record><header><identifier> </identifier></header></record>",
        "<record><header><identifier>no metadata</identifier></header></record>",
        "<record><header><identifier>empty</identifier></header><metadata/></record>",
        "<record><header><identifier>marc</identifier></header><metadata><m:record xmlns:m='m'/></metadata></record>",
        "<record><header status='deleted'><identifier>gone</identifier></header></record>",
    )
    page = parsed(response(*broken, record(datestamp="yesterday")))
    found = {one.identifier: one.failure and one.failure.reason for one in page.records}
    assert found == {
        "no metadata": "no_metadata",
        "empty": "no_metadata",
        "marc": "unknown_format",
        "gone": None,
        "oai:1": None,
    }
    assert [one.deleted for one in page.records] == [False, False, False, True, False]


@pytest.mark.parametrize(
    "namespace", ["http://www.openarchives.org/OAI/2.0/oai_dc", "http://purl.org/dc/elements/1.1/", "urn:x"]
)
def test_the_root_of_a_record_may_be_in_another_namespace(namespace: str) -> None:
    text = response(record()).replace("http://www.openarchives.org/OAI/2.0/oai_dc/", namespace)
    assert labels(parsed(text)) == ["A leaf"]


def test_an_error_that_says_what_to_do_comes_before_others() -> None:
    errors = '<error code="badArgument">x</error><error code="noRecordsMatch">none</error>'
    assert parsed(f"{HEAD}{errors}</OAI-PMH>").error == ("noRecordsMatch", "none")
    assert parsed(f"{HEAD}<error>\x0b</error></OAI-PMH>").error == ("unknown", "")


@pytest.mark.parametrize("part", ["<![CDATA[", "<!--", "&", "&#", "&#1;", "\udce4"])
def test_mending_takes_little_time(part: str) -> None:
    body = (HEAD + part * (1_000_000 // len(part))).encode("utf-8", "surrogateescape")
    began = time.process_time()
    with pytest.raises(ServiceError, match="not valid XML"):
        parsed(body)
    assert time.process_time() - began < 5
