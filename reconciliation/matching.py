"""The tallies of one reference → the code of its break, or none. Pure: the order of the ladder is that of precedence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from reconciliation.tally import BANK_ENTRY, PAYMENTS, Tally
from schemas.breaks import BreakClass, Code

# A: the system repairs it or has booked it; B: a person decides; C: nobody knows what it is.
CLASSES: dict[Code, BreakClass] = {
    "LEDGER_MISSING": "A",
    "WALLET_MISSING": "A",
    "LEDGER_WALLET_DIFFER": "B",
    "FILE_REFUSED": "B",
    "FILE_MISSING": "B",
    "FILE_RESTATED": "A",
    "MISSING_AT_PSP": "A",
    "MISSING_INTERNAL": "A",
    "UNEXPECTED_REVERSAL": "A",
    "STATUS_MISMATCH": "B",
    "AMOUNT": "B",
    "CURRENCY": "B",
    "FEE_VARIANCE": "A",
    "FX_DIFFERENCE": "B",
    "DUPLICATE_ROW": "A",
    "DUPLICATE_CHARGE": "B",
    "PAYOUT_TOTAL": "B",
    "PAYOUT_MISSING": "B",
    "PAYOUT_RETURNED": "B",
    "BANK_AMOUNT": "B",
    "UNEXPLAINED": "C",
}


class Verdict(NamedTuple):
    """What is wrong with a reference, and by how much, in minor units."""

    code: Code
    amount: int
    currency: str


def verdict(tallies: Sequence[Tally], late: bool, again: int = 0) -> Verdict | None:
    """`tallies`: all currencies of one reference. `late`: the due day of its facts and the grace have passed. `again`: so
    much of it, in minor units, captures what its order has had already.
    """
    expecting = [tally for tally in tallies if tally.facts]
    settled = [tally for tally in tallies if tally.lines]
    if not settled:
        return _missing(expecting) if late else None
    if again:
        return _of("DUPLICATE_CHARGE", settled, [again] * len(settled))
    if not expecting:
        return _unknown(tallies, settled)
    if foreign := [tally for tally in settled if not tally.facts]:
        return _of("CURRENCY", foreign, [tally.settled for tally in foreign])
    return _returned(expecting) or _amount(expecting, late) or _fee(expecting)


def _missing(expecting: Sequence[Tally]) -> Verdict | None:
    missing = [tally for tally in expecting if tally.expected]
    if not missing:
        return None  # a capture that was taken back before it was settled
    code: Code = "PAYOUT_MISSING" if missing[0].kind == BANK_ENTRY else "MISSING_AT_PSP"
    return _of(code, missing, [tally.expected for tally in missing])


def _unknown(tallies: Sequence[Tally], settled: Sequence[Tally]) -> Verdict | None:
    """Lines without a fact. Kinds that are booked as they come need none."""
    kind, amounts = settled[0].kind, [tally.settled for tally in settled]
    if kind in (BANK_ENTRY, "j", "u"):
        return _of("UNEXPLAINED", settled, amounts)
    if kind not in PAYMENTS:
        return None
    if any(tally.outcome for tally in tallies):
        return _of("STATUS_MISMATCH", settled, amounts)
    return _of("MISSING_INTERNAL" if kind == "c" else "UNEXPECTED_REVERSAL", settled, amounts)


def _returned(expecting: Sequence[Tally]) -> Verdict | None:
    """A transfer of ours has come back at the bank, and nobody has said so yet."""
    back = [tally for tally in expecting if tally.kind == BANK_ENTRY and tally.expected < 0 and _came_back(tally)]
    return _of("PAYOUT_RETURNED", back, [_came_back(tally) for tally in back]) if back else None


def _came_back(tally: Tally) -> int:
    return sum(line.gross for line in tally.lines if line.gross > 0)


def _amount(expecting: Sequence[Tally], late: bool) -> Verdict | None:
    """Too much is a break at once; too little when it is late: the rest may come with another settlement. Where a later fact
    has changed what is expected (a capture or pay-out that came back), the line of that change may still come, too."""
    differing = [tally for tally in expecting if tally.settled != tally.expected]
    over = [tally for tally in differing if abs(tally.settled) >= abs(tally.expected) and len(tally.facts) == 1]
    if not differing or not (over or late):
        return None
    code: Code = "BANK_AMOUNT" if expecting[0].kind == BANK_ENTRY else "AMOUNT"
    return _of(code, differing, [tally.settled - tally.expected for tally in differing])


def _fee(expecting: Sequence[Tally]) -> Verdict | None:
    """A partial settlement has only a part of the fee: it is compared when the amounts agree."""
    beyond = [tally for tally in expecting if tally.lines and tally.settled == tally.expected and _too_much(tally)]
    return _of("FEE_VARIANCE", beyond, [_too_much(tally) for tally in beyond]) if beyond else None


def _too_much(tally: Tally) -> int:
    """By how much the fee is above what is agreed; less than 0: below."""
    if tally.fee_expected is None:
        return 0
    over = tally.fee - tally.fee_expected
    return over if over < 0 else max(0, over - tally.fee_slack)


def _of(code: Code, tallies: Sequence[Tally], amounts: Sequence[int]) -> Verdict:
    """The currency of the first, by its code; amounts of other currencies cannot be added to it."""
    currency, amount = min(zip([tally.currency for tally in tallies], amounts, strict=True))
    return Verdict(code, amount, currency)
