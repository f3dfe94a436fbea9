"""(a call, where it stands, a reply) → send it again, ask about it, or what is decided. Pure.

The table of docs/calls.md, once for every kind of call. Unknown is never failed, and never sent with another key.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, assert_never

from consumers.executor.attempt import CallFacts, key_expired
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

SEND_AGAIN_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # the last one for ever: the deadline ends it
ASK_AGAIN_S = (5.0, 30.0, 120.0, 600.0, 3600.0, 21_600.0, 86_400.0)
KEY_MARGIN_S = 300.0  # their clock and ours differ

Waiting = Literal["calling", "unknown", "pending"]


@dataclass(frozen=True, slots=True)
class Ladders:
    """How long until the next send or question, rung by rung; and how long before the key's end nothing is sent."""

    send_again_s: tuple[float, ...] = SEND_AGAIN_S
    ask_again_s: tuple[float, ...] = ASK_AGAIN_S
    key_margin_s: float = KEY_MARGIN_S


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a call stands: `refusals` sends did nothing, `asks` questions since the last send had no answer."""

    state: Waiting
    refusals: int
    asks: int


@dataclass(frozen=True, slots=True)
class Send:
    """Send it again, with the same key. `refused`: its last send surely did nothing."""

    due_in_s: float
    refusals: int
    refused: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the PSP by our reference; until it says, the call is unknown or pending."""

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
    """Nothing more may be sent or asked, and a send may have acted: only the PSP can end it, by a late yes or no."""

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
            ):  # the PSP had it: whatever went wrong since, it is not sent again
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
        """Not there is proof only once the PSP's settling time has passed since the last possible send."""
        if not isinstance(reply, NotThere):
            return self._ask_again("no_answer", retry_after_s(reply))
        settles_in_s = self.call.settles_in_s(self.declared.settling_s)
        if settles_in_s > 0:
            return Ask(settles_in_s, self.standing.asks, "unknown")
        return self._past_sending() or self._send(0.0, refused=False)

    def _ask_again(self, otherwise: str, not_before_s: float) -> Verdict:
        """A PSP that takes no questions just now has used one up all the same: the ladder must end."""
        asks = self.standing.asks + 1
        if asks >= len(self.ladders.ask_again_s):
            return Unresolved(otherwise)
        state: Literal["unknown", "pending"] = "pending" if self.standing.state == "pending" else "unknown"
        return Ask(max(self.ladders.ask_again_s[asks], not_before_s), asks, state)

    def _send(self, not_before_s: float, *, refused: bool) -> Send:
        """Never later than the deadline, at which the caller sends nothing and the call ends."""
        rungs = self.ladders.send_again_s
        rung = rungs[min(self.standing.refusals, len(rungs) - 1)]
        left_s = (self.deadline - self.now).total_seconds()
        return Send(min(max(rung, not_before_s), left_s), self.standing.refusals + 1, refused)

    def _past_sending(self) -> NeverSent | Unresolved | None:
        """Why nothing more may be sent, if so: a clear no where every send surely did nothing, else nobody can say."""
        unknown = self.call.ever_unknown
        if self.now >= self.deadline:
            return Unresolved("deadline_passed") if unknown else NeverSent("deadline_passed")
        if unknown and key_expired(
            self.call.first_sent_at, self.now, self.declared.key_life_s, self.ladders.key_margin_s
        ):
            return Unresolved("key_expired")
        return None


def retry_after_s(reply: Reply) -> float:
    """Retry-After, of a reply that has one."""
    return (reply.retry_after_s or 0.0) if isinstance(reply, NothingHappened | Unknown) else 0.0
