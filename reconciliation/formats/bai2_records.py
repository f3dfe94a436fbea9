"""Lines of a BAI2 file → its records, and their values through the library `bai2`.

A record is given to the library by itself, so that memory does not grow with the file. Two things are our own: what the
library takes too easily (`1_000`, digits of any script) is checked before, and the amounts of an account record (03) are read
here: the library guesses from the number of commas where one of them ends, and is wrong behind funds types with more fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, time
from functools import cache
from typing import Any, NamedTuple

from reconciliation.formats.amounts import decimals_of
from reconciliation.formats.bank_statements import bounded
from reconciliation.formats.blocks import Lines
from reconciliation.formats.refusing import Unreadable
from reconciliation.formats.shape import Refusal
from reconciliation.formats.times import day_of
from schemas.masking import masked
from schemas.money import DIGITS_MAX

RECORD_MAX = 16_384  # characters
_CODE = re.compile(r"(01|02|03|16|49|88|98|99),.*", re.DOTALL)
_SIGNED = re.compile(rf"[+-]?[0-9]{{1,{DIGITS_MAX}}}", re.ASCII)
_SHAPES = {
    "01": re.compile(r"01,[^,]*,[^,]*,[0-9]{6},[0-9]{4},[^,]*,[0-9]{0,5},[0-9]{0,5},2/?"),
    "02": re.compile(r"02,[^,]*,[^,]*,[1-4],[0-9]{6},([0-9]{4})?,([A-Z]{3})?,[1-4]?/?"),
    "16": re.compile(rf"16,[0-9]{{3}},[0-9]{{0,{DIGITS_MAX}}}(,.*|/)", re.DOTALL),
    "49": re.compile(rf"49,[+-]?[0-9]{{1,{DIGITS_MAX}}},[0-9]{{1,9}}/?"),
    "98": re.compile(rf"98,[+-]?[0-9]{{1,{DIGITS_MAX}}},[0-9]{{1,9}},[0-9]{{1,9}}/?"),
    "99": re.compile(rf"99,[+-]?[0-9]{{1,{DIGITS_MAX}}},[0-9]{{1,9}},[0-9]{{1,9}}/?"),
}
_PARSERS = {
    "01": "Bai2FileHeaderParser",
    "02": "GroupHeaderParser",
    "16": "TransactionDetailParser",
    "49": "AccountTrailerParser",
    "98": "GroupTrailerParser",
    "99": "Bai2FileTrailerParser",
}
_MORE_FIELDS = {"V": 2, "S": 3}  # of a funds type, behind it; D says how many


@dataclass
class Record:
    """A record and the lines (88) that go on with it."""

    code: str
    rows: list[str]
    line: int  # the number of its first line in the file
    first_byte: int
    last_byte: int

    @property
    def text(self) -> str:
        return "\n".join(self.rows)


class Summary(NamedTuple):
    """A balance or a total of an account, in minor units."""

    code: str
    amount: int


class Detail(NamedTuple):
    """A movement (16), in minor units; + is a credit. None: it tells something else."""

    code: str
    written: int  # without its sign, as control totals have it
    amount: int | None
    value_day: int | None
    reference: str
    customer: str
    text: str


def records_of(blocks: Iterable[bytes]) -> Iterator[Record]:
    """Errors: Refusal as Lines, `bad_row`, `line_too_long`."""
    lines = Lines(bounded(blocks))
    rest, now = iter(lines), None
    ended = lines.offset
    for number, raw in enumerate(rest, 1):
        begins, ended = ended, lines.offset
        row = raw.strip("\r\n \t\ufeff")
        if not row:
            continue
        found = _CODE.fullmatch(row)
        if found is None or (found[1] == "88" and now is None):
            raise Refusal("bad_row", "not a record of BAI2", number, excerpt=masked(row))
        if found[1] != "88":
            if now is not None:
                yield now
            lines.record_from = begins
            now = Record(found[1], [row], number, begins, ended - 1)
        elif now is not None:
            now.rows.append(row)
            now.last_byte = ended - 1
        if len(row) > RECORD_MAX or (now is not None and ended - now.first_byte > 2 * RECORD_MAX):
            raise Refusal("line_too_long", f"a record has over {RECORD_MAX:,} characters", number)
    if now is not None:
        yield now


@cache
def _library() -> tuple[Any, dict[str, Any], Any]:
    from bai2 import constants, helpers, parsers

    return helpers.IteratorHelper, {code: getattr(parsers, name) for code, name in _PARSERS.items()}, constants


def values(record: Record) -> Any:
    """What the library reads of a header or trailer. Errors: Unreadable."""
    if not _SHAPES[record.code].fullmatch(record.text):
        raise Unreadable("bad_row", f"not as BAI2 (version 2) writes a record {record.code}")
    return _parsed(record.code, record.rows)


def _parsed(code: str, rows: list[str]) -> Any:
    """Errors: Unreadable `bad_row`, whatever the library raises."""
    helper, parsers, _ = _library()
    try:
        return parsers[code](helper(rows), check_integrity=False).parse()
    except Exception:
        raise Unreadable("bad_row", f"not as BAI2 (version 2) writes a record {code}") from None


def detail(record: Record) -> Detail:
    """Errors: Unreadable; `schema_drift` for a type that is not known or is none of a single movement."""
    rows = list(record.rows)
    if not _SHAPES["16"].fullmatch(record.text):
        raise Unreadable("bad_row", "not a movement such as 16,475,5000,Z,BANKREF,OURREF,TEXT")
    constants = _library()[2]
    type_ = constants.TypeCodes.get(rows[0][3:6])
    if type_ is None or type_.level is not constants.TypeCodeLevel.detail:
        raise Unreadable("schema_drift", f"no type of a single movement: {rows[0][3:6]}", "type code")
    if record.text.count(",") < 6:  # what is left out at the end
        rows[-1] = rows[-1].removesuffix("/") + ",,,/"
    found = _parsed("16", rows)
    written = found.amount or 0
    sign = {"credit": 1, "debit": -1}.get(type_.transaction.value if type_.transaction else "")
    available = (found.availability or {}).get("date")
    return Detail(
        type_.code,
        written,
        None if sign is None else sign * written,
        None if available is None else _day(available),
        (found.bank_reference or "").strip(),
        (found.customer_reference or "").strip(),
        (found.text or "").strip(",/ "),
    )


def account(record: Record) -> tuple[str, str, list[Summary]]:
    """Record 03 → account, currency ("": its group's), balances and totals. Errors: Unreadable."""
    parts = [part for row in record.rows for part in row[3:].removesuffix("/").split(",")]
    number, currency = parts[0].strip(), parts[1].strip() if len(parts) > 1 else ""
    return number, currency, list(_summaries(parts[2:]))


def _summaries(parts: list[str]) -> Iterator[Summary]:
    place = 0
    while place < len(parts):
        if not parts[place].strip():  # lines end with or without a comma
            place += 1
            continue
        code, amount, _, funds, *_ = *(each.strip() for each in parts[place : place + 4]), "", "", ""
        if not (len(code) == 3 and code.isascii() and code.isdigit()) or not (not amount or _SIGNED.fullmatch(amount)):
            raise Unreadable("bad_row", "not a balance such as 015,125000,,", "03")
        yield Summary(code, int(amount or 0))
        place += 4 + _more_fields(funds, parts[place + 4 : place + 5])


def _more_fields(funds: str, rest: list[str]) -> int:
    if funds != "D":
        return _MORE_FIELDS.get(funds, 0)
    count = rest[0].strip() if rest else ""
    if not (count.isascii() and count.isdigit() and len(count) < 4):
        raise Unreadable("bad_row", "funds are spread over no number of days", "03")
    return 1 + 2 * int(count)


def currency_of(given: str) -> str:
    """Errors: Unreadable `currency_unknown`."""
    decimals_of(given)
    return given


def _day(day: date) -> int:
    return day_of(day.isoformat())


def made_at(header: Any) -> str:
    """When a file was made, as a text that sorts as these times do."""
    at: time = header.creation_time
    return f"{header.creation_date.isoformat()}T{at:%H:%M} {(header.file_id or '').strip().zfill(10)[:20]}"
