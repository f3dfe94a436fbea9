"""Checkout.com's types of rows → kinds of lines. One that is not here makes a file drift.

Types: checkout.com/docs, funds management, breakdown types. The sign of an amount tells its direction, never the type.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from reconciliation.formats.records import normal
from reconciliation.formats.refusing import Unreadable
from schemas.masking import masked


class Kinds(NamedTuple):
    """The kinds of a type's credits (money to us) and debits."""

    credit: str
    debit: str


_CAPTURE, _REFUND, _DISPUTE = Kinds("c", "c"), Kinds("r", "r"), Kinds("B", "b")
_FEE, _HOLD, _OTHER, _ADJUSTMENT = Kinds("f", "f"), Kinds("H", "h"), Kinds("u", "u"), Kinds("j", "j")
_PAYOUT = Kinds("p", "p")

_TYPES: Mapping[str, Kinds] = {
    **dict.fromkeys(("charge", "partial charge", "capture", "partial capture"), _CAPTURE),
    "clearing failed": Kinds("R", "c"),  # of a refund it gives back, of a capture it takes
    **dict.fromkeys(("refund", "partial refund"), _REFUND),
    "refund reversal": Kinds("R", "R"),
    **dict.fromkeys(("chargeback", "chargeback reversal"), _DISPUTE),
    "invoice settlement": Kinds("i", "i"),
    **dict.fromkeys(("payout", "merchant payout"), _PAYOUT),
    **dict.fromkeys(
        (
            *("rolling reserve", "rolling reserve hold", "rolling reserve release"),
            *("rolling reserve reservation", "security deposit reservation", "security deposit release"),
        ),
        _HOLD,
    ),
    **dict.fromkeys(("adjustment", "tiered pricing adjustment", "transaction amount discrepancy"), _ADJUSTMENT),
    **dict.fromkeys(
        (
            *("top up", "transfer", "transfer in", "transfer out", "cover negative position"),
            *("operational funding reservation", "operational funding release"),
            *("pay to card", "card payout", "pay to bank payout", "bank payout", "payment returned"),
        ),
        _OTHER,
    ),
}
# Types of rows that charge for something, and move nothing else.
_CHARGED_FOR = frozenset(
    (
        *("authorization", "partial authorization", "incremental authorization", "authorization reversal", "void"),
        *("card verification", "authentication", "account updater", "real time account updater", "retrieval"),
        *("network token provisioning", "network token update", "representment", "risk engine", "minimum billing"),
    )
)
_FEES = (" fee", " fee tax", " tax")  # ends of a breakdown type


def is_fee(breakdown: str) -> bool:
    """ "Scheme Fixed Fee" and "Gateway Fixed Fee Tax" are."""
    return normal(breakdown).endswith(_FEES)


def fee_part(breakdown: str) -> int:
    """The place of a fee among commission, markup, scheme, interchange, tax."""
    name = normal(breakdown)
    if name.endswith(" tax"):
        return 4
    return 3 if name.startswith("interchange") else 2 if name.startswith("scheme") else 0


@lru_cache(maxsize=4_096)
def kind_of(type_: str, is_credit: bool, moves: bool) -> str:
    """The letter of a line's kind; `moves`: there is an amount beside fees. Errors: Unreadable `schema_drift`."""
    name = normal(type_.partition("(")[0])  # "Chargeback (ADJM)"
    kinds = _TYPES.get(name)
    if kinds is None and (name not in _CHARGED_FOR or moves):
        raise Unreadable("schema_drift", f"an unknown type {masked(type_)[:60]!r}")
    return "f" if kinds is None or not moves else kinds[not is_credit]
