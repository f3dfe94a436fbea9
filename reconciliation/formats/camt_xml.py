"""Blocks of ISO 20022's bank documents (XML) → their elements, one by one, each with the bytes that it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from xml.etree.ElementTree import Element, ParseError, TreeBuilder
from xml.parsers.expat import errors as expat

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, iterparse

from reconciliation.formats.shape import Refusal
from schemas.masking import masked

_ELEMENT_BYTES_MAX = 4 << 20  # between two elements that are taken, so that none fills the memory
_DEPTH_MAX = 64
_WITH_PLACE, _FIRST, _LAST = ("}Ntry", "}TxDtls"), "first byte", "last byte"
_CUT_OFF = frozenset({expat.codes[expat.XML_ERROR_NO_ELEMENTS], expat.codes[expat.XML_ERROR_UNCLOSED_TOKEN]})
_ENCODING = frozenset({expat.codes[expat.XML_ERROR_UNKNOWN_ENCODING], expat.codes[expat.XML_ERROR_INCORRECT_ENCODING]})

Place = tuple[int, int]  # the first and the last byte of an element


def is_document(head: bytes, name: str, versions: str) -> bool:
    """Whether a file begins as one of these versions ("2-8") of a message ("camt.053")."""
    text = head.decode("utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "replace")
    return re.search(rf"urn:iso:std:iso:20022:tech:xsd:{re.escape(name)}\.001\.0[{versions}]\b", text) is not None


class _Stream:
    """Blocks as a file, for the parser. Errors: Refusal `line_too_long`."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self.since = 0  # bytes since the last element was taken
        self._blocks = iter(blocks)

    def read(self, size: int) -> bytes:
        block = next(self._blocks, b"")
        self.since += len(block)
        if self.since > _ELEMENT_BYTES_MAX:
            raise Refusal("line_too_long", "over 4 MiB without the end of an entry or of one of its details")
        return block


class _Placed(TreeBuilder):
    """Notes the first and the last byte of entries and their details, as attributes of a name that XML does not allow."""

    def __init__(self) -> None:
        super().__init__()
        self.parser = DefusedXMLParser(target=self, forbid_dtd=True)
        self._expat = self.parser.parser

    def start(self, tag: str, attrs: dict[str, str]) -> Element:
        element = super().start(tag, attrs)
        if tag.endswith(_WITH_PLACE):
            element.set(_FIRST, str(self._expat.CurrentByteIndex))
        return element

    def end(self, tag: str) -> Element:
        element = super().end(tag)
        if tag.endswith(_WITH_PLACE):
            rest = self._expat.GetInputContext()  # from the end tag on
            last = rest.index(b">") + (rest[1:2] == b"\0")  # UTF-16, little end first: a byte more
            element.set(_LAST, str(self._expat.CurrentByteIndex + last))
        return element


def place_of(element: Element) -> Place:
    return int(element.get(_FIRST, 0)), int(element.get(_LAST, 0))


def elements(blocks: Iterable[bytes], document: str) -> Iterator[tuple[str, Element]]:
    """The elements that are taken, with the name of their parent. `document`: the element of a statement, "Stmt".

    Errors: Refusal.
    """
    within = {3: None, 4: document, 6: "NtryDtls"}  # by depth: within which parent an element is taken at its end
    stream = _Stream(blocks)
    events = iterparse(stream, ("start", "end"), parser=_Placed().parser)
    opened: list[Element] = []
    while True:
        try:
            event, element = next(events)
        except StopIteration:
            return
        except DefusedXmlException:
            raise Refusal("bad_row", "a document type or entity is declared: no bank statement needs one") from None
        except ParseError as error:
            raise _not_xml(error) from None
        except (LookupError, ValueError) as error:  # of the encoding that a document declares
            raise Refusal("bad_encoding", masked(str(error))) from None
        if event == "start":
            opened.append(element)
            if len(opened) > _DEPTH_MAX:
                raise Refusal("bad_row", f"elements inside {_DEPTH_MAX} others")
            continue
        depth = len(opened)
        opened.pop()
        if depth in within and within[depth] in (None, parent := local_name(opened[-1])):
            stream.since = 0
            yield parent, element
            opened[-1].remove(element)  # so that memory does not grow with the file


def _not_xml(error: ParseError) -> Refusal:
    line = error.position[0]
    if error.code in _CUT_OFF:
        return Refusal("truncated", "the document ends before its last element does", line)
    return Refusal("bad_encoding" if error.code in _ENCODING else "bad_row", f"not XML: {error}", line)


def local_name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def all_at(element: Element, path: str) -> list[Element]:
    """All elements at the path, in whatever namespace the document has. A tenth of what `findall` with {*} costs."""
    found = [element]
    for end in _ends(path):
        found = [child for each in found for child in each if child.tag.endswith(end)]
    return found


@lru_cache(maxsize=64)
def _ends(path: str) -> tuple[str, ...]:
    return tuple(f"}}{name}" for name in path.split("/"))


def texts_at(element: Element, path: str) -> list[str]:
    return [(each.text or "").strip() for each in all_at(element, path)]


def text_at(element: Element, *paths: str) -> str:
    """Of the first path at which there is one."""
    return next((text for path in paths for text in texts_at(element, path) if text), "")
