"""PayPal's transaction event codes → kinds of lines.

Codes: developer.paypal.com/docs/reports/reference/tcodes. A group (T00nn) says what moved; where one code of it differs,
it stands by itself. Codes of authorisations (T13nn) move nothing and are in no settlement.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple


class Kinds(NamedTuple):
    """The kinds of a code's credits (money to us) and debits."""

    credit: str
    debit: str


_CAPTURE, _HOLD, _OTHER, _ADJUSTMENT = Kinds("c", "u"), Kinds("H", "h"), Kinds("u", "u"), Kinds("j", "j")
_FEE, _PAYOUT, _PAYOUT_REVERSED = Kinds("f", "f"), Kinds("p", "p"), Kinds("q", "q")

GROUPS: Mapping[str, Kinds] = {
    "T00": _CAPTURE,  # payments; a debit is one that we made
    "T01": _FEE,
    "T02": Kinds("x", "x"),  # both legs of a conversion
    "T03": _OTHER,  # deposits from a bank account
    "T04": _PAYOUT,  # withdrawals to a bank account
    "T05": _OTHER,  # debit card
    "T06": _OTHER,  # withdrawals to a credit card
    "T07": _OTHER,  # deposits from a credit card
    "T08": _OTHER,  # bonus
    "T09": _OTHER,  # incentives
    "T10": _OTHER,  # bills
    "T11": _OTHER,  # reversals
    "T12": _ADJUSTMENT,
    "T14": _OTHER,  # dividends
    "T15": _HOLD,
    "T16": _OTHER,  # buyer credit
    "T17": _OTHER,  # withdrawals to what is no bank
    "T18": _OTHER,
    "T19": _ADJUSTMENT,
    "T20": _OTHER,  # transfers between accounts
    "T21": _HOLD,  # reserves, reviews, funds that are not available yet
    "T22": _OTHER,  # transfers
    "T30": _OTHER,
    "T50": _OTHER,
    "T99": _OTHER,
}

_CODES: Mapping[str, Kinds] = {
    "T1100": Kinds("R", "u"),  # general reversal
    "T1101": _PAYOUT_REVERSED,
    "T1105": _HOLD,
    "T1106": Kinds("c", "c"),  # PayPal takes a payment back
    "T1107": Kinds("r", "r"),
    "T1108": _FEE,
    "T1109": _FEE,
    "T1110": _HOLD,
    "T1111": _HOLD,
    "T1113": Kinds("r", "r"),  # a refund that names no payment
    "T1201": Kinds("b", "b"),
    "T1202": Kinds("B", "B"),
    "T1205": Kinds("B", "B"),  # PayPal pays for a chargeback
    "T1207": Kinds("2", "2"),  # the bank rejects our answer to a chargeback
    "T1208": Kinds("B", "B"),
}


@lru_cache(maxsize=4_096)
def kind_of(code: str, is_credit: bool) -> str | None:
    """The letter of a line's kind; None for a code of no known group."""
    if len(code) != 5 or not (code.isascii() and code[1:].isdigit()):
        return None
    kinds = _CODES.get(code) or GROUPS.get(code[:3])
    return None if kinds is None else kinds[not is_credit]
