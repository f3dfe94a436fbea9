"""A bank's status report, ISO 20022 pain.002 → the file's status and those of its lines.

A report that is not wholly understood is refused as a whole: nothing of it may count. Versions 3 to 14 of the standard,
and the two of the German banks (pain.002.002.03, pain.002.003.03), have the parts that are read here in common.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from io import BytesIO
from typing import Literal, NoReturn
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, iterparse

from psp.wire import decline_code
from schemas.masking import masked
from schemas.money import DIGITS_MAX, InvalidMoney, Money, exponent

BYTES_MAX = 10_000_000
_NAMESPACE = re.compile(r"urn:iso:std:iso:20022:tech:xsd:pain\.002\.(?:001\.(?:0[3-9]|1[0-4])|00[23]\.03)")
_DEPTH_MAX = 64
_ID_MAX = 35
_NOT_PROVIDED = "NOTPROVIDED"  # banks write it where they need not name the payment part
_AMOUNT = re.compile(r"\+?[0-9]{1,18}(?:\.[0-9]{0,17})?", re.ASCII)
Outcome = Literal["accepted", "paid", "failed"]

OUTCOMES: Mapping[str, Outcome] = {
    **dict.fromkeys(("ACSC", "ACCC"), "paid"),
    **dict.fromkeys(("RJCT", "CANC"), "failed"),
    # The bank has it. RCVC, RVCM and RVNC tell of the check of the payee's name, after which another status comes.
    **dict.fromkeys(("RCVD", "PDNG", "ACTC", "ACCP", "ACSP", "ACWC", "ACFC", "RCVC", "RVCM", "RVNC"), "accepted"),
}
"""What a line's status means: ISO 20022's ExternalPaymentTransactionStatus, as far as it is about credit transfers."""

GROUP = frozenset({*OUTCOMES, "PART"}) - {"CANC"}
"""What a file's status may be."""


HAD_BEFORE = frozenset({"AM05", "DUPL", "DU01", "DU02", "DU03", "DU04", "DU05"})
"""Reasons of a bank that has had the file or the line before: it says nothing of what became of the first."""


class StatusFileError(ValueError):
    """The report cannot be read; the text says why, for people, and shows nothing of its contents but codes."""


@dataclass(frozen=True, slots=True)
class LineStatus:
    """One line of our file. `code` is the bank's reason, `amount` what it says to have been asked for."""

    end_to_end_id: str
    status: str  # a key of OUTCOMES
    code: str | None = None
    amount: Money | None = None


@dataclass(frozen=True, slots=True)
class StatusFile:
    """What a bank says of one file: a line that is not named here has the status that it had before."""

    message_id: str
    group_status: str | None  # one of GROUP; that of the payment's part where the bank gives it there
    lines: Sequence[LineStatus]


def read(raw: bytes) -> StatusFile:
    """The report. Errors: StatusFileError, and nothing else, for any other bytes."""
    if len(raw) > BYTES_MAX:
        _refuse(f"over {BYTES_MAX:,} bytes")
    report = _Report()
    for path, element in _elements(raw):
        report.take(path, element)
    return report.status_file()


# ── XML ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

_REPORT = ("Document", "CstmrPmtStsRpt")
_GROUP = (*_REPORT, "OrgnlGrpInfAndSts")
_PAYMENT = (*_REPORT, "OrgnlPmtInfAndSts")
_LINE = (*_PAYMENT, "TxInfAndSts")
_TAKEN = frozenset({_GROUP, _PAYMENT, _LINE, _REPORT})


def _elements(raw: bytes) -> Iterator[tuple[tuple[str, ...], Element]]:
    """The parts that are read, each at its end, with its path; a line leaves its parent, so that memory stays small."""
    opened: list[Element] = []
    path: tuple[str, ...] = ()
    try:
        parser = DefusedXMLParser(forbid_dtd=True, forbid_entities=True, forbid_external=True)
        for event, element in iterparse(BytesIO(raw), ("start", "end"), parser=parser):
            if event == "start":
                opened.append(element)
                path = (*path, _name(element, opened[0]))
                if len(opened) > _DEPTH_MAX:
                    _refuse(f"elements inside {_DEPTH_MAX} others")
                continue
            opened.pop()
            if path in _TAKEN:
                yield path, element
                if path == _LINE:
                    opened[-1].remove(element)
            path = path[:-1]
    except DefusedXmlException:
        raise StatusFileError("a document type or an entity is declared: no report needs one") from None
    except ParseError as error:
        raise StatusFileError(f"not XML: {error}") from None
    except (LookupError, UnicodeError) as error:  # of the encoding that it declares
        raise StatusFileError(f"an encoding that cannot be read: {masked(str(error))}") from None
    except ValueError as error:
        if isinstance(error, StatusFileError):
            raise
        raise StatusFileError(f"not XML that can be read: {masked(str(error))}") from None


def _name(element: Element, root: Element) -> str:
    """Its local name. Errors: StatusFileError unless it has the root's namespace, and that is one of a status report."""
    namespace, _, name = element.tag.rpartition("}")
    if element is root and not (_NAMESPACE.fullmatch(namespace[1:]) and name == "Document"):
        _refuse("not a pain.002 of version 3 to 14")
    # Banks add elements of their own namespaces inside SplmtryData alone, where nothing is read.
    return name if namespace == root.tag.rpartition("}")[0] else element.tag


def _all(element: Element, path: str) -> list[Element]:
    """The elements at the path, in the element's own namespace."""
    found, namespace = [element], element.tag.rpartition("}")[0]
    for name in path.split("/"):
        found = [child for each in found for child in each if child.tag == f"{namespace}}}{name}"]
    return found


def _one(element: Element, path: str) -> Element | None:
    """Errors: StatusFileError if there are two."""
    found = _all(element, path)
    if len(found) > 1:
        _refuse(f"{path} stands twice in one place")
    return found[0] if found else None


def _text(element: Element, path: str) -> str | None:
    found = _one(element, path)
    return None if found is None else _stripped(found)


def _stripped(element: Element) -> str:
    return (element.text or "").strip()


# ── statuses ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Report:
    message_id: str | None = None
    group: str | None = None
    payments: int = 0
    payment_id: str | None = None
    payment: str | None = None
    is_whole: bool = False
    lines: dict[str, LineStatus] = field(default_factory=dict)

    def take(self, path: tuple[str, ...], element: Element) -> None:
        if path == _GROUP:
            self._take_group(element)
        elif path == _LINE:
            self._take_line(element)
        elif path == _PAYMENT:
            self._take_payment(element)
        elif self.is_whole:
            _refuse("two reports in one document")
        else:
            self.is_whole = True

    def _take_group(self, element: Element) -> None:
        if self.message_id is not None:
            _refuse("two files in one report")
        kind = _text(element, "OrgnlMsgNmId")
        if kind is not None and not kind.lower().startswith("pain.001"):
            _refuse("not about a file of credit transfers")
        self.message_id = _id(element, "OrgnlMsgId")
        self.group = _status(element, "GrpSts", GROUP)
        _reason(element)

    def _take_payment(self, element: Element) -> None:
        self.payments += 1
        self.payment_id = _id(element, "OrgnlPmtInfId")
        self.payment = _status(element, "PmtInfSts", GROUP)
        _reason(element)

    def _take_line(self, element: Element) -> None:
        end_to_end_id = _id(element, "OrgnlEndToEndId")
        status = _status(element, "TxSts", OUTCOMES.keys())
        if status is None:
            _refuse("a line without a status")
        line = LineStatus(end_to_end_id, status, _reason(element), _amount(element))
        if self.lines.setdefault(end_to_end_id, line) != line:
            _refuse(f"two statuses for one line, {masked(end_to_end_id)}")

    def status_file(self) -> StatusFile:
        if self.message_id is None:
            _refuse("it names no file: OrgnlMsgId is missing")
        if self.payments > 1 or self.payment_id not in (None, _NOT_PROVIDED, f"{self.message_id}-1"):
            _refuse("our files have one payment part, and the report is about another")
        status = self._status()
        lines = list(self.lines.values())
        if status is None and not lines:
            _refuse("it says no status at all")
        if status == "RJCT" and any(OUTCOMES[line.status] != "failed" for line in lines):
            _refuse("the file is rejected, and a line of it is not")
        return StatusFile(self.message_id, status, lines)

    def _status(self) -> str | None:
        """The payment part's counts over the group's: each of our files has one."""
        if self.group == "RJCT" and self.payment not in (None, "RJCT"):
            _refuse("the file is rejected, and its payment part is not")
        return self.payment or self.group


def _id(element: Element, path: str) -> str:
    text = _text(element, path)
    if not text:
        _refuse(f"{path} is missing")
    if len(text) > _ID_MAX or not text.isprintable():
        _refuse(f"{path} is no identifier")
    return text


def _status(element: Element, path: str, known: Container[str]) -> str | None:
    status = _text(element, path)
    if status is not None and status not in known:
        _refuse(f"{path} {masked(status, 35)!r} is not known")
    return status


def _reason(element: Element) -> str | None:
    """The first reason's code; one of the bank's own if it has no standard one.

    Errors: StatusFileError for a repetition: whoever believed its RJCT would pay a second time what the first has paid.
    """
    codes = [
        decline_code(_stripped(each)) for kind in ("Cd", "Prtry") for each in _all(element, f"StsRsnInf/Rsn/{kind}")
    ]
    if not HAD_BEFORE.isdisjoint(codes):
        _refuse("the bank has had this before, and tells nothing of the first: ask it what became of that")
    return codes[0] if codes else None


def _amount(element: Element) -> Money | None:
    """Banks write as many decimals as they like: 12.5 EUR is 12.50."""
    found = _one(element, "OrgnlTxRef/Amt/InstdAmt")
    if found is None:
        return None
    text, currency = _stripped(found), found.get("Ccy", "")
    try:
        minor = Decimal(text).scaleb(exponent(currency)) if _AMOUNT.fullmatch(text) else None
    except InvalidMoney:
        minor = None
    if minor is None or minor != minor.to_integral_value() or minor >= 10**DIGITS_MAX:
        _refuse("an amount that is none of its currency")
    return Money(int(minor), currency)


def _refuse(why: str) -> NoReturn:
    raise StatusFileError(why)
