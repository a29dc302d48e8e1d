"""The header row of a CSV: whether the first row names the columns, and whether it names them in the other order."""

import re
import unicodedata
from collections.abc import Sequence

from catalog.content.cell_text import foreign_scheme


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Words of column names in English, German, French, Spanish, Italian, Dutch, Portuguese, Polish and Czech, and in the
# Scandinavian languages: in lower case and without accents. Those that mean the image:
IMAGE_WORDS = _listed("""
    image images img picture pictures photo photos photograph photography scan iiif thumbnail media
    bild bilder bildes foto fotos fotografie abbildung abbildungen digitalisat aufnahme
    photographie vignette imagen imagenes fotografia immagine immagini
    afbeelding afbeeldingen beeld imagem imagens obraz zdjecie obrazek snimek bilde billede
""")
# Those that mean the entry in a repository:
ENTRY_WORDS = _listed("""
    repository repo record records entry entries object objects item items page webpage website landing permalink handle
    catalog catalogue collection detail details identifier identifiers doi ark urn id
    repositorium repositoriums datensatz datensatzes eintrag eintrags objekt objekte objekts seite webseite katalog
    sammlung sammlungs inventarnummer inventar signatur kennung nachweis werk
    depot notice objet fiche entree oeuvre
    repositorio registro registo objeto ficha pagina entrada catalogo obra archivio scheda oggetto voce opera
    catalogus archief zaznam objekter
""")
# Those that do not tell:
OTHER_WORDS = _listed("""
    url urls uri uris link links href src source address path file filename name web internet online http https
    target reference ref number no nr of the to in for from and
    adresse verweis verknupfung datei dateiname quelle ziel referenz nummer
    der die das den des dem zum zur im von und auf
    lien liens fichier cible de la le les du d l et vers
    enlace enlaces archivo direccion fuente destino el los las del y a al
    collegamento indirizzo fonte destinazione il lo di della dell e
    koppeling verwijzing adres bestand bron het een van naar
    endereco ligacao arquivo ficheiro do da dos odkaz soubor lank lenke fil
""")
WORDS = IMAGE_WORDS | ENTRY_WORDS | OTHER_WORDS
# Shorter words are not looked for in compounds such as `Bildlink` and `imageUrl`.
MIN_PART = 3
MAX_NAME_CHARACTERS = 200

WORD = re.compile(r"[^\W\d_]+")
# A digit makes it an identifier or a number.
COULD_BE_DATA = re.compile(
    r"\d|://|^[./\\~]|^www\.|\.(jpe?g|jp2|png|tiff?|gif|webp|bmp|heic|avif|svg|pdf|json|xml|html?|php)$",
    re.IGNORECASE,
)
# With a slash, only known words are a name. Anything else could be an address.
SLASH = re.compile(r"[/\\]")


def is_header(columns: Sequence[str]) -> bool:
    """Return whether a row names the columns: no cell can be data, nor data with a mistake in it.

    Beside a known name, a cell may be empty.
    """
    if any(COULD_BE_DATA.search(column) or foreign_scheme(column) for column in columns):
        return False
    known = [_is_known(column) for column in columns]
    named = [has_name or _is_wordy(column) for has_name, column in zip(known, columns, strict=True)]
    return all(named) or (
        any(known) and all(is_name or not column for is_name, column in zip(named, columns, strict=True))
    )


def names_entry_first(columns: Sequence[str]) -> bool:
    """Return whether a header row names the repository's entry first and the image second."""
    first, second = map(_words, columns)
    return _mention(first, ENTRY_WORDS, IMAGE_WORDS) and _mention(second, IMAGE_WORDS, ENTRY_WORDS)


def _is_known(column: str) -> bool:
    words = _words(column)
    return bool(words) and all(word in WORDS for word in words)


def _is_wordy(column: str) -> bool:
    return WORD.search(column) is not None and SLASH.search(column) is None


def _mention(words: Sequence[str], wanted: frozenset[str], unwanted: frozenset[str]) -> bool:
    return not wanted.isdisjoint(words) and unwanted.isdisjoint(words)


def _words(column: str) -> list[str]:
    """Return the words of a cell without case and accents. Compounds of known words are split."""
    if len(column) > MAX_NAME_CHARACTERS:
        return []
    plain = "".join(c for c in unicodedata.normalize("NFD", column.casefold()) if not unicodedata.combining(c))
    return [part for word in WORD.findall(plain) for part in _parts(word) or [word]]


def _parts(word: str) -> list[str]:
    """Return the known words that a compound consists of; none if it is no such compound."""
    if word in WORDS:
        return [word]
    for length in range(len(word) - MIN_PART, MIN_PART - 1, -1):
        if word[:length] in WORDS and (rest := _parts(word[length:])):
            return [word[:length], *rest]
    return []
