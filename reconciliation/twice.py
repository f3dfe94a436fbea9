"""Captures of which an order has had one already: the second stands in suspense until a line gives it back. Pure.

An order is charged twice where lines settle its capture several times, each under a reference of the PSP's own; or where a
capture is settled under another call of an order that has its capture. What explains such a line is a refund of the same
amount that nobody here has asked for: they are paired in one canonical order, so that the order of arrival does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import NamedTuple

from reconciliation.tally import Reference, Tally, TallyLine
from schemas.envelope import charge_call_id

CAPTURE, REFUND = "c", "r"
ATTEMPTS = range(1, 10)  # charges of one order: each failover begins another


class Named(NamedTuple):
    """How a line names the charge and the order, in the PSP's words; and its amounts, as the file has them."""

    psp_ref: str
    order_ref: str
    gross: int = 0  # without the fee of a dispute
    fee: int = 0


class Unexplained(NamedTuple):
    """Captures and refunds of an order that no fact of ours explains, in minor units."""

    payment_order_id: str
    psp: str
    currency: str
    kind: str
    key: str
    amount: int
    again: bool  # a capture of what the order has had already

    @property
    def reference(self) -> Reference:
        return Reference(self.key, self.kind, self.psp)


def may_be_twice(tally: Tally) -> bool:
    """Whether its lines settle a capture several times, whatever they name."""
    lines = tally.lines
    return (
        tally.kind == CAPTURE
        and tally.expected > 0
        and len(tally.facts) > 0
        and len(lines) > 1
        and all(line.gross == tally.expected for line in lines)
    )


def lines_again(tally: Tally, named: Mapping[int, Named]) -> tuple[TallyLine, ...]:
    """The lines of a tally that capture it again: all but one, if each is of another charge at the PSP. Two rows under one
    reference are one charge that is reported twice.
    """
    if not may_be_twice(tally) or any(line.digest not in named for line in tally.lines):
        return ()
    charges = sorted((named[line.digest].psp_ref, line.digest) for line in tally.lines)
    if len({charge for charge, _ in charges}) < len(charges) or not all(charge for charge, _ in charges):
        return ()
    later = {digest for _, digest in charges[1:]}
    return tuple(line for line in tally.lines if line.digest in later)


def captured_again(tallies: Sequence[Tally], named: Mapping[int, Named], charged: Set[str]) -> int:
    """As much of one reference, in minor units, as captures what its order has had: `charged` are the orders that have."""
    settled = [tally for tally in tallies if tally.lines]
    if len(settled) != 1 or settled[0].kind != CAPTURE:
        return 0
    if any(tally.facts for tally in tallies):
        return sum(line.gross for line in lines_again(settled[0], named))
    waits = any(tally.outcome in ("pending", "unknown") for tally in tallies)
    return 0 if waits or order_of(tallies, named) not in charged else settled[0].settled


def order_of(tallies: Sequence[Tally], named: Mapping[int, Named]) -> str | None:
    """Whose payment it is: as the executor has said, else as its lines say."""
    if known := max((tally.payment_order_id for tally in tallies if tally.payment_order_id), default=None):
        return known
    said = {named[line.digest].order_ref for tally in tallies for line in tally.lines if line.digest in named}
    return said.pop() if len(said) == 1 and said != {""} else None


def charges_of(payment_order_id: str) -> Iterator[str]:
    """The call ids of its charges, were there so many: an order is found by them without an index."""
    return (charge_call_id(payment_order_id, number) for number in ATTEMPTS)


def explained(several: Iterable[Unexplained]) -> set[Unexplained]:
    """Second captures and the refunds that give them back: of one order, PSP and currency, in equal amounts."""
    listed = sorted(several)
    found: set[Unexplained] = set()
    for again in (each for each in listed if each.again):
        back = next((each for each in listed if each not in found and gives_back(each, again)), None)
        if back:
            found |= {again, back}
    return found


def gives_back(refund: Unexplained, again: Unexplained) -> bool:
    return refund[:3] == again[:3] and refund.kind == REFUND and refund.amount == -again.amount
