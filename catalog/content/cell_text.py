"""The text of a cell: URLs, characters that nobody sees, and the schemes that a repository URL must not have."""

import re
import unicodedata
from collections import Counter

MAX_FIELD_CHARACTERS = 64 * 1024

URL = re.compile(r"https?://[^\s/?#\x00-\x1f\x7f][^\x00-\x1f\x7f]*", re.IGNORECASE)
# The first and last code points of characters that serve layout. Copying from web pages and documents takes them along.
FORMAT_CHARACTERS = (
    *((0x00AD, 0x00AD), (0x061C, 0x061C), (0x180E, 0x180E), (0x200B, 0x200B), (0x200E, 0x200F), (0x202A, 0x202E)),
    *((0x2060, 0x206F), (0xFEFF, 0xFEFF), (0xFFF9, 0xFFFB), (0xE0001, 0xE0001), (0xE0020, 0xE007F)),
)
# The same for a character class.
INVISIBLE = "".join(f"{chr(first)}-{chr(last)}" for first, last in FORMAT_CHARACTERS)
JOINERS = "\u200c\u200d"
# Removed at the ends of every cell: white space, and the characters above.
BLANK = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + JOINERS
BLANK += "".join(chr(code) for first, last in ((0x2000, 0x200A), *FORMAT_CHARACTERS) for code in range(first, last + 1))
# Removed inside URLs. Some scripts, and emoji, need a joiner between two characters.
HIDDEN = re.compile(rf"[{INVISIBLE}]|(?<![^\x00-\x7f])[{JOINERS}]|[{JOINERS}](?![^\x00-\x7f])")

# Most cells match these, and need no other check or change: a URL of visible characters, and in the second column also
# ASCII text without a colon. Its last group is not possessive, because Python 3.11.2 would take a space at its end.
_PLAIN = rf"https?://(?![/?#])(?:[!-~]++|[^\x00-\xa0\s{INVISIBLE}{JOINERS}]++)++"
PLAIN_URL = re.compile(_PLAIN)
PLAIN_ENTRY = re.compile(rf'{_PLAIN}|(?!")[!-9;-~]++(?: ++[!-9;-~]++)*|')

# RFC 3986, section 3.1.
SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):(//)?", re.IGNORECASE)
# Browsers ignore control characters before a scheme, and tabs and line breaks inside it.
IGNORED_IN_SCHEMES = re.compile(rf"[\x00-\x1f\x7f-\x9f{INVISIBLE}{JOINERS}]+")
# Schemes that browsers, mail programs and operating systems act on. Any other name before a colon is kept as text:
# inventory numbers such as `HD:123`, and identifiers such as `urn:nbn:…`, `doi:…` and `ark:/…`.
ACTIVE_SCHEMES = """
    about android-app blob callto chrome chrome-extension data facetime feed file filesystem ftp ftps gopher imap intent
    irc ircs itms-apps itms-services jar javascript ldap ldaps livescript magnet mailto mhtml mocha moz-extension
    ms-access ms-appinstaller ms-browser-extension ms-cxh ms-excel ms-help ms-infopath ms-its ms-msdt ms-officecmd
    ms-powerpoint ms-project ms-publisher ms-search ms-settings ms-visio ms-windows-store ms-word nfs nntp resource rtmp
    rtsp scp search-ms sftp shell sip sips skype smb sms smsto ssh tel telnet vbscript view-source webcal ws wss xmpp
"""
_ACTIVE = frozenset(ACTIVE_SCHEMES.split())
HTTP = ("http", "https")
EXCERPT_CHARACTERS = 60


def is_image_url(text: str) -> bool:
    """Return whether a text is valid as the image URL of a row."""
    return URL.fullmatch(text) is not None and len(text) <= MAX_FIELD_CHARACTERS


def tidy(cell: str) -> str:
    """Return a cell without white space and invisible characters at its ends and, if it is a URL, inside it."""
    text = cell.strip()
    # Faster, and enough for most cells: none of the characters that are removed is printable.
    if text.isprintable():
        return text
    text = text.strip(BLANK)
    visible = HIDDEN.sub("", text)
    return visible if URL.fullmatch(visible) else text


def removed_characters(cell: str, text: str) -> set[str]:
    """Return the characters that `tidy` removed from a cell, except for ASCII white space."""
    if cell == text or cell.isascii():
        return set()
    return {character for character in Counter(cell) - Counter(text) if not character.isascii()}


def foreign_scheme(text: str) -> str | None:
    """Return the scheme of a text if it has another one than http(s), in lower case.

    Two slashes make any name a scheme. Without them, only the schemes count that programs act on.
    """
    if ":" not in text:
        return None
    found = SCHEME.match(IGNORED_IN_SCHEMES.sub("", text).lstrip())
    if found is None:
        return None
    scheme = found[1].lower()
    return scheme if scheme not in HTTP and (found[2] or scheme in _ACTIVE) else None


def character_name(character: str) -> str:
    """Return the code point and the name of a character, for people."""
    name = unicodedata.name(character, "").lower()
    return f"U+{ord(character):04X} {name}".rstrip()


def excerpt(text: str) -> str:
    """Return a text as a message quotes it."""
    if not text:
        return "an empty field"
    return f"“{text}”" if len(text) <= EXCERPT_CHARACTERS else f"“{text[:EXCERPT_CHARACTERS]}…”"
