"""camt.053, ISO 20022's bank statement (XML), in its versions 2 to 8: booked entries, or each entry's details.

An entry's amount is positive and has its sign from CdtDbtInd. Of a reversal (RvslInd) the standard says that CdtDbtInd is
its own direction, not the original's. Only booked entries count. Opening + entries = closing; details = their entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from typing import Literal, NamedTuple
from xml.etree.ElementTree import Element, ParseError, TreeBuilder
from xml.parsers.expat import errors as expat

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, iterparse

from reconciliation.formats.amounts import MajorUnits, decimals_of
from reconciliation.formats.chunks import Chunks, Line
from reconciliation.formats.keys import Occurrences, ours, paid_out, theirs
from reconciliation.formats.refusing import Refusals, Unreadable
from reconciliation.formats.shape import Chunk, Control, ReadFrom, Refusal, SettlementSum
from reconciliation.formats.times import LocalTimes, Times, When, iso_day
from schemas.masking import masked
from schemas.money import MINOR_MAX, Money
from schemas.settlements import ClaimedTotal

_NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:camt.053.001."
_SNIFFED = re.compile(re.escape(_NAMESPACE) + r"0[2-8]\b")
_ELEMENT_BYTES_MAX = 4 << 20  # between two elements that are taken, so that none fills the memory
_SETTLEMENT_MAX = 100  # characters
_DEPTH_MAX = 64
_WHEN = re.compile(r"(\d{4}-\d\d-\d\d)(T\d\d:\d\d:\d\d(?:\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,18}")
_NOT_BOOKED = frozenset({"PDNG", "INFO", "FUTR"})
_NO_REFERENCE = frozenset({"", "NOTPROVIDED", "NOT PROVIDED", "NONREF"})
_TAKEN = {3: None, 4: "Stmt", 6: "NtryDtls"}  # by depth: within which parent an element is taken at its end
_WITH_PLACE, _FIRST, _LAST = ("}Ntry", "}TxDtls"), "first byte", "last byte"
_CUT_OFF = frozenset({expat.codes[expat.XML_ERROR_NO_ELEMENTS], expat.codes[expat.XML_ERROR_UNCLOSED_TOKEN]})
_ENCODING = frozenset({expat.codes[expat.XML_ERROR_UNKNOWN_ENCODING], expat.codes[expat.XML_ERROR_INCORRECT_ENCODING]})

Place = tuple[int, int]  # the first and the last byte of an element


class Camt053:
    name = "camt053"
    version = 1
    provider = "iso20022"
    of: Literal["psp", "bank"] = "bank"
    mode: Literal["replace", "union"] = "replace"
    ties = "in each statement opening balance + booked entries = closing balance; details of an entry add up to it"

    def sniff(self, head: bytes, name: str) -> int:
        text = head.decode("utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "replace")
        return 100 if _SNIFFED.search(text) else 0

    def read(self, blocks: Iterable[bytes], source: ReadFrom) -> Iterator[Chunk | Control]:
        refusals = Refusals(source.released)
        with refusals.raised_at_the_end():
            document = _Document(source, refusals)
            for parent, element in _elements(blocks):
                for line in document.take(parent, element):
                    document.lines += 1
                    chunk = document.chunks.add(line, document.lines, *document.place)
                    if chunk is not None and not refusals:
                        yield chunk
            document.check()
            if not refusals:
                yield from document.chunks.rest()
                yield document.control()


# ── XML ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


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


def _place(element: Element) -> Place:
    return int(element.get(_FIRST, 0)), int(element.get(_LAST, 0))


def _elements(blocks: Iterable[bytes]) -> Iterator[tuple[str, Element]]:
    """The elements that are taken, with the name of their parent. Errors: Refusal."""
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
        if depth in _TAKEN and _TAKEN[depth] in (None, parent := _local(opened[-1])):
            stream.since = 0
            yield parent, element
            opened[-1].remove(element)  # so that memory does not grow with the file


def _not_xml(error: ParseError) -> Refusal:
    line = error.position[0]
    if error.code in _CUT_OFF:
        return Refusal("truncated", "the document ends before its last element does", line)
    return Refusal("bad_encoding" if error.code in _ENCODING else "bad_row", f"not XML: {error}", line)


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _all(element: Element, path: str) -> list[Element]:
    """All elements at the path, in whatever namespace the document has. A tenth of what `findall` with {*} costs."""
    found = [element]
    for end in _ends(path):
        found = [child for each in found for child in each if child.tag.endswith(end)]
    return found


@lru_cache(maxsize=64)
def _ends(path: str) -> tuple[str, ...]:
    return tuple(f"}}{name}" for name in path.split("/"))


def _texts(element: Element, path: str) -> list[str]:
    return [(each.text or "").strip() for each in _all(element, path)]


def _text(element: Element, *paths: str) -> str:
    """Of the first path at which there is one."""
    return next((text for path in paths for text in _texts(element, path) if text), "")


# ── statements ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class _Statement:
    id: str = ""
    sequence: str = ""
    account: str = ""
    currency: str = ""
    opening: int | None = None
    closing: int | None = None
    closing_day: int = 0
    moved: int = 0  # by booked entries
    reversed_: int = 0  # by those of them that are reversals
    balances: set[str] = field(default_factory=set)  # the kinds that it has
    batch: str = ""  # PmtInfId of the entry that is being read
    details: list[_Detail] = field(default_factory=list)  # of the same


class _Detail(NamedTuple):
    """One payment of an entry, as the bank writes it."""

    amount: str = ""
    currency: str = ""
    is_own: bool = True  # the amount is the detail's own, not one of AmtDtls
    direction: str = ""
    references: tuple[str, ...] = ()  # EndToEndId first
    bank_reference: str = ""
    text: str = ""  # free text, in which a settlement may be named
    place: Place = (0, 0)


class _Document:
    """What is known while one file is read."""

    def __init__(self, source: ReadFrom, refusals: Refusals) -> None:
        self.chunks = Chunks()
        self.lines = 0
        self.place: Place = (0, 0)  # of the line that was taken last
        self._source, self._refusals = source, refusals
        self._patterns = [re.compile(pattern) for pattern in sorted(source.references)]
        self._times, self._local, self._occurrences = Times(), LocalTimes(source.timezone), Occurrences()
        self._made = ""
        self._entries = 0
        self._now = _Statement()
        self._ended: list[_Statement] = []
        self._notes: set[str] = set()

    def take(self, parent: str, element: Element) -> Iterator[Line]:
        """The booked lines of an entry; of all other elements, none."""
        name = _local(element)
        try:
            match name:
                case "TxDtls":
                    self._now.details.append(_detail(element))
                case "Btch":
                    self._now.batch = _text(element, "PmtInfId")
                case "Ntry":
                    self._entries += 1
                    batch, details = self._now.batch, self._now.details
                    self._now.batch, self._now.details = "", []
                    yield from self._entry(element, batch, details)
                case "Stmt":
                    self._end()
                case "GrpHdr":
                    self._made = _text(element, "CreDtTm")
                case "Id" | "ElctrncSeqNb" | "Acct" | "Bal" if parent == "Stmt":
                    self._head(name, element)
        except Unreadable as error:
            place = f"entry {self._entries}: " if name in ("Ntry", "TxDtls") else ""
            shown = masked(" ".join(text.strip() for text in element.itertext() if text.strip()))
            self._refusals.add(Refusal(error.code, place + error.detail, None, error.column or name, shown))

    def _head(self, name: str, element: Element) -> None:
        statement = self._now
        match name:
            case "Id":
                statement.id = (element.text or "").strip()[:_SETTLEMENT_MAX]
            case "ElctrncSeqNb":
                text = (element.text or "").strip()
                statement.sequence = text if _NUMBER.fullmatch(text) else ""
            case "Acct":
                statement.account = _text(element, "Id/IBAN", "Id/Othr/Id").replace(" ", "")
                statement.currency = _text(element, "Ccy")
                self._check_account(statement.account)
            case "Bal":
                self._take_balance(element)

    def _check_account(self, account: str) -> None:
        """A bank account of ours may have several numbers there, one for each currency."""
        if not account or (self._source.accounts and account not in self._source.accounts):
            raise Unreadable("wrong_account", f"account {account[:40]!r} is not the source's", "Acct/Id")

    def _take_balance(self, element: Element) -> None:
        kind = _text(element, "Tp/CdOrPrtry/Cd")
        if kind not in ("OPBD", "PRCD", "CLBD") or "true" in _texts(element, "CdtLine/Incl"):
            return
        self._now.balances.add(kind)
        amount = self._amount(_text(element, "Amt"), _currency(element), _text(element, "CdtDbtInd"))
        if kind == "CLBD":
            self._now.closing = amount
            self._now.closing_day = self._when(_text(element, "Dt/Dt", "Dt/DtTm")).day
        elif kind == "OPBD" or self._now.opening is None:  # PRCD: the closing balance of the statement before
            self._now.opening = amount

    def _amount(self, text: str, currency: str, direction: str) -> int:
        """Signed, in the account's currency. Errors: Unreadable."""
        statement = self._now
        statement.currency = statement.currency or currency
        if currency != statement.currency:
            raise Unreadable(
                "bad_row", f"an amount in {currency[:12]!r} on an account in {statement.currency[:12]}", "Amt"
            )
        if direction not in ("CRDT", "DBIT"):
            raise Unreadable("schema_drift", f"neither credit nor debit: {direction[:12]!r}", "CdtDbtInd")
        if not text:
            raise Unreadable("bad_row", "no amount", "Amt")
        minor = MajorUnits(*decimals_of(currency)).parse(text)
        return minor if direction == "CRDT" else -minor

    def _when(self, text: str) -> When:
        """A day, or a time with its offset; without one, of the source's time zone."""
        match = _WHEN.fullmatch(text)
        if match is None:
            raise Unreadable("bad_row", "not a day or time as in ISO 8601")
        day, clock, zone = match.groups()
        if clock and not zone:
            return self._local[day + clock]
        return self._times[day + (clock or "T00:00:00"), zone if clock else "Z"]

    # ── entries ──

    def _entry(self, element: Element, batch: str, details: list[_Detail]) -> Iterator[Line]:
        status = _text(element, "Sts", "Sts/Cd")
        if status in _NOT_BOOKED:
            self._notes.add(f"entries that are not booked ({status})")
            return
        if status != "BOOK":
            raise Unreadable("schema_drift", f"an unknown status {status[:12]!r}", "Sts")
        direction = _text(element, "CdtDbtInd")
        amount = self._amount(_text(element, "Amt"), _currency(element), direction)
        booked = self._when(_text(element, "BookgDt/Dt", "BookgDt/DtTm", "ValDt/Dt", "ValDt/DtTm"))
        value = _text(element, "ValDt/Dt", "ValDt/DtTm")
        value_day = self._when(value).day if value else booked.day
        parts = self._parts(amount, direction, batch, details)
        self._now.moved += amount
        if _text(element, "RvslInd") in ("true", "1"):
            self._now.reversed_ += amount
        for number, (minor, detail) in enumerate(parts):
            self.place = detail.place if len(parts) > 1 else _place(element)
            yield self._line(element, number, minor, detail, When(booked.at, value_day))

    def _parts(self, amount: int, direction: str, batch: str, details: list[_Detail]) -> list[tuple[int, _Detail]]:
        """The entry's details with their amounts, where all say one in its currency; else the entry. Errors: Unreadable."""
        said = [each for each in details if each.amount and each.currency == self._now.currency]
        if len(said) == len(details) > 1 or (len(details) == 1 and [each for each in said if each.is_own]):
            found = [self._amount(each.amount, each.currency, each.direction or direction) for each in said]
            if sum(found) != amount:
                raise Unreadable("row_does_not_tie", "its details do not add up to the entry", "NtryDtls")
            return list(zip(found, details, strict=True))
        return [(amount, details[0] if len(details) == 1 else _of_all(batch, details))]

    def _line(self, element: Element, number: int, amount: int, detail: _Detail, when: When) -> Line:
        statement, source = self._now, self._source
        reference = detail.bank_reference or _text(element, "AcctSvcrRef")
        entry = _text(element, "NtryRef")
        settlement = self._settlement(f"{detail.text} {_text(element, 'AddtlNtryInf')} {' '.join(detail.references)}")
        call = next((each for each in map(ours, detail.references) if each), None)
        key = call or (
            paid_out(source.psp, settlement, statement.currency) if settlement else theirs(source.psp, reference)
        )
        named = (reference,) if reference else (statement.id, entry, detail.text, *detail.references)
        parts = (source.name, statement.account, statement.currency, *named, str(number), str(amount), *map(str, when))
        return Line(
            "s",
            key,
            reference or entry,
            settlement or masked("" if call else next(iter(detail.references), "")),
            statement.id,
            amount,
            statement.currency,
            amount,
            statement.currency,
            0,
            at=when.at,
            value_day=when.day,
            digest=self._occurrences.digest("\x1f".join(parts)),
        )

    def _settlement(self, text: str) -> str:
        """The settlement that the source's patterns find; none where they find two."""
        found = {match[1] if match.re.groups else match[0] for each in self._patterns for match in each.finditer(text)}
        return (found.pop() or "")[:_SETTLEMENT_MAX] if len(found) == 1 else ""

    # ── what must hold at the end ──

    def _end(self) -> None:
        """A statement has ended. Errors: Unreadable."""
        statement, self._now = self._now, _Statement()
        self._ended.append(statement)
        if not statement.id or not statement.account:
            raise Unreadable("schema_drift", "a statement without Id or account", "Stmt")
        if "CLBD" not in statement.balances or not statement.balances & {"OPBD", "PRCD"}:
            raise Unreadable("schema_drift", "a statement without opening or closing balance", "Bal")
        if statement.opening is None or statement.closing is None:  # refused before
            return
        wrong = statement.closing - statement.opening - statement.moved
        if max(map(abs, (statement.closing, statement.opening, statement.moved))) > MINOR_MAX:
            raise Unreadable("bad_row", "a sum has more than 64 bits", "Bal")
        if wrong:
            turned = " (it would if reversals had the other sign)" if wrong == -2 * statement.reversed_ else ""
            short = Money(wrong, statement.currency)
            raise Unreadable("bad_total", f"opening and entries miss the closing balance by {short}{turned}", "Bal")

    def check(self) -> None:
        """Behind the last element. Errors: Refusal `empty`."""
        if not self._ended and not self._refusals:
            raise Refusal("empty", "the document has no statement")
        if self._refusals:
            return
        numbered = all(each.sequence for each in self._ended)
        ordered = sorted(self._ended, key=lambda each: int(each.sequence) if numbered else 0)
        for before, after in pairwise(sorted(ordered, key=_chain)):
            if _chain(before) == _chain(after) and before.closing != after.opening:
                detail = f"statement {masked(after.id)} does not open with what {masked(before.id)} closes with"
                self._refusals.add(Refusal("balance_gap", detail, None, "Bal"))

    def control(self) -> Control:
        ended, chunks = self._ended, self.chunks
        numbers = [int(each.sequence) for each in ended if each.sequence]
        days = [each.closing_day for each in ended]
        first, last = (min(days), max(days)) if days else (0, 0)
        if chunks.lines:
            first, last = min(first, chunks.first_day), max(last, chunks.last_day)
        accounts = tuple(dict.fromkeys(each.account for each in ended))
        return Control(
            f"{' and '.join(each.id for each in ended)} of {' and '.join(accounts)}",
            self._version(),
            accounts,
            iso_day(first),
            iso_day(last),
            chunks.lines,
            sequence=numbers[0] if len(ended) == 1 and numbers else None,
            claims=tuple(map(_claim, ended)),
            sums=tuple(map(_sum, ended)),
            totals=chunks.totals(),
            notes=tuple(sorted(self._notes)),
        )

    def _version(self) -> str:
        """When the document was made, in UTC: texts that sort as the times do."""
        try:
            return datetime.fromtimestamp(self._when(self._made).at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        except (Unreadable, ValueError, OverflowError):  # no time, or one before year 1 in UTC
            return ""


def _detail(element: Element) -> _Detail:
    own = _text(element, "Amt")
    amounts = element if own else next(iter(_all(element, "AmtDtls/TxAmt")), element)
    free = (*_texts(element, "RmtInf/Ustrd"), *_texts(element, "RmtInf/Strd/CdtrRefInf/Ref"),
            *_texts(element, "RmtInf/Strd/AddtlRmtInf"), _text(element, "AddtlTxInf"))  # fmt: skip
    references = (_text(element, f"Refs/{name}") for name in ("EndToEndId", "InstrId", "PmtInfId"))
    return _Detail(
        _text(amounts, "Amt"),
        _currency(amounts),
        bool(own),
        _text(element, "CdtDbtInd"),
        tuple(each for each in references if each.upper() not in _NO_REFERENCE),
        _text(element, "Refs/AcctSvcrRef"),
        " ".join(free),
        _place(element),
    )


def _of_all(batch: str, details: list[_Detail]) -> _Detail:
    """What all details of an entry share: the batch that we have sent, where it is one."""
    shared = {each.references[-1] for each in details if each.references}
    return _Detail(references=(batch,) if batch else tuple(shared) if len(shared) == 1 else ())


def _currency(element: Element) -> str:
    return next((amount.get("Ccy", "") for amount in _all(element, "Amt")), "")


def _chain(statement: _Statement) -> tuple[str, str]:
    """Whose balances follow each other."""
    return statement.account, statement.currency


def _claim(statement: _Statement) -> ClaimedTotal:
    opening, closing = (
        Money(statement.opening or 0, statement.currency),
        Money(statement.closing or 0, statement.currency),
    )
    return ClaimedTotal(statement.id, closing, opening, iso_day(statement.closing_day))


def _sum(statement: _Statement) -> SettlementSum:
    moved = (statement.closing or 0) - (statement.opening or 0)
    return SettlementSum(statement.id, statement.currency, statement.moved, moved, statement.moved == moved)
