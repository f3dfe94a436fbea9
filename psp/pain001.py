"""Transfers of one account and currency → a bank file, ISO 20022 pain.001.001.09, as a stream of bytes.

The same input gives the same bytes. Rules: the schema of ISO 20022, EPC217-08 (letters), CBPR+ and SEPA for addresses:
fields of their own (`TwnNm` and `Ctry` always), never free lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NoReturn
from xml.sax.saxutils import escape

from psp.payout_port import Transfer
from schemas.destinations import Address, IbanAccount
from schemas.money import Money
from schemas.sepa import NAME_MAX, written

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"
_CHUNK = 1 << 16  # bytes
_TEXT_MAX = 140
_NUMBER_MAX = 10**18  # a sum has 18 digits
_NOT_PROVIDED = "<Othr><Id>NOTPROVIDED</Id></Othr>"
# In the order of the schema: the element, the field of an address, how long it may be.
_ADDRESS = (
    ("StrtNm", "street", 70),
    ("BldgNb", "building", 16),
    ("PstCd", "postal_code", 16),
    ("TwnNm", "town", 35),
    ("Ctry", "country", 2),
)


class BankFileError(ValueError):
    """The file cannot be written so. `code` is stable; no bytes of it may be used."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True, slots=True)
class Debtor:
    """Whose account the money leaves."""

    name: str
    iban: str
    bic: str | None = None


@dataclass(frozen=True, slots=True)
class FileHeader:
    """What a file says of itself. `file_id`, 32 hex digits, is its MsgId; `count` and `total` are those of its lines."""

    file_id: str
    created_at: datetime
    execution_date: date
    debtor: Debtor
    currency: str
    count: int
    total: Money


def write(header: FileHeader, transfers: Iterable[Transfer]) -> Iterator[bytes]:
    """The file in pieces of about 64 kB; its lines are read once, one at a time.

    Errors: BankFileError, perhaps after the first pieces: `wrong_count`, `wrong_total`, `wrong_currency`, and for a line
    those of `check`.
    """
    piece: list[str] = []
    size = 0
    for text in _document(header, transfers):
        piece.append(text)
        size += len(text)  # ASCII: a letter is a byte
        if size >= _CHUNK:
            yield "".join(piece).encode("ascii")
            piece, size = [], 0
    yield "".join(piece).encode("ascii")


def check(transfer: Transfer) -> None:
    """Errors: BankFileError for a transfer that no bank file can hold, whatever else is in it: `not_an_iban`,
    `address_required`, `unwritable`, `wrong_amount`.
    """
    _line(1, transfer)


def _document(header: FileHeader, transfers: Iterable[Transfer]) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>\n'
    yield f'<Document xmlns="{NAMESPACE}">\n<CstmrCdtTrfInitn>\n'
    yield _group(header)
    yield _payment(header)
    count, total = 0, Money.zero(header.currency)
    for count, transfer in enumerate(transfers, start=1):
        if transfer.amount.currency != header.currency:
            _refuse("wrong_currency", f"line {count} is in {transfer.amount.currency}, the file in {header.currency}")
        total += transfer.amount
        yield _line(count, transfer)
    if count != header.count:
        _refuse("wrong_count", f"{count} lines, and the header says {header.count}")
    if total != header.total:
        _refuse("wrong_total", f"the lines add up to {total}, and the header says {header.total}")
    yield "</PmtInf>\n</CstmrCdtTrfInitn>\n</Document>\n"


def _group(header: FileHeader) -> str:
    created = header.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    party = f"<InitgPty><Nm>{_name(header.debtor.name)}</Nm></InitgPty>"
    return f"<GrpHdr><MsgId>{header.file_id}</MsgId><CreDtTm>{created}</CreDtTm>{_sums(header)}{party}</GrpHdr>\n"


def _payment(header: FileHeader) -> str:
    debtor = header.debtor
    level = "<PmtTpInf><SvcLvl><Cd>SEPA</Cd></SvcLvl></PmtTpInf>" if header.currency == "EUR" else ""
    agent = f"<BICFI>{escape(debtor.bic)}</BICFI>" if debtor.bic else _NOT_PROVIDED
    return (
        f"<PmtInf>\n<PmtInfId>{header.file_id}-1</PmtInfId><PmtMtd>TRF</PmtMtd><BtchBookg>true</BtchBookg>"
        f"{_sums(header)}{level}<ReqdExctnDt><Dt>{header.execution_date.isoformat()}</Dt></ReqdExctnDt>\n"
        f"<Dbtr><Nm>{_name(debtor.name)}</Nm></Dbtr><DbtrAcct><Id><IBAN>{escape(debtor.iban)}</IBAN></Id></DbtrAcct>"
        f"<DbtrAgt><FinInstnId>{agent}</FinInstnId></DbtrAgt><ChrgBr>SLEV</ChrgBr>\n"
    )


def _sums(header: FileHeader) -> str:
    if header.total.currency != header.currency:
        _refuse("wrong_currency", f"the total is in {header.total.currency}, the file in {header.currency}")
    if not 0 < header.total.minor < _NUMBER_MAX:
        _refuse("wrong_total", "a file's total is positive and has at most 18 digits")
    return f"<NbOfTxs>{header.count}</NbOfTxs><CtrlSum>{header.total.amount}</CtrlSum>"


def _line(position: int, transfer: Transfer) -> str:
    account, amount = _account(transfer), transfer.amount
    if amount.minor <= 0:
        _refuse("wrong_amount", f"{amount} cannot be paid")
    agent = f"<CdtrAgt><FinInstnId><BICFI>{account.bic}</BICFI></FinInstnId></CdtrAgt>" if account.bic else ""
    address = "" if account.address is None else _address(account.address)
    text = _plain(transfer.payout_id, _TEXT_MAX)
    return (
        f"<CdtTrfTxInf><PmtId><InstrId>{position}</InstrId><EndToEndId>{transfer.call_id}</EndToEndId></PmtId>"
        f'<Amt><InstdAmt Ccy="{amount.currency}">{amount.amount}</InstdAmt></Amt>{agent}'
        f"<Cdtr><Nm>{_name(account.holder)}</Nm>{address}</Cdtr>"
        f"<CdtrAcct><Id><IBAN>{account.iban}</IBAN></Id></CdtrAcct>"
        f"<RmtInf><Ustrd>{text}</Ustrd></RmtInf></CdtTrfTxInf>\n"
    )


def _account(transfer: Transfer) -> IbanAccount:
    """Errors: BankFileError that repeats nothing of the account."""
    try:
        account = IbanAccount.model_validate(dict(transfer.destination))
    except ValueError:
        raise BankFileError("not_an_iban", "a bank file pays to accounts with an IBAN alone") from None
    if account.needs_address:
        _refuse("address_required", "a bank pays to an account outside the EEA only with its holder's address")
    return account


def _address(address: Address) -> str:
    named = ((element, getattr(address, field), longest) for element, field, longest in _ADDRESS)
    parts = (f"<{element}>{_plain(text, longest)}</{element}>" for element, text, longest in named if text is not None)
    return f"<PstlAdr>{''.join(parts)}</PstlAdr>"


def _name(name: str) -> str:
    return _plain(name, NAME_MAX)


def _plain(text: str, longest: int) -> str:
    try:
        return escape(written(text, longest))
    except ValueError as error:
        raise BankFileError("unwritable", f"a text of the file {error}") from None


def _refuse(code: str, detail: str) -> NoReturn:
    raise BankFileError(code, detail)
