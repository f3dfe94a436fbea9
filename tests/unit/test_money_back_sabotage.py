"""Builds with one rule of money back left out: the property finds each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from consumers.executor import checking, operating, position
from consumers.executor.position import Position
from consumers.ledger import templates
from tests.unit.model_order import TAKEN, run

Build = Callable[[pytest.MonkeyPatch], None]


def refunds_counted_without_waiting_ones(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(position, "RETURNED", TAKEN)


def no_second_look(patch: pytest.MonkeyPatch) -> None:
    refusal = operating._refusal
    patch.setattr(operating, "_refusal", lambda draft, op: None if op.key in draft.operations else refusal(draft, op))
    patch.setattr(Position, "fits", lambda self, op: op.kind == "refund" or self.attempt.state == "authorised")


def contradiction_believed(patch: pytest.MonkeyPatch) -> None:
    settle = operating.settle
    patch.setattr(operating, "settle", lambda draft, op, said, asked=True: settle(draft, op, said, asked=True))


def contradiction_during_a_check_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(checking, "_asked_again", lambda draft, about: False)


def two_calls_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(operating, "_at_the_psp", lambda op: op.state == "calling")


def turn_booked_twice(patch: pytest.MonkeyPatch) -> None:
    do = operating._do

    def same_turn(draft, op, said):  # type: ignore[no-untyped-def]
        return do(draft, replace(op, turn=op.turn - 1) if op.state == "reversed" else op, said)

    patch.setattr(operating, "_do", same_turn)


def share_computed_anew_at_a_reversal(patch: pytest.MonkeyPatch) -> None:
    take_back = operating.take_back

    def anew(draft, op, said):  # type: ignore[no-untyped-def]
        fee = draft.refund_fee(op.amount_minor) if op.kind == "refund" else draft.capture_fee(op.amount_minor)
        take_back(draft, replace(op, fee_minor=fee), said)

    patch.setattr(operating, "take_back", anew)


def void_does_not_hold_captures_behind_it(patch: pytest.MonkeyPatch) -> None:
    refusal = Position._capture_refusal
    without: Callable[[str | None], str | None] = lambda why: None if why == "voiding" else why  # noqa: E731
    patch.setattr(Position, "_capture_refusal", lambda self, asked, many: without(refusal(self, asked, many)))


def template_with_one_line_short(patch: pytest.MonkeyPatch) -> None:
    out = templates.out
    patch.setattr(templates, "out", lambda event, share: out(event, share)[:-1])


BUILDS: dict[Build, str] = {
    refunds_counted_without_waiting_ones: "more refunds were accepted",
    no_second_look: "a refund was begun that was more than the rest",
    contradiction_believed: "our books are not the PSP's",
    contradiction_during_a_check_forgotten: "our books are not the PSP's",
    two_calls_at_once: "two calls at a PSP payment",
    turn_booked_twice: "was said twice",
    share_computed_anew_at_a_reversal: "a reversal is not that of its turn",
    void_does_not_hold_captures_behind_it: "a capture behind a void",
    template_with_one_line_short: "debits are not equal to credits",
}


@pytest.mark.parametrize(("build", "why"), BUILDS.items(), ids=[build.__name__ for build in BUILDS])
def test_a_build_without_the_rule_is_found(monkeypatch: pytest.MonkeyPatch, build: Build, why: str) -> None:
    build(monkeypatch)
    with pytest.raises(AssertionError, match="seed") as found:
        run(range(2000))
    assert why in str(found.value)
