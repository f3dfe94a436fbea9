"""Books → orders of which too much was captured or refunded, and shares of fees that break their rule. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from operations.auditor.engine.findings import Finding
from operations.auditor.money_back.books import AT_THE_PSP, Books, Operation, Stage, Terms
from schemas.envelope import time_ms_of

AMOUNT_CHECKS = ("orders_never_over", "fees_shared")
TAKEN = (*AT_THE_PSP, "unresolved", "done", "reversed")  # the PSP may do again what it has reversed
GIVEN = (*AT_THE_PSP, "unresolved", "done")


@dataclass(frozen=True, slots=True)
class Position:
    """An order with its operations and disputes. An automatic capture has a row only if a check asks about it."""

    order_id: str
    terms: Terms
    took_all: bool
    operations: list[Operation]
    stages: list[Stage]

    def of(self, kind: str, *states: str) -> list[Operation]:
        return [each for each in self.operations if each.kind == kind and each.state in states]

    def captured(self, *states: str) -> tuple[int, int]:
        """(amount, fee) of the captures in these states."""
        rows = self.of("capture", *states)
        if self.took_all and not any(each.seq == 0 and each.kind == "capture" for each in self.operations):
            return self.terms.gross, self.terms.fee
        return sum(each.amount for each in rows), sum(each.fee for each in rows)

    @property
    def standing(self) -> list[Stage]:
        """The disputes whose amount the buyer has."""
        return [stage for stage in self.stages if stage.state in ("opened", "lost")]

    @property
    def returned(self) -> int:
        return sum(each.amount for each in self.of("refund", "done")) + sum(each.amount for each in self.standing)

    @property
    def is_plain(self) -> bool:
        """Whether nothing was disputed, reversed, or done after a failure."""
        return not self.stages and all(each.turn == 1 and not each.checks for each in self.operations)


def positions(books: Books) -> Iterator[Position]:
    operations: dict[str, list[Operation]] = {}
    for operation in books.operations.values():
        operations.setdefault(operation.order_id, []).append(operation)
    stages: dict[str, list[Stage]] = {}
    for stage in books.stages.values():
        stages.setdefault(stage.order_id, []).append(stage)
    for order_id in operations.keys() | stages.keys():
        terms, attempt = books.terms.get(order_id), books.attempts.get(order_id)
        if terms is not None and attempt is not None:
            yield Position(order_id, terms, attempt.took_all, operations.get(order_id, []), stages.get(order_id, []))


def compare_amounts(books: Books) -> Iterator[Finding]:
    for position in positions(books):
        yield from _never_over(books, position)
        yield from _fees_shared(position)


def returned_twice(books: Books) -> int:
    """Orders of which more was returned than captured, by refunds and chargebacks: the PSP's facts, and no failure."""
    return sum(1 for each in positions(books) if each.returned > each.captured("done", "reversed")[0])


def _never_over(books: Books, position: Position) -> Iterator[Finding]:
    """Findings about what we asked a PSP to do. What the PSP did by itself, or after a refusal, does not count."""
    order_id, terms = position.order_id, position.terms
    taken = position.captured(*TAKEN)[0]
    if taken > terms.gross:
        yield Finding("orders_never_over", order_id, f"captures of {taken}, and {terms.gross} were authorised")
    captured = position.captured("done", "reversed")[0]
    refunds = [each for each in position.of("refund", *GIVEN) if not each.checks and each.call_id in books.calls]
    for last in refunds:
        begun = books.calls[last.call_id].created_at
        given = sum(each.amount for each in refunds if books.calls[each.call_id].created_at <= begun)
        known = [stage for stage in position.standing if stage.part in books.opened_at]
        disputed = sum(stage.amount for stage in known if books.opened_at[stage.part] < begun)
        if given + disputed > captured:
            told = f"{given} refunded with {last.id}, {disputed} disputed before it, of {captured} captured"
            yield Finding("orders_never_over", order_id, told)


def _fees_shared(position: Position) -> Iterator[Finding]:
    """The fees of all parts sum up to what the rule gives for their total; after reversals to the whole fee at most."""
    order_id, terms = position.order_id, position.terms
    captured, fee = position.captured("done")
    if position.is_plain and fee != share(terms.fee, captured, terms.gross):
        told = f"captures of {captured} bear a fee of {fee}, the order's {terms.gross} one of {terms.fee}"
        yield Finding("fees_shared", order_id, told)
    refunds = position.of("refund", "done")
    given = sum(each.fee for each in refunds)
    if position.is_plain and not _captured_since(position, refunds):
        amount = sum(each.amount for each in refunds)
        possible = given in {0, share(fee, amount, captured), fee if amount >= captured else 0}
    else:
        spare = len(position.operations) + len(position.stages)  # one minor unit for each that changed the shares
        possible = -spare <= given <= position.captured("done", "reversed")[1] + spare
    if not possible:
        yield Finding("fees_shared", order_id, f"refunds gave back {given} of a fee of {fee}: no rule gives that")


def _captured_since(position: Position, refunds: list[Operation]) -> bool:
    """Whether a capture came after the last refund: it changed the base of later shares."""
    last = max((time_ms_of(each.outcome) for each in refunds if each.outcome), default=0)
    return any(each.outcome and time_ms_of(each.outcome) > last for each in position.of("capture", "done"))


def share(fee: int, part: int, whole: int) -> int:
    return fee * min(part, whole) // whole if whole else 0
