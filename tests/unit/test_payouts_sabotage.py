"""Builds with one rule of pay-outs left out: the property finds each."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import ValidationError

from consumers.executor import paying_out
from consumers.executor.payout import Payout as Sent
from consumers.executor.payout import PayoutCallFacts
from consumers.ledger import templates
from consumers.payouts import approving, decide, gates
from consumers.payouts.payout import Payout
from consumers.payouts.policy import Policy
from consumers.wallet import reserving
from schemas.errors import Permanent
from tests.unit.model_payouts import run
from topics.runtime.shape.consumer import Retry

Build = Callable[[pytest.MonkeyPatch], None]


def released_on_an_old_clearance(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Policy, "screening_life", timedelta(days=400))


def answer_to_an_older_question_believed(patch: pytest.MonkeyPatch) -> None:
    screened = decide._screened

    def believed(state, event, cause, policy):  # type: ignore[no-untyped-def]
        number = state.payouts[event.payout_id].screen_no
        return screened(state, event.model_copy(update={"screen_no": number}), cause, policy)

    patch.setattr(decide, "_screened", believed)


def released_while_frozen(patch: pytest.MonkeyPatch) -> None:
    step = gates.next_step

    def thawed(payout, seller, *others):  # type: ignore[no-untyped-def]
        return step(payout, seller.model_copy(update={"state": "active"}), *others)

    patch.setattr(gates, "next_step", thawed)


def approvals_of_makers_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Payout, "makers", frozenset())


def approvals_of_one_person_counted_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(approving, "person_of", lambda who: who)


def approval_of_other_contents_counted(patch: pytest.MonkeyPatch) -> None:
    why_not = approving._why_not

    def any_hash(payout, event):  # type: ignore[no-untyped-def]
        return why_not(payout, event.model_copy(update={"sha256": payout.sha256}))

    patch.setattr(approving, "_why_not", any_hash)


def reserved_without_the_check(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reserving, "_too_little", lambda asked, amount, available: None)


def reserved_again_after_its_end(patch: pytest.MonkeyPatch) -> None:
    place = reserving._place

    def again(state, event, cause):  # type: ignore[no-untyped-def]
        known = state.reservations.get(event.payout_id)
        if known is not None and known.state == "released":
            del state.reservations[event.payout_id]
        return place(state, event, cause)

    patch.setattr(reserving, "_place", again)


def withdrawn_though_it_may_have_left(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PayoutCallFacts, "surely_unsent", True)


def not_sent_after_an_unknown(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(paying_out, "_ask", lambda draft, reply, verdict: paying_out._not_sent(draft, "deadline_passed"))


def released_again_without_a_not_sent(patch: pytest.MonkeyPatch) -> None:
    executed = decide._with_execution

    def freed(payout, event):  # type: ignore[no-untyped-def]
        after = executed(payout, event)
        return replace(after, released=False) if type(event).__name__ == "PayoutUnknown" else after

    patch.setattr(decide, "_with_execution", freed)


def settled_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reserving, "_has_moved", lambda state, event, kind: False)


def template_with_one_line_short(patch: pytest.MonkeyPatch) -> None:
    paid = templates.paid
    patch.setattr(templates, "paid", lambda event: paid(event)[:1])


def return_booked_at_what_came_back(patch: pytest.MonkeyPatch) -> None:
    returned = templates.returned
    patch.setattr(templates, "returned", lambda event: returned(event.model_copy(update={"amount": event.returned})))


def withdrawn_and_sent_again(patch: pytest.MonkeyPatch) -> None:
    unresolved = paying_out._unresolved

    def again(draft, why):  # type: ignore[no-untyped-def]
        if why != "withdrawn":
            unresolved(draft, why)
        else:
            draft.retry(Retry(draft.payout.call_id, "send", 0.0))

    patch.setattr(paying_out, "_unresolved", again)


def sent_in_the_wallets_currency(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Sent, "sent", Sent.amount)


BUILDS: dict[Build, str] = {
    sent_in_the_wallets_currency: "is not what the provider has paid|in transit is|another amount",
    withdrawn_and_sent_again: "sent after its release was withdrawn",
    released_on_an_old_clearance: "released without a fresh clearance",
    answer_to_an_older_question_believed: "released on the answer to an older question",
    released_while_frozen: "released while the seller is frozen",
    approvals_of_makers_counted: "released without enough persons",
    approvals_of_one_person_counted_twice: "released without enough persons",
    approval_of_other_contents_counted: "released without enough persons",
    reserved_without_the_check: "more is reserved than there is",
    reserved_again_after_its_end: "reserved",
    withdrawn_though_it_may_have_left: "times|is not what the provider has paid|ended without being sent|told otherwise",
    not_sent_after_an_unknown: "times|is not what the provider has paid",
    released_again_without_a_not_sent: "released again before the last one surely sent nothing",
    settled_twice: "contradiction",
    template_with_one_line_short: "at least 2 items",
    return_booked_at_what_came_back: "the wallet is what we owe the seller",
}

FIRST_SEED = {
    reserved_again_after_its_end: 385,
    withdrawn_though_it_may_have_left: 430,
}  # shortly before one that finds it


@pytest.mark.parametrize(("build", "why"), BUILDS.items(), ids=[build.__name__ for build in BUILDS])
def test_a_build_without_the_rule_is_found(monkeypatch: pytest.MonkeyPatch, build: Build, why: str) -> None:
    build(monkeypatch)
    first = FIRST_SEED.get(build, 0)
    with pytest.raises((AssertionError, Permanent, ValidationError)) as found:
        run(range(first, first + 1000))
    assert re.search(why, str(found.value))
