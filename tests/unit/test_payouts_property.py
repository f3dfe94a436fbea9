"""Whatever happens in whatever order: what is released, given up and told of a pay-out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.payouts.payout import standing
from schemas.events import AnyEvent
from schemas.payouts import PayoutReady, PayoutReleased, PayoutStatusChanged, PayoutWithdrawn
from tests.unit.payouts_room import DAY, MINUTE, Room, asked, cancelled, seller

TWO = {"approvals": [{"currency": "EUR", "above": "100.00", "persons": 2}]}
LIFE = timedelta(seconds=900)


def set_seller(state: str) -> Callable[[Room], list[AnyEvent]]:
    def act(room: Room) -> list[AnyEvent]:
        revision = room.state.sellers["s-1"].seller_revision + 1
        return room.hears(seller(seller_revision=revision, state=state))

    return act


def passes(time: timedelta) -> Callable[[Room], list[AnyEvent]]:
    def act(room: Room) -> list[AnyEvent]:
        room.now += time
        return [said for kind in ("approval", "reservation", "provider") for said in room.fires(kind)]

    return act


def executes(what: str, back: int = 0) -> Callable[[Room], list[AnyEvent]]:
    """What the executor says of the release before the last, or of the last."""

    def act(room: Room) -> list[AnyEvent]:
        release_no = room.of().release_no - back
        return room.executes(what, release_no=release_no) if release_no > 0 else []

    return act


ACTS: dict[str, Callable[[Room], list[AnyEvent]]] = {
    "cleared": lambda room: room.screens("cleared"),
    "refused": lambda room: room.screens("refused"),
    "held": lambda room: room.screens("held"),
    "old answer": lambda room: room.screens("cleared", decided_at=room.now - DAY),
    "answer to another question": lambda room: room.screens("cleared", screen_no=room.of().screen_no + 1),
    "reserved": lambda room: room.reserves(),
    "too little": lambda room: room.has_too_little(),
    "bob": lambda room: room.approves("bob"),
    "carla": lambda room: room.approves("carla"),
    "maker": lambda room: room.approves("SHOP"),
    "stale": lambda room: room.approves("dora", sha256="0" * 64),
    "rejected": lambda room: room.approves("emil", decision="rejected"),
    "cancelled": lambda room: room.hears(cancelled()),
    "frozen": set_seller("frozen"),
    "closed": set_seller("closed"),
    "active": set_seller("active"),
    "a minute": passes(MINUTE),
    "an hour": passes(timedelta(hours=1)),
    "a week": passes(7 * DAY),
    "a month": passes(30 * DAY),
    **{
        word: executes(word)
        for word in ("not_sent", "unknown", "unresolved", "submitted", "paid", "failed", "returned")
    },
    "late not_sent": executes("not_sent", back=1),
    "late yes": executes("submitted", back=1),
}
IN_VAIN = ("answer to another question", "maker", "stale", "late not_sent")
ENDING = (
    "refused",
    "too little",
    "rejected",
    "cancelled",
    "a week",
    "a month",
    "submitted",
    "paid",
    "failed",
    "returned",
)
# More often what does not end it, or few would come to a release.
OFTEN = [act for act in ACTS if act not in ENDING] * 4
BEGINNINGS = (["cleared", "reserved"], ["cleared", "reserved", "bob"], ["cleared", "reserved", "bob", "carla"], [])


@settings(max_examples=200)
@given(st.sampled_from(BEGINNINGS), st.lists(st.sampled_from([*OFTEN, *ENDING]), min_size=5, max_size=25))
def test_a_pay_out_is_released_once_at_a_time_and_only_with_every_gate_open(begins: list[str], acts: list[str]) -> None:
    room, sent_nothing = asked(**TWO), set[int]()
    for act in [*begins, *acts]:
        before = room.of()
        said = ACTS[act](room)
        after = room.of()
        assert after == before or act not in IN_VAIN
        if act == "not_sent" and before.released and before.ended is None:
            sent_nothing.add(before.release_no)
        for ready in [event for event in said if isinstance(event, PayoutReady)]:
            assert ready.release_no == before.release_no + 1 == len(sent_nothing) + 1, (
                "the one before surely sent nothing"
            )
            assert (after.stop, after.ended, after.risk) == (None, None, "cleared")
            assert after.cleared_at is not None
            assert room.now - after.cleared_at <= LIFE
            assert room.state.sellers["s-1"].state == "active"
            assert {"bob", "carla"} <= set(after.approved_by)
        assert (after.status, after.code) == standing(after, room.state.sellers["s-1"])
        assert not (after.released and after.ended in ("cancelled", "rejected", "refused", "expired"))
    assert max(Counter(each.release_no for each in room.all_said(PayoutWithdrawn)).values(), default=1) == 1
    assert len(room.all_said(PayoutReleased)) <= 1
    told = [(event.status, event.code) for event in room.all_said(PayoutStatusChanged) if event.code != "too_late"]
    assert all(one != other for one, other in pairwise(told))
