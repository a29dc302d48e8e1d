"""Records in EDM, LIDO, METS and Dublin Core: images, landing page, label, attribution and rights."""

from xml.etree.ElementTree import fromstring

import pytest

from catalog.sources.records import SourceImage
from servicekit.errors import ServiceError
from trainer.sources.oai.formats import images_of

RIGHTS = "http://creativecommons.org/publicdomain/mark/1.0/"
EDM = f"""
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:edm="http://www.europeana.eu/schemas/edm/"
    xmlns:ore="http://www.openarchives.org/ore/terms/" xmlns:dc="http://purl.org/dc/elements/1.1/">
  <edm:ProvidedCHO rdf:about="urn:coin:7"><dc:title>A coin</dc:title></edm:ProvidedCHO>
  <ore:Aggregation rdf:about="urn:aggregation:7">
    <edm:aggregatedCHO rdf:resource="urn:coin:7"/>
    <edm:dataProvider>A museum</edm:dataProvider>
    <edm:isShownAt rdf:resource="https://museum.example/7"/>
    <edm:isShownBy rdf:resource="https://img.example/7-front.jpg"/>
    <edm:hasView rdf:resource="https://img.example/7-back.jpg"/>
    <edm:hasView rdf:resource="https://img.example/7.pdf"/>
    <edm:object rdf:resource="https://img.example/7-small.jpg"/>
    <edm:rights rdf:resource="{RIGHTS}"/>
  </ore:Aggregation>
</rdf:RDF>"""
LIDO = f"""
<lido:lido xmlns:lido="http://www.lido-schema.org">
  <lido:descriptiveMetadata><lido:objectIdentificationWrap>
    <lido:titleWrap><lido:titleSet><lido:appellationValue>A seal</lido:appellationValue></lido:titleSet>
    </lido:titleWrap>
    <lido:repositoryWrap><lido:repositorySet><lido:repositoryName><lido:legalBodyName>
      <lido:appellationValue>An archive</lido:appellationValue>
    </lido:legalBodyName></lido:repositoryName></lido:repositorySet></lido:repositoryWrap>
  </lido:objectIdentificationWrap></lido:descriptiveMetadata>
  <lido:administrativeMetadata>
    <lido:recordWrap><lido:recordInfoSet>
      <lido:recordInfoLink lido:formatResource="text/xml">https://archive.example/5.xml</lido:recordInfoLink>
      <lido:recordInfoLink>https://archive.example/5</lido:recordInfoLink>
    </lido:recordInfoSet></lido:recordWrap>
    <lido:resourceWrap>
      <lido:resourceSet>
        <lido:resourceRepresentation lido:type="image_thumb">
          <lido:linkResource>https://img.example/5-thumb.jpg</lido:linkResource></lido:resourceRepresentation>
        <lido:resourceRepresentation lido:type="image_full">
          <lido:linkResource lido:formatResource="image/jpeg"> https://img.example/5.jpg </lido:linkResource>
        </lido:resourceRepresentation>
        <lido:rightsResource><lido:rightsType><lido:conceptID lido:type="URI">{RIGHTS}</lido:conceptID>
        </lido:rightsType></lido:rightsResource>
      </lido:resourceSet>
      <lido:resourceSet><lido:resourceRepresentation>
        <lido:linkResource lido:formatResource="application/pdf">https://img.example/5.pdf</lido:linkResource>
      </lido:resourceRepresentation></lido:resourceSet>
    </lido:resourceWrap>
  </lido:administrativeMetadata>
</lido:lido>"""
METS = f"""
<mets:mets xmlns:mets="http://www.loc.gov/METS/" xmlns:mods="http://www.loc.gov/mods/v3"
    xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:dv="http://dfg-viewer.de/">
  <mets:dmdSec><mets:mdWrap><mets:xmlData><mods:mods><mods:titleInfo><mods:title>A book</mods:title></mods:titleInfo>
  </mods:mods></mets:xmlData></mets:mdWrap></mets:dmdSec>
  <mets:amdSec>
    <mets:rightsMD><mets:mdWrap><mets:xmlData><dv:rights><dv:owner>A library</dv:owner><dv:license>{RIGHTS}</dv:license>
    </dv:rights></mets:xmlData></mets:mdWrap></mets:rightsMD>
    <mets:digiprovMD><mets:mdWrap><mets:xmlData><dv:links>
      <dv:reference>https://lib.example/catalogue/3</dv:reference>
      <dv:presentation>https://lib.example/view/3</dv:presentation>
    </dv:links></mets:xmlData></mets:mdWrap></mets:digiprovMD>
  </mets:amdSec>
  <mets:fileSec>
    <mets:fileGrp USE="THUMBS"><mets:file ID="T1"><mets:FLocat xlink:href="https://img.example/t1.jpg"/></mets:file>
    </mets:fileGrp>
    <mets:fileGrp USE="MAX"><mets:file ID="M1"><mets:FLocat xlink:href="https://img.example/m1.tif"/></mets:file>
    </mets:fileGrp>
    <mets:fileGrp USE="DEFAULT">
      <mets:file ID="D2" MIMETYPE="image/jpeg"><mets:FLocat xlink:href="https://img.example/2.jpg"/></mets:file>
      <mets:file ID="D1" MIMETYPE="image/jpeg"><mets:FLocat xlink:href="https://img.example/1.jpg"/></mets:file>
    </mets:fileGrp>
  </mets:fileSec>
  <mets:structMap TYPE="PHYSICAL"><mets:div TYPE="physSequence">
    <mets:div ORDER="2" ORDERLABEL="1v" TYPE="page"><mets:fptr FILEID="T2"/><mets:fptr FILEID="D2"/></mets:div>
    <mets:div ORDER="1" ORDERLABEL="1r" TYPE="page"><mets:fptr FILEID="T1"/><mets:fptr FILEID="D1"/></mets:div>
  </mets:div></mets:structMap>
</mets:mets>"""
DUBLIN_CORE = f"""
<oai_dc:dc xmlns:oai_dc="http://www.openarchives.org/OAI/2.0/oai_dc/" xmlns:dc="http://purl.org/dc/elements/1.1/">
  <dc:title>A map</dc:title><dc:publisher>A library</dc:publisher>
  <dc:rights>free</dc:rights><dc:rights>{RIGHTS}</dc:rights>
  <dc:identifier>Map 12</dc:identifier>
  <dc:identifier>https://img.example/iiif/12/full/!1024,1024/0/default.jpg</dc:identifier>
  <dc:relation>https://img.example/12.JPG?x=1</dc:relation>
  <dc:relation>https://lib.example/12.pdf</dc:relation>
  <dc:identifier>https://lib.example/12</dc:identifier>
</oai_dc:dc>"""


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            EDM,
            [
                SourceImage(
                    f"https://img.example/7-{side}.jpg", "https://museum.example/7", "A coin", "A museum", RIGHTS
                )
                for side in ("front", "back")
            ],
        ),
        (LIDO, [SourceImage("https://img.example/5.jpg", "https://archive.example/5", "A seal", "An archive", RIGHTS)]),
        (
            METS,
            [
                SourceImage(
                    f"https://img.example/{n}.jpg",
                    "https://lib.example/view/3",
                    f"A book, {label}",
                    "A library",
                    RIGHTS,
                )
                for n, label in ((1, "1r"), (2, "1v"))
            ],
        ),
        (
            DUBLIN_CORE,
            [
                SourceImage(url, "https://lib.example/12", "A map", "A library", RIGHTS)
                for url in (
                    "https://img.example/iiif/12/full/!1024,1024/0/default.jpg",
                    "https://img.example/12.JPG?x=1",
                )
            ],
        ),
    ],
    ids=["EDM", "LIDO", "METS", "Dublin Core"],
)
def test_a_record_has_the_right_images(record: str, expected: list[SourceImage]) -> None:
    assert images_of(fromstring(record)) == expected  # noqa: S314 (written above)


def test_the_preview_of_edm_is_used_if_there_is_no_other_image() -> None:
    record = EDM.replace("isShownBy", "other").replace("hasView", "other")
    images = images_of(fromstring(record))  # noqa: S314 (written above)
    assert [image.image_url for image in images] == ["https://img.example/7-small.jpg"]


def test_the_largest_images_of_mets_are_used_if_there_are_none_for_the_screen() -> None:
    images = images_of(fromstring(METS.replace("DEFAULT", "OTHER")))  # noqa: S314 (written above)
    assert [image.image_url for image in images] == ["https://img.example/m1.tif"]


def urls(record: str) -> list[str]:
    return [image.image_url for image in images_of(fromstring(record))]  # noqa: S314 (written below)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("http://www.lido-schema.org", "https://www.lido-schema.org"),
        ("http://www.lido-schema.org", "http://www.lido-schema.org/"),
        ("http://www.loc.gov/METS/", "http://www.loc.gov/METS"),
        ("http://www.loc.gov/METS/", "https://www.loc.gov/mets/"),
        ("http://www.w3.org/1999/xlink", "https://www.w3.org/1999/xlink/"),
        ("http://www.europeana.eu/schemas/edm/", "https://www.europeana.eu/schemas/edm"),
        ("http://www.w3.org/1999/02/22-rdf-syntax-ns#", "https://www.w3.org/1999/02/22-rdf-syntax-ns"),
        ("http://purl.org/dc/elements/1.1/", "http://purl.org/dc/elements/1.1"),
        ("http://purl.org/dc/elements/1.1/", "http://purl.org/dc/terms/"),
        ("http://purl.org/dc/elements/1.1/", "http://www.openarchives.org/OAI/2.0/"),
    ],
)
def test_a_misspelt_namespace_costs_no_image(before: str, after: str) -> None:
    for record in (EDM, LIDO, METS, DUBLIN_CORE):
        # Only Dublin Core itself has no other elements with the same names.
        if before in record and ("purl.org" not in before or record is DUBLIN_CORE):
            found = images_of(fromstring(record.replace(before, after)))  # noqa: S314 (written above)
            assert found == images_of(fromstring(record))  # noqa: S314 (written above)


@pytest.mark.parametrize("name", ["default", "image/full", "reference image", "Master", ""])
def test_the_groups_of_mets_may_have_any_names(name: str) -> None:
    record = METS.replace('USE="DEFAULT"', f'USE="{name}"').replace('USE="MAX"', 'USE="DOWNLOAD"')
    assert urls(record) == ["https://img.example/1.jpg", "https://img.example/2.jpg"]
    unnamed = METS.replace(' USE="DEFAULT"', "").replace('USE="MAX"', 'USE="ALTO"').replace("PHYSICAL", "physical")
    assert urls(unnamed) == ["https://img.example/1.jpg", "https://img.example/2.jpg"]


def test_the_small_images_of_mets_are_used_if_there_are_no_others() -> None:
    record = METS.replace('USE="DEFAULT"', 'USE="FULLTEXT"').replace('USE="MAX"', 'USE="PDF"')
    assert urls(record) == ["https://img.example/t1.jpg"]


def test_a_page_of_mets_may_point_to_an_area() -> None:
    for place in ('<mets:area FILEID="D1"/>', '<mets:par><mets:area FILEID="A1"/><mets:area FILEID="D1"/></mets:par>'):
        record = METS.replace('<mets:fptr FILEID="D1"/>', f"<mets:fptr>{place}</mets:fptr>")
        assert urls(record) == ["https://img.example/1.jpg", "https://img.example/2.jpg"]


def test_a_record_in_another_format_says_which_are_supported() -> None:
    with pytest.raises(ServiceError, match=r"“mods” is not supported\. Supported: EDM, LIDO, METS and oai_dc"):
        images_of(fromstring('<mods xmlns="http://www.loc.gov/mods/v3"/>'))  # noqa: S314 (written above)
