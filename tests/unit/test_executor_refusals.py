"""What is refused, in order of precedence: each refusal outranks all below it, and holds again at the second look."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from consumers.executor.attempt import AttemptState
from consumers.executor.operation import Dispute, Operation, OperationState
from consumers.executor.position import Position, share
from tests.unit.executor_cases import NOW
from tests.unit.order_cases import EXPIRES_AT, GROSS, OrderDesk, desk


def behind(kind: str, id_: str, minor: int, state: OperationState, seq: int = 1) -> Operation:
    facts = {"cause_event_id": "e", "placed_at": NOW, "changed_at": NOW}
    return Operation(kind, id_, "order-1", seq, minor, False, state, id_, "north", **facts)  # type: ignore[arg-type]


def chargeback(minor: int) -> Dispute:
    return Dispute("north", "d1", 1, "order-1", "opened", minor, "fraud", "e", NOW, NOW)


def position(
    state: AttemptState, *operations: Operation, disputes: tuple[Dispute, ...] = (), manual: bool = True
) -> Position:
    attempt = replace(desk(manual=manual).attempt, state=state)
    return Position(attempt, {each.key: each for each in operations}, {each.key: each for each in disputes})


VOID = behind("void", "v1", 0, "calling", 1)
TAKEN_ALL = behind("capture", "c1", GROSS, "done", 2)
HALF = behind("capture", "c1", GROSS // 2, "done", 2)


# From the first to the last: each line alone is refused with its code; with all lines below it, too.
@pytest.mark.parametrize(
    ("why", "where", "many", "late"),
    [
        ("not_authorised", position("declined", VOID, TAKEN_ALL), False, True),
        ("authorisation_expired", position("expired", VOID, TAKEN_ALL), False, False),
        ("authorisation_expired", position("authorised", VOID, TAKEN_ALL), False, True),
        ("not_authorised", position("captured", VOID, TAKEN_ALL), False, False),
        ("not_authorised", position("voided", VOID, TAKEN_ALL), False, False),
        ("not_authorised", position("calling", VOID, manual=False), False, False),
        ("voiding", position("authorised", VOID, TAKEN_ALL), False, False),
        ("voiding", position("authorised", replace(VOID, state="unresolved")), True, False),
        ("one_capture_only", position("authorised", TAKEN_ALL), False, False),
        ("exceeds_authorised", position("authorised", TAKEN_ALL), True, False),
        ("exceeds_authorised", position("authorised", replace(TAKEN_ALL, state="reversed")), True, False),
        (None, position("authorised", HALF), True, False),
        (None, position("calling"), True, False),
    ],
)
def test_refusals_of_a_capture(why: str | None, where: Position, many: bool, late: bool) -> None:
    asked = behind("capture", "asked", GROSS // 2, "waiting", 9)
    assert where.refusal(asked, many, EXPIRES_AT if late else NOW) == why


@pytest.mark.parametrize(
    ("why", "where", "late"),
    [
        ("not_authorised", position("declined", TAKEN_ALL), True),
        ("authorisation_expired", position("expired", TAKEN_ALL), False),
        ("authorisation_expired", position("authorised", TAKEN_ALL), True),
        ("nothing_to_void", position("voided"), False),
        ("nothing_to_void", position("captured", HALF), False),
        ("nothing_to_void", position("captured", manual=False), False),
        ("nothing_to_void", position("captured", TAKEN_ALL), False),
        ("nothing_to_void", position("authorised", replace(TAKEN_ALL, state="reversed")), False),
        (None, position("authorised", HALF), False),
        (None, position("calling"), False),
    ],
)
def test_refusals_of_a_void(why: str | None, where: Position, late: bool) -> None:
    assert where.refusal(behind("void", "asked", 0, "waiting", 9), True, EXPIRES_AT if late else NOW) == why


GONE = behind("refund", "r1", GROSS, "done", 3)


@pytest.mark.parametrize(
    ("why", "where"),
    [
        ("not_captured", position("declined", GONE, disputes=(chargeback(GROSS),))),
        ("not_captured", position("authorised", GONE, disputes=(chargeback(GROSS),))),
        ("order_disputed", position("captured", disputes=(chargeback(1),), manual=False)),
        ("order_disputed", position("captured", TAKEN_ALL, disputes=(chargeback(GROSS),))),
        ("exceeds_refundable", position("captured", GONE, disputes=(chargeback(GROSS),), manual=False)),
        ("exceeds_refundable", position("captured", replace(GONE, amount_minor=1), manual=False)),
        ("exceeds_refundable", position("captured", replace(GONE, amount_minor=1, state="unresolved"), manual=False)),
        ("exceeds_refundable", position("captured", replace(GONE, amount_minor=1, state="waiting"), manual=False)),
        (
            None,
            position(
                "captured",
                replace(GONE, state="failed"),
                replace(GONE, operation_id="r2", state="reversed"),
                manual=False,
            ),
        ),
        (None, position("captured", manual=False)),
        (None, position("calling", manual=False)),
        (None, position("authorised", behind("capture", "c1", GROSS, "unresolved"))),
    ],
)
def test_refusals_of_a_refund_of_all(why: str | None, where: Position) -> None:
    assert where.refusal(behind("refund", "asked", GROSS, "waiting", 9), True, NOW) == why


def test_of_two_that_wait_the_one_placed_first_goes_first() -> None:
    first, second = behind("refund", "r1", 6_000, "waiting", 1), behind("refund", "r2", 6_000, "waiting", 2)
    where = position("captured", first, second, manual=False)
    assert (where.refusal(first, True, NOW), where.refusal(second, True, NOW)) == (None, "exceeds_refundable")


# ── shares ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fee", "part", "whole", "is_"), [(10, 33, 100, 3), (10, 200, 100, 10), (1, 1, 3, 0), (5, 1, 0, 0)]
)
def test_a_share_is_floored_and_capped(fee: int, part: int, whole: int, is_: int) -> None:
    assert share(fee, part, whole) == is_


def refund_all(order: OrderDesk, r: random.Random, name: str) -> None:
    """In parts, some of them taken back on the way, until nothing is left."""
    for n in range(1000):
        rest = order.position.captured - sum(o.amount_minor for o in order.position.of("refund", ("done",)))
        if not rest:
            return
        id_ = f"{name}{n}"
        order.refund(id_, r.randint(1, rest))
        order.yes(id_)
        if n < 6 and r.random() < 0.3:
            order.told(id_, "reversed")
            order.check_says(order.reversed_of(id_))
    raise AssertionError("it never ends")


def fees_left(order: OrderDesk) -> int:
    given = sum(o.fee_minor for o in order.position.of("refund", ("done",)))
    return order.position.captured_fee - given


@pytest.mark.parametrize("rule", ["proportional", "full"])
@pytest.mark.parametrize("seed", range(100))
def test_whatever_was_captured_refunded_and_taken_back_once_all_is_returned_no_cent_of_the_fee_is_left(
    rule: str, seed: int
) -> None:
    r = random.Random(seed)
    order = desk(manual=True, gross=1_000, fee=r.randint(0, 333), fee_refund=rule)
    for n, minor in enumerate((333, 333, 334)):
        order.capture(f"c{n}", minor)
        order.yes(f"c{n}")
        if r.random() < 0.3:
            order.told(f"c{n}", "reversed")
            order.check_says(order.reversed_of(f"c{n}"))
        elif r.random() < 0.3:
            refund_all(order, r, f"early{n}-")
    refund_all(order, r, "r")
    assert fees_left(order) == 0
