"""PayPal's footers, and the sums of transactions that they must have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields

from reconciliation.formats.amounts import ImpliedUnits, decimals_of
from reconciliation.formats.refusing import Unreadable
from reconciliation.formats.shape import Refusal
from schemas.money import MINOR_MAX, Money

_WIDTHS = (15, 19)  # before version 7 without the balances that are payable


class Units(dict[str, ImpliedUnits]):
    """Currency → how its amounts are read: as hundredths, those of yen, too. Errors: Unreadable `currency_unknown`."""

    def __missing__(self, currency: str) -> ImpliedUnits:
        units = self[currency] = ImpliedUnits(2, decimals_of(currency)[1])
        return units


@dataclass(slots=True)
class Sums:
    """Of transactions in one currency, in minor units."""

    gross_credits: int = 0
    gross_debits: int = 0
    fee_credits: int = 0
    fee_debits: int = 0
    transactions: int = 0

    def add(self, gross: int, fee: int) -> None:
        """A transaction; + is a credit."""
        self.transactions += 1
        if gross > 0:
            self.gross_credits += gross
        else:
            self.gross_debits -= gross
        if fee > 0:
            self.fee_credits += fee
        else:
            self.fee_debits -= fee

    def join(self, other: Sums) -> None:
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def net(self) -> int:
        return self.gross_credits - self.gross_debits + self.fee_credits - self.fee_debits


_SUMS = tuple(each.name for each in fields(Sums))


def joined(parts: Iterable[Mapping[str, Sums]]) -> dict[str, Sums]:
    """Currency → sums of all parts."""
    found: dict[str, Sums] = {}
    for part in parts:
        for currency, sums in part.items():
            found.setdefault(currency, Sums()).join(sums)
    return found


def count_of(sums: Mapping[str, Sums]) -> int:
    return sum(each.transactions for each in sums.values())


def footer(row: list[str], units: Units) -> tuple[str, Sums]:
    """SF or RF, currency, gross credits, debits, fee credits, debits, balances with their signs, count. Errors: Unreadable."""
    while len(row) > 2 and not row[-1]:
        row.pop()
    if len(row) not in _WIDTHS:
        raise Unreadable("bad_row", f"a footer of {len(row)} fields")
    read = units[row[1]]
    gross_credits, gross_debits, fee_credits, fee_debits = (read[text] for text in row[2:6])
    return row[1], Sums(gross_credits, gross_debits, fee_credits, fee_debits, number(row[-1]))


def differences(name: str, currency: str, told: Sums, all_found: Mapping[str, Sums]) -> Iterator[Refusal]:
    """Between a currency's footer and its transactions. The footer's count is of its currency, in some reports of all."""
    found = all_found.get(currency, Sums())
    if told.transactions not in (found.transactions, count_of(all_found)):
        yield Refusal("bad_count", f"the {name} counts {told.transactions} transactions, not {found.transactions}")
    for what in _SUMS[:4]:
        one, other = getattr(told, what), getattr(found, what)
        if one != other:
            wrong = f"{money(one, currency)}, its transactions of {money(other, currency)}"
            yield Refusal("bad_total", f"the {name} of {currency} has {what.replace('_', ' ')} of {wrong}")


def number(text: str) -> int:
    """Errors: Unreadable."""
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise Unreadable("bad_row", "not a number")
    return int(text)


def money(minor: int, currency: str) -> Money:
    """Errors: Refusal `bad_total`."""
    if abs(minor) > MINOR_MAX:
        raise Refusal("bad_total", "a sum has more than 64 bits")
    return Money(minor, currency)
