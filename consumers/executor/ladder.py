"""(a call's standing, a reply) → send again, ask, or an outcome. Pure.

The table of docs/calls.md for every kind of call. An unknown outcome never counts as failed, and is never sent with another
key.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, assert_never

from consumers.executor.attempt import CallFacts, key_expired
from psp.payout_port import TransferReply
from psp.port import (
    Authorised,
    Captured,
    Declared,
    Declined,
    DisputeState,
    NothingHappened,
    NotThere,
    Pending,
    Refunded,
    Reply,
    Reversed,
    Unknown,
    Voided,
)
from topics.runtime.shape.consumer import Act

SEND_AGAIN_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # the last one is repeated until the deadline
ASK_AGAIN_S = (5.0, 30.0, 120.0, 600.0, 3600.0, 21_600.0, 86_400.0)
DAY_S = 86_400.0
SUBMITTED_AGAIN_S = (60.0, 600.0, 3600.0, 21_600.0, *(DAY_S for _ in range(10)))
KEY_MARGIN_S = 300.0  # for the difference between the PSP's clock and ours

Waiting = Literal["calling", "unknown", "pending"]


@dataclass(frozen=True, slots=True)
class Ladders:
    """Seconds until the next send or question, rung by rung; and the margin before the key's end in which nothing is sent.

    `submitted_again_s`: until the next question about a transfer that the provider has accepted.
    """

    send_again_s: tuple[float, ...] = SEND_AGAIN_S
    ask_again_s: tuple[float, ...] = ASK_AGAIN_S
    submitted_again_s: tuple[float, ...] = SUBMITTED_AGAIN_S
    key_margin_s: float = KEY_MARGIN_S


@dataclass(frozen=True, slots=True)
class Standing:
    """The counters and times of a call: `refusals` sends did nothing, `asks` questions since the last send had no answer."""

    state: Waiting
    refusals: int
    asks: int


@dataclass(frozen=True, slots=True)
class Send:
    """Send the call again, with the same key. `refused`: the last send surely did nothing."""

    due_in_s: float
    refusals: int
    refused: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the PSP by our reference. Until the PSP says yes or no the call is unknown or pending."""

    due_in_s: float
    asks: int
    state: Literal["unknown", "pending"]


Clear = Captured | Authorised | Voided | Refunded | Reversed | Declined | DisputeState


@dataclass(frozen=True, slots=True)
class Decided:
    """A clear yes or no."""

    reply: Clear


@dataclass(frozen=True, slots=True)
class NeverSent:
    """Nothing more may be sent, and every send surely did nothing."""

    why: str


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Nothing more may be sent or asked, and a send may have taken effect: only a late yes or no of the PSP ends the call."""

    why: str


Verdict = Send | Ask | Decided | NeverSent | Unresolved


@dataclass(frozen=True, slots=True)
class Ladder:
    """One call on its ladders."""

    call: CallFacts
    standing: Standing
    declared: Declared
    ladders: Ladders
    deadline: datetime
    now: datetime

    def judge(self, act: Act, reply: Reply) -> Verdict:
        """What the answer to the last act of this call means."""
        match reply:
            case Captured() | Authorised() | Voided() | Refunded() | Reversed() | Declined() | DisputeState():
                return Decided(reply)
            case Pending():
                return self._pending(0.0)
            case _ if (
                self.standing.state == "pending"
            ):  # the PSP has had the call: it is not sent again, whatever has failed since
                return self._pending(retry_after_s(reply))
            case _ if act == "ask":
                return self._after_ask(reply)
            case NothingHappened():
                return self._past_sending() or self._send(retry_after_s(reply), refused=True)
            case Unknown() | NotThere():
                return Ask(self.ladders.ask_again_s[0], 0, "unknown")
            case _:
                assert_never(reply)

    def _pending(self, not_before_s: float) -> Verdict:
        if self.standing.state != "pending":
            return Ask(self.ladders.ask_again_s[0], 0, "pending")
        return self._ask_again("still_pending", not_before_s)

    def _after_ask(self, reply: NothingHappened | Unknown | NotThere) -> Verdict:
        """The meaning of an answer to a question. "No such charge" is proof only once the PSP's settling time has passed since
        the last possible send.
        """
        if not isinstance(reply, NotThere):
            return self._ask_again("no_answer", retry_after_s(reply))
        settles_in_s = self.call.settles_in_s(self.declared.settling_s)
        if settles_in_s > 0:
            return Ask(settles_in_s, self.standing.asks, "unknown")
        return self._past_sending() or self._send(0.0, refused=False)

    def _ask_again(self, otherwise: str, not_before_s: float) -> Verdict:
        """The next question. A question that the PSP refuses to take counts, too: the ladder must end."""
        asks = self.standing.asks + 1
        if asks >= len(self.ladders.ask_again_s):
            return Unresolved(otherwise)
        state: Literal["unknown", "pending"] = "pending" if self.standing.state == "pending" else "unknown"
        return Ask(max(self.ladders.ask_again_s[asks], not_before_s), asks, state)

    def _send(self, not_before_s: float, *, refused: bool) -> Send:
        """The next send, at the deadline at the latest: the sender sends nothing then, and the call ends."""
        rungs = self.ladders.send_again_s
        rung = rungs[min(self.standing.refusals, len(rungs) - 1)]
        left_s = (self.deadline - self.now).total_seconds()
        return Send(min(max(rung, not_before_s), left_s), self.standing.refusals + 1, refused)

    def _past_sending(self) -> NeverSent | Unresolved | None:
        """The end of a call that may not be sent again: NeverSent if every send surely did nothing, else Unresolved. None: it
        may be sent.
        """
        unknown = self.call.ever_unknown
        if self.now >= self.deadline:
            return Unresolved("deadline_passed") if unknown else NeverSent("deadline_passed")
        if unknown and key_expired(
            self.call.first_sent_at, self.now, self.declared.key_life_s, self.ladders.key_margin_s
        ):
            return Unresolved("key_expired")
        return None


def retry_after_s(reply: Reply | TransferReply) -> float:
    """The reply's Retry-After in seconds; 0 if it has none."""
    return (reply.retry_after_s or 0.0) if isinstance(reply, NothingHappened | Unknown) else 0.0
