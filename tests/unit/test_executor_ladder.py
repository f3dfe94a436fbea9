"""The table of docs/calls.md, row by row: what a reply means for a call that stands here or there."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from consumers.executor.attempt import CallFacts
from consumers.executor.ladder import (
    ASK_AGAIN_S,
    KEY_MARGIN_S,
    SEND_AGAIN_S,
    Ask,
    Decided,
    Ladder,
    Ladders,
    NeverSent,
    Send,
    Standing,
    Unresolved,
    Verdict,
)
from psp.port import Captured, Declared, Declined, NothingHappened, NotThere, Pending, Reply, Unknown
from schemas.money import Money
from topics.runtime.shape.consumer import Act

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY_S = 86_400.0
LONG_AGO = NOW - timedelta(hours=1)
SURE = CallFacts(1, False, LONG_AGO, NOW, LONG_AGO, "order-1", "north")
RISKY = replace(SURE, ever_unknown=True)
SENT_NOW = replace(RISKY, sent_until=NOW)
OLD_KEY = replace(RISKY, first_sent_at=NOW - timedelta(seconds=DAY_S - KEY_MARGIN_S))
CALLING, UNKNOWN, PENDING = Standing("calling", 0, 0), Standing("unknown", 0, 0), Standing("pending", 0, 0)
LAST = len(ASK_AGAIN_S) - 1
YES, NO = Captured("ch_1", "visa", Money(1234, "EUR")), Declined("stolen", "ch_1", "visa")
WAITS = Pending("ch_1", "authentication")
REFUSED, LATER = NothingHappened("rate_limited"), NothingHappened("rate_limited", 45.0)
LOST, BUSY = Unknown("timeout"), Unknown("rate_limited", 900.0)


def ladder(call: CallFacts, standing: Standing, left_s: float = DAY_S) -> Ladder:
    return Ladder(call, standing, Declared(2.0, DAY_S), Ladders(), NOW + timedelta(seconds=left_s), NOW)


TABLE: list[tuple[str, CallFacts, Standing, float, Act, Reply, Verdict]] = [
    ("a yes", SURE, CALLING, DAY_S, "send", YES, Decided(YES)),
    ("a no to a question", RISKY, UNKNOWN, DAY_S, "ask", NO, Decided(NO)),
    ("a yes past the deadline", RISKY, UNKNOWN, -1, "ask", YES, Decided(YES)),
    ("nothing happened", SURE, CALLING, DAY_S, "send", REFUSED, Send(SEND_AGAIN_S[0], 1, refused=True)),
    ("nothing happened, Retry-After", SURE, CALLING, DAY_S, "send", LATER, Send(45.0, 1, refused=True)),
    ("nothing happened, long ladder", SURE, Standing("calling", 99, 0), DAY_S, "send", REFUSED, Send(60.0, 100, True)),
    ("nothing happened, just before the deadline", SURE, CALLING, 0.5, "send", REFUSED, Send(0.5, 1, refused=True)),
    ("nothing happened, at the deadline", SURE, CALLING, 0, "send", REFUSED, NeverSent("deadline_passed")),
    ("the same after an unknown send", RISKY, UNKNOWN, 0, "send", REFUSED, Unresolved("deadline_passed")),
    ("nothing happened, the key may be forgotten", OLD_KEY, UNKNOWN, 60, "send", REFUSED, Unresolved("key_expired")),
    ("a time-out", SURE, CALLING, DAY_S, "send", LOST, Ask(ASK_AGAIN_S[0], 0, "unknown")),
    ("a time-out past the deadline", SURE, CALLING, -1, "send", LOST, Ask(ASK_AGAIN_S[0], 0, "unknown")),
    ("no answer to a send", SURE, CALLING, DAY_S, "send", NotThere(), Ask(ASK_AGAIN_S[0], 0, "unknown")),
    ("no answer to a question", RISKY, UNKNOWN, DAY_S, "ask", LOST, Ask(ASK_AGAIN_S[1], 1, "unknown")),
    ("no answer, Retry-After", RISKY, UNKNOWN, DAY_S, "ask", BUSY, Ask(900.0, 1, "unknown")),
    ("no answer to the last question", RISKY, Standing("unknown", 0, LAST), 60, "ask", LOST, Unresolved("no_answer")),
    (
        "not there, not yet settled",
        SENT_NOW,
        Standing("unknown", 1, 3),
        DAY_S,
        "ask",
        NotThere(),
        Ask(2.0, 3, "unknown"),
    ),
    ("not there, settled", RISKY, UNKNOWN, DAY_S, "ask", NotThere(), Send(SEND_AGAIN_S[0], 1, refused=False)),
    ("not there, past the deadline", RISKY, UNKNOWN, 0, "ask", NotThere(), Unresolved("deadline_passed")),
    ("not there, the key may be forgotten", OLD_KEY, UNKNOWN, 60, "ask", NotThere(), Unresolved("key_expired")),
    ("pending", SURE, CALLING, DAY_S, "send", WAITS, Ask(ASK_AGAIN_S[0], 0, "pending")),
    ("pending, found by asking", RISKY, UNKNOWN, DAY_S, "ask", WAITS, Ask(ASK_AGAIN_S[0], 0, "pending")),
    ("still pending", SURE, PENDING, DAY_S, "ask", WAITS, Ask(ASK_AGAIN_S[1], 1, "pending")),
    ("pending, then not there: never sent again", SURE, PENDING, DAY_S, "ask", NotThere(), Ask(30.0, 1, "pending")),
    ("pending to the end", SURE, Standing("pending", 0, LAST), 60, "ask", WAITS, Unresolved("still_pending")),
]


@pytest.mark.parametrize(
    ("call", "standing", "left_s", "act", "reply", "verdict"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_what_a_reply_means(
    call: CallFacts, standing: Standing, left_s: float, act: Act, reply: Reply, verdict: Verdict
) -> None:
    assert ladder(call, standing, left_s).judge(act, reply) == verdict
