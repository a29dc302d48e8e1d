"""Which rows are header rows."""

import time

import pytest

from gateway.content.header_row import is_header, names_entry_first

HEADERS = [
    ("image_url", "repository_url"),
    ("imageUrl", "repoUrl"),
    ("Image", "Link"),
    ("IMAGE URL", "RECORD ID"),
    ("Bild", "Objekt"),
    ("Bildadresse", "Objektlink"),
    ("Bild-URL / Link", "URL/URI"),
    ("Bild/Foto", "Verknüpfung"),
    ("URL der Abbildung", "Link zum Datensatz"),
    ("Image", "Lien vers la notice"),
    ("URL de l'image", "Page/Fiche"),
    ("Imagen", "Página del catálogo"),
    ("URL de la imagen", "Enlace/Registro"),
    ("Immagine", "Collegamento alla scheda"),
    ("URL dell'immagine", "Scheda/Link"),
    ("Afbeelding", "Koppeling naar object"),
    ("URL van de afbeelding", "Bron/Object"),
    ("imagem", "ligação"),
    ("obrázek", "odkaz"),
    ("zdjęcie", "obiekt"),
    ("画像", "リンク"),
    ("изображение", "ссылка"),
    ("foo", "bar"),
    ("Münze (Foto)", "Inv.-Nr."),
    ("Bild", ""),
    ("", "Repositorium"),
]
DATA = [
    ("https://example.org/image", "link"),
    ("image", "https://example.org/link"),
    ("www.example.org", "link"),
    ("image.jpg", "link"),
    ("photo.TIFF", "object"),
    ("/images/a", "link"),
    ("a\\b", "link"),
    ("foo", "obj-17"),
    ("image", "obj-17"),
    ("IMG_0001", "link"),
    ("foo", ""),
    ("", "bar"),
    ("foo", "N/A"),
    ("-", "-"),
    ("foo", "javascript:alert(x)"),
    ("image", "data:text"),
    ("image " * 20_000, "x/y"),
]


@pytest.mark.parametrize("columns", HEADERS)
def test_names_of_columns_are_a_header(columns: tuple[str, str]) -> None:
    assert is_header(columns)


@pytest.mark.parametrize("columns", DATA)
def test_a_row_that_could_be_data_is_no_header(columns: tuple[str, str]) -> None:
    assert not is_header(columns)


def test_a_long_first_row_is_judged_quickly() -> None:
    started = time.process_time()
    assert is_header(("urlimage" * 8000, "x" * 65_000))
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("columns", "swapped"),
    [
        (("Repository URL", "Image URL"), True),
        (("objectLink", "imageLink"), True),
        (("Datensatz", "Bildlink"), True),
        (("Fiche", "Photo"), True),
        (("Image URL", "Repository URL"), False),
        (("Image of the object", "Photo"), False),
        (("URL", "Link"), False),
        (("", "Image"), False),
    ],
)
def test_a_header_can_name_the_columns_in_the_other_order(columns: tuple[str, str], swapped: bool) -> None:
    assert names_entry_first(columns) == swapped
