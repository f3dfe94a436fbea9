"""camt.053, ISO 20022's bank statement (XML), in its versions 2 to 8: booked entries, or each entry's details.

An entry's amount is positive and has its sign from CdtDbtInd. Of a reversal (RvslInd) the standard says that CdtDbtInd is
its own direction, not the original's. Only booked entries count. Opening + entries = closing; details = their entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, NamedTuple
from xml.etree.ElementTree import Element

from reconciliation.formats.amounts import MajorUnits, decimals_of
from reconciliation.formats.bank_statements import (
    SETTLEMENT_MAX,
    BankStatement,
    Entries,
    Entry,
    balance_gaps,
    check_account,
    control_of,
    is_reference,
)
from reconciliation.formats.camt_xml import (
    Place,
    all_at,
    elements,
    is_document,
    local_name,
    place_of,
    text_at,
    texts_at,
)
from reconciliation.formats.chunks import Chunks, Line
from reconciliation.formats.refusing import Refusals, Unreadable
from reconciliation.formats.shape import Chunk, Control, ReadFrom, Refusal
from reconciliation.formats.times import LocalTimes, Times, When
from schemas.masking import masked

_WHEN = re.compile(r"(\d{4}-\d\d-\d\d)(T\d\d:\d\d:\d\d(?:\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,18}")
_NOT_BOOKED = frozenset({"PDNG", "INFO", "FUTR"})


class Camt053:
    name = "camt053"
    version = 1
    provider = "iso20022"
    of: Literal["psp", "bank"] = "bank"
    mode: Literal["replace", "union"] = "replace"
    ties = "in each statement opening balance + booked entries = closing balance; details of an entry add up to it"

    def sniff(self, head: bytes, name: str) -> int:
        return 100 if is_document(head, "camt.053", "2-8") else 0

    def read(self, blocks: Iterable[bytes], source: ReadFrom) -> Iterator[Chunk | Control]:
        yield from read(blocks, Document(source, Refusals(source.released)))


def read(blocks: Iterable[bytes], document: Document) -> Iterator[Chunk | Control]:
    """Errors: Refusal."""
    with document.refusals.raised_at_the_end():
        for parent, element in elements(blocks, document.of):
            for line in document.take(parent, element):
                document.lines += 1
                chunk = document.chunks.add(line, document.lines, *document.place)
                if chunk is not None and not document.refusals:
                    yield chunk
        document.check()
        if not document.refusals:
            yield from document.chunks.rest()
            yield document.control()


# ── statements ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Statement(BankStatement):
    sequence: str = ""
    balances: set[str] = field(default_factory=set)  # the kinds that it has
    batch: str = ""  # PmtInfId of the entry that is being read
    batches: list[Element] = field(default_factory=list)  # of the same, as their details
    details: list[Detail] = field(default_factory=list)


class Detail(NamedTuple):
    """One payment of an entry, as the bank writes it."""

    amount: str = ""
    currency: str = ""
    is_own: bool = True  # the amount is the detail's own, not one of AmtDtls
    direction: str = ""
    references: tuple[str, ...] = ()  # EndToEndId first
    bank_reference: str = ""
    text: str = ""  # free text, in which a settlement may be named
    place: Place = (0, 0)
    reason: str = ""  # of a return


class Document:
    """What is known while one file is read."""

    of = "Stmt"  # the element of a statement
    kind = "s"

    def __init__(self, source: ReadFrom, refusals: Refusals) -> None:
        self.chunks = Chunks()
        self.lines = 0
        self.place: Place = (0, 0)  # of the line that was taken last
        self._source, self.refusals = source, refusals
        self._times, self._local, self._entries_of = Times(), LocalTimes(source.timezone), Entries(source)
        self._made = ""
        self._entries = 0
        self._now = Statement()
        self._ended: list[Statement] = []
        self._notes: set[str] = set()

    def take(self, parent: str, element: Element) -> Iterator[Line]:
        """The booked lines of an entry; of all other elements, none."""
        name = local_name(element)
        try:
            match name:
                case "TxDtls":
                    self._now.details.append(_detail(element))
                case "Btch":
                    self._now.batch = text_at(element, "PmtInfId")
                    self._now.batches.append(element)
                case "Ntry":
                    self._entries += 1
                    batch, batches, details = self._now.batch, self._now.batches, self._now.details
                    self._now.batch, self._now.batches, self._now.details = "", [], []
                    yield from self._entry(element, batch, details)
                    self.check_batches(batches, details)
                case self.of:
                    self._end()
                case "GrpHdr":
                    self._made = text_at(element, "CreDtTm")
                case "Id" | "ElctrncSeqNb" | "Acct" | "Bal" if parent == self.of:
                    self._head(name, element)
        except Unreadable as error:
            place = f"entry {self._entries}: " if name in ("Ntry", "TxDtls") else ""
            shown = masked(" ".join(text.strip() for text in element.itertext() if text.strip()))
            self.refusals.add(Refusal(error.code, place + error.detail, None, error.column or name, shown))

    def check_batches(self, batches: list[Element], details: list[Detail]) -> None:
        """What batches say of an entry's details. Errors: Unreadable."""

    def _head(self, name: str, element: Element) -> None:
        statement = self._now
        match name:
            case "Id":
                statement.id = (element.text or "").strip()[:SETTLEMENT_MAX]
            case "ElctrncSeqNb":
                text = (element.text or "").strip()
                statement.sequence = text if _NUMBER.fullmatch(text) else ""
            case "Acct":
                statement.account = text_at(element, "Id/IBAN", "Id/Othr/Id").replace(" ", "")
                statement.currency = text_at(element, "Ccy")
                check_account(statement.account, self._source, "Acct/Id")
            case "Bal":
                self._take_balance(element)

    def _take_balance(self, element: Element) -> None:
        kind = text_at(element, "Tp/CdOrPrtry/Cd")
        if kind not in ("OPBD", "PRCD", "CLBD") or "true" in texts_at(element, "CdtLine/Incl"):
            return
        self._now.balances.add(kind)
        amount = self._amount(text_at(element, "Amt"), currency_of(element), text_at(element, "CdtDbtInd"))
        if kind == "CLBD":
            self._now.closing = amount
            self._now.closing_day = self._when(text_at(element, "Dt/Dt", "Dt/DtTm")).day
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

    def _entry(self, element: Element, batch: str, details: list[Detail]) -> Iterator[Line]:
        status = text_at(element, "Sts", "Sts/Cd")
        if status in _NOT_BOOKED:
            self._notes.add(f"entries that are not booked ({status})")
            return
        if status != "BOOK":
            raise Unreadable("schema_drift", f"an unknown status {status[:12]!r}", "Sts")
        direction = text_at(element, "CdtDbtInd")
        amount = self._amount(text_at(element, "Amt"), currency_of(element), direction)
        booked = self._when(text_at(element, "BookgDt/Dt", "BookgDt/DtTm", "ValDt/Dt", "ValDt/DtTm"))
        value = text_at(element, "ValDt/Dt", "ValDt/DtTm")
        value_day = self._when(value).day if value else booked.day
        parts = self._parts(amount, direction, batch, details)
        self._now.moved += amount
        if text_at(element, "RvslInd") in ("true", "1"):
            self._now.reversed_ += amount
        for number, (minor, detail) in enumerate(parts):
            self.place = detail.place if len(parts) > 1 else place_of(element)
            yield self._line(element, number, minor, detail, When(booked.at, value_day))

    def _parts(self, amount: int, direction: str, batch: str, details: list[Detail]) -> list[tuple[int, Detail]]:
        """The entry's details with their amounts, where all say one in its currency; else the entry. Errors: Unreadable."""
        said = [each for each in details if each.amount and each.currency == self._now.currency]
        if len(said) == len(details) > 1 or (len(details) == 1 and [each for each in said if each.is_own]):
            found = [self._amount(each.amount, each.currency, each.direction or direction) for each in said]
            if sum(found) != amount:
                raise Unreadable("row_does_not_tie", "its details do not add up to the entry", "NtryDtls")
            return list(zip(found, details, strict=True))
        return [(amount, details[0] if len(details) == 1 else _of_all(batch, details))]

    def _line(self, element: Element, number: int, amount: int, detail: Detail, when: When) -> Line:
        reference = detail.bank_reference or text_at(element, "AcctSvcrRef")
        entry, text = text_at(element, "NtryRef"), f"{detail.text} {text_at(element, 'AddtlNtryInf')}"
        named = (reference,) if reference else (self._now.id, entry, detail.text, *detail.references)
        told = Entry(amount, when, reference, detail.references, text, named, number, detail.reason)
        line = self._entries_of.line(self._now, told, self.kind)
        return line if reference else line._replace(psp_ref=entry)

    # ── what must hold at the end ──

    def _end(self) -> None:
        """A statement has ended. Errors: Unreadable."""
        statement, self._now = self._now, Statement()
        self._ended.append(statement)
        if not statement.id or not statement.account:
            raise Unreadable("schema_drift", "a statement without Id or account", "Stmt")
        if "CLBD" not in statement.balances or not statement.balances & {"OPBD", "PRCD"}:
            raise Unreadable("schema_drift", "a statement without opening or closing balance", "Bal")
        statement.check_total("Bal")

    def check(self) -> None:
        """Behind the last element. Errors: Refusal `empty`."""
        if not self._ended and not self.refusals:
            raise Refusal("empty", "the document has no statement")
        if self.refusals:
            return
        numbered = all(each.sequence for each in self._ended)
        ordered = sorted(self._ended, key=lambda each: int(each.sequence) if numbered else 0)
        for gap in balance_gaps(ordered, "Bal"):
            self.refusals.add(gap)

    def control(self) -> Control:
        numbers = [int(each.sequence) for each in self._ended if each.sequence]
        sequence = numbers[0] if len(self._ended) == 1 and numbers else None
        return control_of(self._ended, self.chunks, self._version(), self._notes, sequence)

    def _version(self) -> str:
        """When the document was made, in UTC: texts that sort as the times do."""
        try:
            return datetime.fromtimestamp(self._when(self._made).at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        except (Unreadable, ValueError, OverflowError):  # no time, or one before year 1 in UTC
            return ""


def _detail(element: Element) -> Detail:
    own = text_at(element, "Amt")
    amounts = element if own else next(iter(all_at(element, "AmtDtls/TxAmt")), element)
    free = (*texts_at(element, "RmtInf/Ustrd"), *texts_at(element, "RmtInf/Strd/CdtrRefInf/Ref"),
            *texts_at(element, "RmtInf/Strd/AddtlRmtInf"), text_at(element, "AddtlTxInf"))  # fmt: skip
    references = (text_at(element, f"Refs/{name}") for name in ("EndToEndId", "InstrId", "PmtInfId"))
    return Detail(
        text_at(amounts, "Amt"),
        currency_of(amounts),
        bool(own),
        text_at(element, "CdtDbtInd"),
        tuple(filter(is_reference, references)),
        text_at(element, "Refs/AcctSvcrRef"),
        " ".join(free),
        place_of(element),
        text_at(element, "RtrInf/Rsn/Cd", "RtrInf/Rsn/Prtry"),
    )


def _of_all(batch: str, details: list[Detail]) -> Detail:
    """What all details of an entry share: the batch that we have sent, where it is one."""
    shared = {each.references[-1] for each in details if each.references}
    return Detail(references=(batch,) if batch else tuple(shared) if len(shared) == 1 else ())


def currency_of(element: Element, path: str = "Amt") -> str:
    return next((amount.get("Ccy", "") for amount in all_at(element, path)), "")
