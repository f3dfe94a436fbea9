"""Books → orders of which too much was captured or refunded. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from operations.auditor.engine.findings import Finding
from operations.auditor.money_back.books import AT_THE_PSP, Books, Operation, Stage, Terms

CHECK = "orders_never_over"
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
    def moving(self) -> list[Operation | Stage]:
        """All that may have moved money."""
        return [*(each for each in self.operations if each.kind in ("capture", "refund")), *self.stages]

    @property
    def standing(self) -> list[Stage]:
        """The disputes whose amount the buyer has."""
        return [stage for stage in self.stages if stage.state in ("opened", "lost")]

    @property
    def returned(self) -> int:
        return sum(each.amount for each in self.of("refund", "done")) + sum(each.amount for each in self.standing)


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


def returned_twice(books: Books) -> int:
    """Orders of which more was returned than captured, by refunds and chargebacks: the PSP's facts, and no failure."""
    return sum(1 for each in positions(books) if each.returned > each.captured("done", "reversed")[0])


def _never_over(books: Books, position: Position) -> Iterator[Finding]:
    """Findings about what we asked a PSP to do. What the PSP did by itself, or after a refusal, does not count."""
    order_id, terms = position.order_id, position.terms
    taken = position.captured(*TAKEN)[0]
    if taken > terms.gross:
        yield Finding(CHECK, order_id, f"captures of {taken}, and {terms.gross} were authorised")
    captured = position.captured("done", "reversed")[0]
    refunds = [each for each in position.of("refund", *GIVEN) if not each.checks and each.call_id in books.calls]
    for last in refunds:
        begun = books.calls[last.call_id].created_at
        given = sum(each.amount for each in refunds if books.calls[each.call_id].created_at <= begun)
        known = [stage for stage in position.standing if stage.part in books.opened_at]
        disputed = sum(stage.amount for stage in known if books.opened_at[stage.part] < begun)
        if given + disputed > captured:
            told = f"{given} refunded with {last.id}, {disputed} disputed before it, of {captured} captured"
            yield Finding(CHECK, order_id, told)
