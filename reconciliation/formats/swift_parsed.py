"""Fields of SWIFT's statements → values, through the library `mt-940` with all of its corrections on.

Each entry is given to it by itself: a `:61:` without a transaction type would else be overwritten by the next one, and memory
would grow with the file. What the library takes too easily is checked before: digits of any script, two commas.
"""

from __future__ import annotations

import logging
import re
from datetime import date
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from reconciliation.formats.amounts import MajorUnits, decimals_of
from reconciliation.formats.bank_statements import is_reference
from reconciliation.formats.keys import calls_in
from reconciliation.formats.refusing import Unreadable
from reconciliation.formats.swift_fields import Field
from reconciliation.formats.times import day_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from mt940.models import Transactions

_AMOUNT = r"[0-9]{1,12},[0-9]{0,3}"
_ENTRY = re.compile(
    rf"([0-9]{{6}})([0-9]{{4}}|    )?(R?[DC])[A-Z]?[\n ]?{_AMOUNT}(?![0-9,.])", re.IGNORECASE | re.ASCII
)
_BALANCE = re.compile(rf"[DC][0-9]{{6}}[A-Z]{{3}}{_AMOUNT}", re.ASCII)
_SUM = re.compile(rf"[0-9]{{1,5}}[A-Z]{{3}}{_AMOUNT}", re.ASCII)
_ENTRY_MAX = 1000  # characters of a :61:; SWIFT's own longest has 117
_LINE = 65  # characters of a line of :86: that is full: the next one goes on within a word
_END_TO_END = re.compile(r"/EREF/(.{1,70}?)(?=/[A-Z]{3,4}/|/?$)")
_RETURNED = re.compile(r"/RTRN/([A-Z0-9]{1,8})")


class Balance(NamedTuple):
    """Minor units; + is the bank's debt to us."""

    amount: int
    currency: str
    day: int  # days since 1970


class Movement(NamedTuple):
    """A :61: and its :86:."""

    amount: int  # minor units; + is a credit
    booked: int  # days since 1970
    value_day: int
    is_reversal: bool
    reference: str  # the bank's own
    references: tuple[str, ...]
    text: str
    reason: str  # why it came back
    corrected: bool  # its value day is none: a 29th or 30th of February


@cache
def _library() -> Callable[[str, bool], Transactions]:
    """(text, whether a customer's reference may be longer than SWIFT lets it) → what it reads."""
    import mt940

    logging.getLogger("mt940").setLevel(logging.CRITICAL + 1)  # it would log what it cannot read, names and all
    options, long = mt940.Options.all(), mt940.tags.StatementGLS()

    def read(text: str, is_long: bool) -> Transactions:
        found = mt940.models.Transactions(options=options, tags={long.id: long} if is_long else None)
        found.parse(text)
        return found

    return read


def _read(text: str, is_long: bool = False) -> Transactions:
    """Errors: Unreadable `bad_row`, whatever the library raises."""
    read = _library()  # where it is not installed, that is no fault of the file
    try:
        return read(text, is_long)
    except Exception:
        raise Unreadable("bad_row", "not as SWIFT writes it, or there is no such day") from None


def balance(field: Field) -> Balance:
    """Errors: Unreadable."""
    if _BALANCE.fullmatch(field.text) is None:
        raise Unreadable("bad_row", "not a balance such as C260211EUR1250,00", f":{field.tag}:")
    [found] = [each for name, each in _read(field.written).data.items() if name.endswith("_balance")]
    return Balance(_minor(found.amount), found.amount.currency, _day(found.date))


def entry_sum(field: Field) -> tuple[int, int, str]:
    """:90D: or :90C: → how many entries, what they add up to (less than 0 for debits), the currency. Errors: Unreadable."""
    if _SUM.fullmatch(field.text) is None:
        raise Unreadable("bad_row", "not a sum such as 2EUR1250,00", f":{field.tag}:")
    [found] = [each for name, each in _read(field.written).data.items() if name.startswith("sum_")]
    return int(found.number), _minor(found), found.currency


def movement(field: Field, details: Field | None, currency: str) -> Movement:
    """Errors: Unreadable."""
    head = _ENTRY.match(field.text)
    if head is None or len(field.text) > _ENTRY_MAX:
        raise Unreadable("bad_row", "not an entry such as 2602110211C12,50NTRFREF//BANKREF", ":61:")
    if head[1][2:4] == "02" and head[1][4:] > "30":
        raise Unreadable("bad_row", "there is no such day", ":61:")
    line, _, more = field.text.partition("\n") if "\n" not in head[0] else (field.text, "", "")
    written = f":61:{line}\n{' '.join(more.splitlines())}" if more else f":61:{line}"
    found: dict[str, Any] = _read(written if details is None else f"{written}\n{details.written}", "//" in line)[0].data
    found["amount"].currency = currency
    raw = _unfolded(
        found.get("transaction_details") or ""
    )  # nothing where the details are structured: then they are in parts
    free = " ".join(str(found.get(name) or "") for name in ("purpose", "additional_purpose", "extra_details"))
    given = (_match(_END_TO_END, raw), found.get("end_to_end_reference"), found.get("customer_reference"))
    references = tuple(filter(is_reference, ((each or "").strip() for each in given)))
    text = f"{raw} {free}".strip()
    bank = (found.get("bank_reference") or "").strip()
    value = _day(found["date"])
    return Movement(
        _minor(found["amount"]),
        _day(found.get("entry_date") or found["date"]),
        value,
        head[3].upper().startswith("R"),
        bank if is_reference(bank) else "",
        (*references, *calls_in(text)),
        text,
        _match(_RETURNED, raw),
        f"{found['date']:%y%m%d}" != head[1],
    )


def _unfolded(text: str) -> str:
    """The lines of a :86: as one: a full one goes on within a word."""
    lines = text.split("\n")
    return "".join(line if len(line) >= _LINE else f"{line} " for line in lines).strip()


def _match(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""


def _minor(amount: Any) -> int:
    """An amount of the library's, whose sign it knows. Errors: Unreadable."""
    units = MajorUnits(*decimals_of(amount.currency), signed=True)
    return units.parse(f"{amount.amount + 0:f}")


def _day(day: date) -> int:
    return day_of(day.isoformat())
