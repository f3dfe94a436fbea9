"""Books → shares of an order's fee that are not what its rules give, fact by fact in the order in which they came. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from operations.auditor.engine.findings import Finding
from operations.auditor.money_back.amounts import Position, positions
from operations.auditor.money_back.books import Books, FeeRules, Terms
from operations.auditor.rows import CAPTURED

CHECK = "fees_shared"
Fact = tuple[str, str]  # kind, part
ENDS = {"capture_reversed": CAPTURED, "refund_reversed": "refunded", "chargeback_won": "chargeback_opened"}


@dataclass(slots=True)
class Shares:
    """What stands of an order so far: by kind and id, amount and fee."""

    terms: Terms
    rules: FeeRules
    standing: dict[Fact, tuple[int, int]] = field(default_factory=dict)

    def sums(self, *kinds: str) -> tuple[int, int]:
        found = [each for (kind, _), each in self.standing.items() if kind in kinds]
        return sum(amount for amount, _ in found), sum(fee for _, fee in found)

    def next(self, kind: str, amount: int) -> int:
        """The fee of the part that comes next."""
        captured, fee = self.sums(CAPTURED)
        if kind == CAPTURED:
            return share(self.terms.fee, captured + amount, self.terms.gross) - fee
        rule = self.rules.refund if kind == "refunded" else self.rules.chargeback
        if rule == "none":
            return 0
        rules = {"refunded": self.rules.refund, "chargeback_opened": self.rules.chargeback}
        back, given = self.sums(*(each for each in rules if rule in ("full", rules[each])))
        if rule == "full":
            return fee - given if back + amount >= captured else 0
        return share(fee, back + amount, captured) - given


def compare_fees(books: Books) -> Iterator[Finding]:
    for position in positions(books):
        rules, came = books.rules.get(position.order_id), _came(books, position)
        if rules is not None and came is not None:
            yield from _compare(books, position, Shares(position.terms, rules), came)


def _came(books: Books, position: Position) -> list[Fact] | None:
    """The order's facts as its wallet heard them, which is as the executor said them. None: not all are there."""
    happened = {fact for about in position.moving for fact in about.happened}
    if position.took_all:
        happened.add((CAPTURED, ""))
    came = [(movement.kind, movement.part) for movement in books.movements.get(position.order_id, [])]
    return came if set(came) == happened else None


def _compare(books: Books, position: Position, shares: Shares, came: list[Fact]) -> Iterator[Finding]:
    amounts, fees = _amounts(position), _fees(books, position)
    for kind, part in came:
        id_ = part.partition("#")[0]
        if kind in ENDS:
            shares.standing.pop((ENDS[kind], id_), None)
            continue
        amount, fee = amounts[kind, id_], fees.get((kind, part), 0)
        right = shares.next(kind, amount)
        if fee != right:
            told = f"{kind} {part or 'by the charge'} has {fee} of the fee, the rules of its order give {right}"
            yield Finding(CHECK, position.order_id, told)
        shares.standing[kind, id_] = (amount, fee)


def _amounts(position: Position) -> dict[Fact, int]:
    kinds = {"capture": CAPTURED, "refund": "refunded"}
    found = {(kinds[each.kind], each.part): each.amount for each in position.operations if each.kind in kinds}
    found |= {("chargeback_opened", stage.part): stage.amount for stage in position.stages}
    return {(CAPTURED, ""): position.terms.gross} | found


def _fees(books: Books, position: Position) -> dict[Fact, int]:
    """As the ledger has booked them; the last of each operation and stage as the executor has it."""
    found = {
        (journal.kind, journal.part): journal.fee if journal.kind == CAPTURED else -journal.fee
        for journal in books.journals.get(position.order_id, [])
        if journal.currency == position.terms.currency
    }
    for about in position.moving:
        done = [fact for fact in about.happened if fact[0] not in ENDS]
        found |= dict.fromkeys(done[-1:], about.fee)
    return found


def share(fee: int, part: int, whole: int) -> int:
    return fee * min(part, whole) // whole if whole else 0
