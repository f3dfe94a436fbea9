"""pain.001 bytes → the transfers they ask for, checked as a bank does; a file or a line that it refuses has a reason code.

Codes are those of ISO 20022 (ExternalStatusReason1Code). Nothing here knows who wrote the file.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from simulator.currencies import ISO

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"
NOT_PROVIDED = "NOTPROVIDED"
_NS = {"": NAMESPACE}
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_LETTERS = re.compile(r"[A-Za-z0-9/\-?:().,'+ ]{1,140}")
_COUNTRIES = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IS IT LI LT LU LV MT NL NO PL PT RO SE SI SK"
_EEA = frozenset(_COUNTRIES.split())
SYNTAX, DUPLICATE, COUNT, SUM = "FF01", "DU01", "AM18", "AM10"
DEBTOR, CREDITOR, ADDRESS, AMOUNT, NAME, REPEATED = "AC02", "AC01", "BE04", "AM12", "BE22", "DU04"


class FileRefused(Exception):
    """The bank does nothing of the file. `code` is its reason, `message_id` what can be read of whose file it is."""

    def __init__(self, code: str, message_id: str = NOT_PROVIDED) -> None:
        super().__init__(code)
        self.code = code
        self.message_id = message_id


@dataclass(frozen=True, slots=True)
class AskedTransfer:
    """A line. `refusal` is a reason code where the bank cannot pay it."""

    position: int
    end_to_end: str
    amount: int  # ISO minor units
    iban: str
    text: str
    refusal: str | None


@dataclass(frozen=True, slots=True)
class AskedFile:
    """A file that the bank takes."""

    message_id: str
    payment_id: str
    currency: str
    total: int
    lines: tuple[AskedTransfer, ...]


def read(raw: bytes) -> AskedFile:
    """Errors: FileRefused."""
    try:
        root = fromstring(raw, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        raise FileRefused(SYNTAX) from None
    message_id = _text(root, "CstmrCdtTrfInitn/GrpHdr/MsgId") or NOT_PROVIDED
    try:
        return _read(root, message_id)
    except FileRefused as refused:
        raise FileRefused(refused.code, message_id) from None


def _read(root: Element, message_id: str) -> AskedFile:
    payments = root.findall("CstmrCdtTrfInitn/PmtInf", _NS)
    if root.tag != f"{{{NAMESPACE}}}Document" or message_id == NOT_PROVIDED or len(payments) != 1:
        raise FileRefused(SYNTAX)
    [payment] = payments
    found = payment.findall("CdtTrfTxInf", _NS)
    currencies = {amount.get("Ccy", "") for amount in payment.findall("CdtTrfTxInf/Amt/InstdAmt", _NS)}
    if len(currencies) != 1 or not currencies <= ISO.keys():
        raise FileRefused(SYNTAX)
    [currency] = currencies
    if not _is_iban(_text(payment, "DbtrAcct/Id/IBAN")):
        raise FileRefused(DEBTOR)
    lines = tuple(_line(position, element, currency) for position, element in enumerate(found, start=1))
    if any(times > 1 for times in Counter(line.end_to_end for line in lines).values()):
        raise FileRefused(REPEATED)
    total = sum(line.amount for line in lines)
    header = root.find("CstmrCdtTrfInitn/GrpHdr", _NS)
    for part in (header, payment):
        _check_sums(part, len(lines), total, currency)
    return AskedFile(message_id, _text(payment, "PmtInfId"), currency, total, lines)


def _check_sums(part: Element | None, count: int, total: int, currency: str) -> None:
    if part is None or _text(part, "NbOfTxs") != str(count):
        raise FileRefused(COUNT)
    if _minor(_text(part, "CtrlSum"), currency) != total:
        raise FileRefused(SUM)


def _line(position: int, line: Element, currency: str) -> AskedTransfer:
    amount = _minor(_text(line, "Amt/InstdAmt"), currency)
    if amount is None:
        raise FileRefused(SYNTAX)
    iban, end_to_end = _text(line, "CdtrAcct/Id/IBAN"), _text(line, "PmtId/EndToEndId")
    text = _text(line, "RmtInf/Ustrd")
    return AskedTransfer(position, end_to_end, amount, iban, text, _refusal(line, amount, iban))


def _refusal(line: Element, amount: int, iban: str) -> str | None:
    name, address = _text(line, "Cdtr/Nm"), line.find("Cdtr/PstlAdr", _NS)
    if amount <= 0:
        return AMOUNT
    if not _is_iban(iban):
        return CREDITOR
    if not _LETTERS.fullmatch(name) or len(name) > 70:
        return NAME
    is_whole = address is not None and bool(_text(address, "TwnNm")) and bool(_text(address, "Ctry"))
    return ADDRESS if not is_whole and (address is not None or iban[:2] not in _EEA) else None


def _is_iban(text: str) -> bool:
    """ISO 13616: the check digits."""
    if not _IBAN.fullmatch(text):
        return False
    return int("".join(str(int(each, 36)) for each in text[4:] + text[:4])) % 97 == 1


def _text(element: Element, path: str) -> str:
    return (element.findtext(path, "", _NS) or "").strip()


def _minor(text: str, currency: str) -> int | None:
    try:
        minor = Decimal(text).scaleb(ISO[currency])
        return int(minor) if minor == minor.to_integral_value() else None
    except (InvalidOperation, ValueError, OverflowError):
        return None
