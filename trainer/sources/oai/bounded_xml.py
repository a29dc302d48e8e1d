"""XML of sources, parsed piece by piece: without a DTD, entities or network access, and bounded in depth and number."""

from collections.abc import Callable
from typing import TypeVar
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

MAX_DEPTH = 100
# Elements and attributes.
MAX_NODES = 2_000_000
# The most of them in one element that is kept, and so in memory.
MAX_KEPT_NODES = 200_000
CHUNK_BYTES = 256 * 1024

T = TypeVar("T")


class XmlRefused(Exception):
    """The document is not valid XML, or exceeds a limit. The message is a sentence without a final period."""


class XmlInvalid(XmlRefused):
    """The document is not valid XML. It may be so once it is mended."""


def read_elements(body: bytes, names: frozenset[str], keep: Callable[[Element], None]) -> str:
    """Pass each element with one of these names to `keep` when it ends, without those outside of it.

    names: in Clark notation, `{namespace}name`. An element inside one that is kept belongs to that one. Returns the
    name of the root. Raises XmlRefused.
    """
    selection = _Selection(names, keep)
    parser = DefusedXMLParser(target=selection, forbid_dtd=True)
    try:
        for start in range(0, len(body), CHUNK_BYTES):
            parser.feed(body[start : start + CHUNK_BYTES])
        parser.close()
    except DefusedXmlException:
        raise XmlRefused("the XML has a document type declaration, which is not allowed") from None
    except ParseError as error:
        raise XmlInvalid(f"the response is not valid XML: {error}") from None
    except (ValueError, LookupError):
        raise XmlRefused("the encoding of the XML is not supported") from None
    return selection.root


class _Selection:
    """The parser's target: builds the elements that are kept, and forgets all others."""

    def __init__(self, names: frozenset[str], keep: Callable[[Element], None]) -> None:
        self._names = names
        self._keep = keep
        self._depth = 0
        self._nodes = 0
        self._builder: TreeBuilder | None = None
        self.root = ""
        self._kept_depth = 0
        self._kept_from = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.root = self.root or name
        self._depth += 1
        self._nodes += 1 + len(attributes)
        if self._depth > MAX_DEPTH:
            raise XmlRefused(f"the XML is nested more than {MAX_DEPTH} levels deep")
        if self._nodes > MAX_NODES:
            raise XmlRefused(f"the XML has more than {MAX_NODES:,} elements and attributes")
        if self._builder is None and name in self._names:
            self._builder, self._kept_depth, self._kept_from = TreeBuilder(), self._depth, self._nodes
        if self._builder is not None:
            if self._nodes - self._kept_from > MAX_KEPT_NODES:
                raise XmlRefused(f"a record has more than {MAX_KEPT_NODES:,} elements and attributes")
            self._builder.start(name, attributes)

    def end(self, name: str) -> None:
        if self._builder is not None:
            self._builder.end(name)
            if self._depth == self._kept_depth:
                element, self._builder = self._builder.close(), None
                self._keep(element)
        self._depth -= 1

    def data(self, text: str) -> None:
        if self._builder is not None:
            self._builder.data(text)

    def close(self) -> None:
        pass
