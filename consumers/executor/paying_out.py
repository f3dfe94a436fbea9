"""(a pay-out, its release or withdrawal, a provider's word) → sent, submitted, paid, or what else became of it. Pure.

A release is sent once. While its outcome is unknown the provider is asked, and the same release may be sent again with the
same key; another release begins only after this one surely sent nothing. The provider's first word decides. A word that
contradicts a settled outcome is asked about (`checking`), and only that answer counts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

import orjson

from consumers.executor import checking
from consumers.executor.attempt import CallFacts
from consumers.executor.ladder import Ask, Decided, Ladder, NeverSent, Send, Standing, Unresolved, retry_after_s
from consumers.executor.operation import Check
from consumers.executor.payout import Payout, PayoutCallFacts, PayoutState, call_id_of
from consumers.executor.payout_draft import PayoutDraft
from consumers.executor.state import Policy
from psp.payout_port import Accepted, Failed, Paid, Rejected, Returned, TransferReply, TransferState
from psp.replies import NothingHappened, NotThere, Unknown
from schemas.errors import Permanent, Transient
from schemas.money import Money
from schemas.payouts import (
    RESOLVED_BY_OPERATORS,
    PayoutCallEnded,
    PayoutFailed,
    PayoutNotified,
    PayoutNotSent,
    PayoutPaid,
    PayoutReady,
    PayoutReturned,
    PayoutSubmitted,
    PayoutUnknown,
    PayoutUnresolved,
    PayoutWithdrawn,
)
from topics.runtime.shape.consumer import Call, Cause, Decision, Retry

UNSAID = "unspecified"
NOTHING_OUT: tuple[PayoutState, ...] = (
    "not_sent",
    "rejected",
    "failed",
    "returned",
)  # unless the provider has it after all


# ── releases and withdrawals ─────────────────────────────────────────────────────────────────────────────────────────


def release(payout: Payout | None, event: PayoutReady, cause: Cause) -> Decision:
    """Send the release. Errors: Permanent `release_out_of_order`, `payout_changed`; Transient `check_open`."""
    if payout is None:
        if event.release_no != 1:
            raise Permanent("release_out_of_order", f"release {event.release_no} is the first one here")
        call_id = call_id_of(event.payout_id, 1)
        return _begin(Payout(event, call_id, "calling", cause.event_id, cause.now, cause.now))
    if event.release_no == payout.ready.release_no:
        if event != payout.ready:
            raise Permanent("payout_changed", f"release {event.release_no} was said with other contents")
        return Decision()
    if event.release_no != payout.ready.release_no + 1 or payout.undecided:
        now = f"release {payout.ready.release_no}, {payout.state}"
        raise Permanent("release_out_of_order", f"release {event.release_no} after {now}")
    if payout.state != "not_sent":  # the release before went out after all: a late yes has crossed this one
        return Decision()
    if _terms(event) != _terms(payout.ready):
        raise Permanent("payout_changed", f"release {event.release_no} has other terms than the one before")
    if payout.check.state is not None:  # whether the release before went out after all is not known yet
        raise Transient("check_open", f"the provider is asked about release {payout.ready.release_no}")
    return _begin(_released_again(payout, event, cause))


def _terms(ready: PayoutReady) -> tuple[object, ...]:
    """All that no release may change. Each has a rate of its own."""
    own = ready.terms() | {"conversion": ready.sent.currency}
    return own, ready.destination.type, ready.destination.fingerprint


def _released_again(payout: Payout, event: PayoutReady, cause: Cause) -> Payout:
    return payout.evolve(
        cause.now,
        ready=event,
        call_id=call_id_of(event.payout_id, event.release_no),
        state="calling",
        cause_event_id=cause.event_id,
        withdrawn=False,
        resolution=None,
        resolution_code=None,
        refusals=0,
        asks=0,
        code=None,
        outcome_event_id=None,
        outcome_place=None,
    )


def _begin(payout: Payout) -> Decision:
    ready = payout.ready
    request = orjson.dumps(
        {
            **ready.sent.wire(),
            "seller_account": ready.seller_account,
            "destination": {
                "type": ready.destination.type,
                "sealed": ready.destination.sealed,
                "country": ready.destination.country,
            },
        }
    )
    call = Call(payout.call_id, payout.key, "payout", ready.provider, request, ready.deadline, due_at=ready.cut_off)
    return Decision((payout,), (), (call,), payout.revision)


def withdraw(
    policy: Policy, payout: Payout | None, call: PayoutCallFacts | None, event: PayoutWithdrawn, cause: Cause
) -> Decision:
    """End a release that surely has not left; `call` None: it was released in this very batch. If it is out, the withdrawal
    counts as soon as it would be sent once more. Errors: Permanent `no_such_payout`.
    """
    if payout is None:
        raise Permanent("no_such_payout", f"{event.payout_id} was never released here")
    if event.release_no != payout.ready.release_no or payout.state not in ("calling", "unknown"):
        return Decision()
    draft = PayoutDraft(policy, payout, cause)
    if payout.state == "calling" and (call is None or call.surely_unsent):
        _not_sent(draft, "withdrawn")
    elif payout.state == "unknown" and call is not None and call.is_to_be_sent:
        _unresolved(draft, "withdrawn")
    elif not payout.withdrawn:
        draft.move(payout.state, withdrawn=True)
    return draft.decision()


def _not_sent(draft: PayoutDraft, code: str) -> None:
    draft.end(draft.payout.call_id, "not_sent")
    draft.settle(PayoutNotSent, "not_sent", {"code": code}, code=code)


def _unresolved(draft: PayoutDraft, why: str) -> None:
    """Neither sent nor asked about any more. Without a next release: a send was unknown."""
    draft.end(draft.payout.call_id, "unresolved")
    draft.settle(PayoutUnresolved, "unresolved", {"reason": why}, code=why)


# ── replies and notifications ────────────────────────────────────────────────────────────────────────────────────────


def apply_reply(
    policy: Policy,
    payout: Payout,
    call: PayoutCallFacts,
    sent: PayoutCallFacts | None,
    event: PayoutCallEnded,
    reply: TransferReply,
    cause: Cause,
) -> Decision:
    """Apply a reply to a send or question. `sent`: the call of the present release, None if this very batch makes it.
    Errors: Permanent `contradiction`, `notification_mismatch`.
    """
    draft = PayoutDraft(policy, payout, cause)
    is_last = event.act_no == call.act_no
    if event.call_id == payout.call_id:
        _of_release(draft, call, event, reply, is_last)
    elif payout.check.number and event.call_id == payout.check_id:
        _of_check(draft, call, sent, reply, is_last)
    elif call.kind == "payout":
        _of_an_earlier_release(event.call_id, reply)
    return draft.decision()


def apply_notification(
    policy: Policy, payout: Payout, call: PayoutCallFacts, event: PayoutNotified, cause: Cause
) -> Decision:
    """Apply a provider's notification, or what two persons say in its place. Errors: as `apply_reply`."""
    draft, word = PayoutDraft(policy, payout, cause), _word(payout, event)
    if event.reference != payout.call_id:
        _of_an_earlier_release(event.reference, word)
    elif event.source == "operator" and not draft.can_ask:
        _believe(draft, word)
    elif event.source == "operator":
        _resolve(draft, call, word)
    else:
        _take_reference(draft, word)
        _hear(draft, word, asked=False)
    return draft.decision()


def _word(payout: Payout, event: PayoutNotified) -> TransferState:
    if event.status != "returned" and event.amount != payout.sent:
        why = f"it speaks of {event.amount}, and {payout.sent} was sent"
        raise Permanent("notification_mismatch", why, ours=False)
    code, reference = event.code or UNSAID, event.provider_reference
    match event.status:
        case "accepted":
            return Accepted(reference)
        case "paid":
            return Paid(reference)
        case "rejected":
            return Rejected(code, reference)
        case "failed":
            return Failed(code, reference)
        case "returned":
            return Returned(code, reference, event.amount)
        case _:
            assert_never(event.status)


def _of_an_earlier_release(call_id: str, reply: TransferReply) -> None:
    if isinstance(reply, Accepted | Paid):
        raise Permanent("contradiction", f"{call_id} ended without being sent, and is {type(reply).__name__.lower()}")


def _of_release(
    draft: PayoutDraft, call: CallFacts, event: PayoutCallEnded, reply: TransferReply, is_last: bool
) -> None:
    if isinstance(reply, TransferState):
        _take_reference(draft, reply)
    before = draft.payout
    if isinstance(reply, TransferState):
        _hear(draft, reply, asked=False)
        if is_last and draft.payout is before:
            _ask_about_submitted(draft, reply, is_answer=event.act == "ask")
    elif is_last and before.state in ("calling", "unknown"):
        _follow_ladder(draft, call, event, reply)
    elif is_last:
        _ask_about_submitted(draft, reply, is_answer=event.act == "ask")


def _follow_ladder(
    draft: PayoutDraft, call: CallFacts, event: PayoutCallEnded, reply: NothingHappened | Unknown | NotThere
) -> None:
    payout, policy, now = draft.payout, draft.policy, draft.cause.now
    assert payout.state in ("calling", "unknown"), "an open release"
    if not draft.can_ask:  # no file has taken it: the next release is for another cut-off
        _not_sent(draft, "withdrawn" if payout.withdrawn else "deadline_passed")
        return
    standing = Standing(payout.state, payout.refusals, payout.asks)
    declared = policy.providers[payout.ready.provider]
    verdict = Ladder(call, standing, declared, policy.ladders, payout.ready.deadline, now).judge(event.act, reply)
    match verdict:
        case Send() if payout.withdrawn and not call.ever_unknown:
            _not_sent(draft, "withdrawn")
        case Send() if payout.withdrawn:
            _unresolved(draft, "withdrawn")
        case Send():
            draft.move(payout.state, refusals=verdict.refusals, asks=0)
            draft.retry(Retry(payout.call_id, "send", verdict.due_in_s))
        case Ask():
            _ask(draft, reply, verdict)
        case NeverSent():
            _not_sent(draft, verdict.why)
        case Unresolved():
            _unresolved(draft, verdict.why)
        case Decided():
            raise AssertionError("what is clear was heard")
        case _:
            assert_never(verdict)


def _ask(draft: PayoutDraft, reply: NothingHappened | Unknown | NotThere, ask: Ask) -> None:
    draft.retry(Retry(draft.payout.call_id, "ask", ask.due_in_s))
    if draft.payout.state == "unknown":
        draft.move("unknown", asks=ask.asks)
        return
    reason = "not_an_answer" if isinstance(reply, NotThere) else reply.reason
    draft.publish(PayoutUnknown, "unknown", {"reason": reason}, asks=ask.asks)


def _of_check(draft: PayoutDraft, call: CallFacts, sent: CallFacts | None, reply: TransferReply, is_last: bool) -> None:
    """Apply the answer to a check. A check of a submitted pay-out asks on, as the release's own call would."""
    if isinstance(reply, TransferState):
        _take_reference(draft, reply)
    payout = draft.payout
    if not (payout.check.open and is_last):
        if isinstance(reply, TransferState):
            _hear(draft, reply, asked=False)
    elif payout.state == "submitted" and not isinstance(reply, Paid | Rejected | Failed | Returned):
        _ask_about_submitted(draft, reply, is_answer=True)
    elif isinstance(reply, TransferState):
        checking.answered(draft, payout)
        _hear(draft, reply, asked=True)
        _answer_persons(draft)
    elif isinstance(reply, NotThere) and payout.state in ("unresolved", "not_sent", "rejected"):
        _nothing_there(draft, call, sent)
    else:
        checking.unanswered(draft, payout, reply)
        if draft.payout.check.state == "unanswered":
            _answer_persons(draft)


def _nothing_there(draft: PayoutDraft, call: CallFacts, sent: CallFacts | None) -> None:
    """The provider has nothing of it, which ends the check as soon as all that was sent has settled."""
    until = None if sent is None else sent.sent_until
    settling_s = draft.policy.providers[draft.payout.ready.provider].settling_s
    settles_in_s = 0.0 if until is None else replace(call, sent_until=until).settles_in_s(settling_s)
    if settles_in_s > 0:
        draft.retry(Retry(draft.payout.check_id, "ask", settles_in_s))
        return
    checking.answered(draft, draft.payout)
    if not draft.payout.check.open:
        _answer_persons(draft)


# ── what two persons say ─────────────────────────────────────────────────────────────────────────────────────────────


def _resolve(draft: PayoutDraft, call: PayoutCallFacts, word: TransferState) -> None:
    """Apply what two persons say. They may have looked before the provider spoke, so their word changes nothing that the
    provider has said; and before "failed" is believed the provider is asked, who may have the money. Where no question told
    which of two words of the provider is so, they say it.
    """
    payout, is_yes = draft.payout, isinstance(word, Accepted | Paid)
    is_doubtful = payout.check.state == "unanswered" and payout.state in NOTHING_OUT
    if is_yes and (payout.undecided or is_doubtful):
        _hear(draft, word, asked=True)
        draft.move(draft.payout.state, named_by_persons=True)
    elif is_yes:
        if payout.state != "paid" and not (payout.state == "submitted" and isinstance(word, Accepted)):
            _ask_at_once(draft, call)
    elif payout.state in ("calling", "unknown"):
        draft.move(payout.state, resolution="refused", resolution_code=payout.state)
    elif payout.state in ("unresolved", "submitted", "paid") or is_doubtful:
        draft.move(payout.state, resolution="asked", resolution_code=None)
        _ask_at_once(draft, call)
        if is_doubtful:  # its ladder has ended already: this is the last question
            draft.put(draft.payout.evolve(draft.cause.now, check=_last_question(draft)))


def _believe(draft: PayoutDraft, word: TransferState) -> None:
    """Apply what two persons say of a pay-out at a bank: nobody can be asked. A no does not count while its file may leave."""
    payout, is_yes = draft.payout, isinstance(word, Accepted | Paid)
    if is_yes:
        _hear(draft, word, asked=True)
        draft.move(draft.payout.state, named_by_persons=True)
    elif payout.state in ("calling", "unknown"):
        draft.move(payout.state, resolution="refused", resolution_code=payout.state)
    else:
        _hear(draft, word, asked=True)
        known = replace(draft.payout.check, state=None)
        draft.move(draft.payout.state, resolution="believed", resolution_code=None, check=known)


def _last_question(draft: PayoutDraft) -> Check:
    return replace(draft.payout.check, asks=len(draft.policy.ladders.ask_again_s) - 1)


def _answer_persons(draft: PayoutDraft) -> None:
    """Believe or refuse the "failed" of two persons: the provider was asked. Where nobody else knows, they are believed."""
    if draft.payout.resolution != "asked":
        return
    if draft.payout.state == "unresolved":
        _fail(draft, Rejected(RESOLVED_BY_OPERATORS, ""), submitted=False)
    state = draft.payout.state
    if state in ("submitted", "paid"):
        draft.move(state, resolution="refused", resolution_code=state)
    else:
        check = draft.payout.check
        known = replace(check, state=None) if check.state == "unanswered" else check
        draft.move(state, resolution="believed", check=known)


# ── what becomes of it ───────────────────────────────────────────────────────────────────────────────────────────────


def _take_reference(draft: PayoutDraft, word: TransferState) -> None:
    """The provider's own name for the transfer replaces the one that persons gave, which may be another transfer's."""
    payout = draft.payout
    if payout.named_by_persons and word.provider_reference:
        draft.move(payout.state, provider_reference=word.provider_reference, named_by_persons=False)


def _hear(draft: PayoutDraft, word: TransferState, *, asked: bool) -> None:
    """Apply a provider's word. `asked`: it answers a check, and may change a settled outcome; nothing else may."""
    payout = draft.payout
    known = payout.provider_reference
    stands = payout.state in ("submitted", "paid")
    if stands and known and word.provider_reference and known != word.provider_reference:
        raise Permanent("contradiction", f"transfer {word.provider_reference}, but was {known}", ours=False)
    if payout.undecided:
        _decide(draft, word)
    elif stands:
        _go_on(draft, word, asked)
    elif isinstance(word, Accepted | Paid):
        if not asked:
            _doubt(draft, word)
        else:
            asked_anew = None if payout.resolution is None else "asked"
            draft.move(
                payout.state, turn=payout.turn + 1, returned_minor=None, resolution=asked_anew, resolution_code=None
            )
            _decide(draft, word)
    if draft.payout.state != payout.state:
        _answer_persons(draft)


def _decide(draft: PayoutDraft, word: TransferState) -> None:
    """The first word about a turn: all that must have happened before it is published, too."""
    is_called = draft.payout.state in ("calling", "unknown")
    if isinstance(word, Rejected):
        _fail(draft, word, submitted=False)
    else:
        facts = {"provider_reference": word.provider_reference}
        draft.settle(PayoutSubmitted, "submitted", facts, **facts, asks=0, code=None)
        if not isinstance(word, Accepted):
            _end_of(draft, word)
    if not draft.can_ask:
        draft.put(draft.payout.evolve(draft.cause.now, check=replace(draft.payout.check, state=None)))
    if draft.payout.state != "submitted" or not draft.can_ask:
        draft.end(draft.payout.call_id, draft.payout.state)
    elif is_called:
        draft.retry(Retry(draft.payout.call_id, "ask", draft.policy.ladders.submitted_again_s[0]))
    elif not draft.payout.check.open:
        checking.begin(draft, draft.payout)


def _go_on(draft: PayoutDraft, word: TransferState, asked: bool) -> None:
    """A word about a submitted or paid transfer. After a turn taken back, a no may be a late repeat: it is asked about."""
    payout = draft.payout
    match word:
        case Accepted():
            return
        case Paid() if payout.state == "paid":
            return
        case Rejected() | Failed() | Returned() if payout.turn > 1 and not asked:
            _ask_at_once(draft)
            return
    _end_of(draft, word)
    if payout.state == "submitted":
        draft.end(payout.call_id, draft.payout.state)
        if draft.payout.check.open:
            checking.answered(draft, draft.payout)


def _doubt(draft: PayoutDraft, word: Accepted | Paid) -> None:
    """Ask about a yes after a no. A bank cannot be asked: two persons must say it, unless the word only tells that the bank
    once had it.
    """
    payout = draft.payout
    if draft.can_ask:
        checking.begin(draft, payout)
    elif isinstance(word, Paid) or payout.state == "not_sent":
        draft.move(payout.state, check=replace(payout.check, state="unanswered"))


def _ask_at_once(draft: PayoutDraft, own: PayoutCallFacts | None = None) -> None:
    """By the question that is to be asked anyway: a check, or the release's `own` call; else by a new check. A bank cannot be
    asked: its word stays a doubt.
    """
    payout = draft.payout
    if not draft.can_ask:
        draft.move(payout.state, check=replace(payout.check, state="unanswered"))
    elif payout.state == "submitted" and payout.check.open:
        draft.retry(Retry(payout.check_id, "ask", 0.0))
    elif payout.state == "submitted" and own is not None and own.lives:
        draft.retry(Retry(payout.call_id, "ask", 0.0))
    else:
        checking.begin(draft, payout)


def _end_of(draft: PayoutDraft, word: Paid | Rejected | Failed | Returned) -> None:
    """The end of a submitted or paid transfer. A no after it was paid is a return: some providers call it a failure."""
    payout = draft.payout
    match word:
        case Paid():
            _pay(draft)
        case Returned():
            if payout.state == "submitted":
                _pay(draft)
            _return(draft, word.code, word.amount)
        case Rejected() | Failed():
            if payout.state == "paid":
                _return(draft, word.code, payout.sent)
            else:
                _fail(draft, word, submitted=True)
        case _:
            assert_never(word)


def _pay(draft: PayoutDraft) -> None:
    draft.settle(PayoutPaid, "paid", {"provider_reference": draft.payout.provider_reference})


def _fail(draft: PayoutDraft, word: Rejected | Failed, *, submitted: bool) -> None:
    reference = word.provider_reference or draft.payout.provider_reference
    facts = {"submitted": submitted, "code": word.code, "provider_reference": reference}
    state: PayoutState = "failed" if submitted else "rejected"
    draft.settle(PayoutFailed, state, facts, code=word.code, provider_reference=reference)


def _return(draft: PayoutDraft, code: str, returned: Money) -> None:
    sent = draft.payout.sent
    if returned.currency != sent.currency or not 0 < returned.minor <= sent.minor:
        raise Permanent("notification_mismatch", f"{returned} came back of {sent}", ours=False)
    facts = {"returned": returned, "code": code, "provider_reference": draft.payout.provider_reference}
    draft.settle(PayoutReturned, "returned", facts, code=code, returned_minor=returned.minor)


def _ask_about_submitted(draft: PayoutDraft, reply: TransferReply, *, is_answer: bool) -> None:
    """Ask again what became of a submitted transfer, by its ladder; at the ladder's end the pay-out stays submitted, and
    `tally stuck` shows it. The reply to a send that came after the provider's notification costs no rung.
    """
    payout, rungs = draft.payout, draft.policy.ladders.submitted_again_s
    if payout.state != "submitted" or not draft.can_ask:
        return
    asks, asker = payout.asks + is_answer, payout.check_id if payout.check.open else payout.call_id
    if asks < len(rungs):
        draft.move("submitted", asks=asks)
        draft.retry(Retry(asker, "ask", max(rungs[asks], retry_after_s(reply))))
    else:
        draft.end(payout.call_id, "unanswered")
        if payout.check.open:
            draft.end(asker, "unanswered")
            draft.put(payout.evolve(draft.cause.now, check=replace(payout.check, state="unanswered")))
    if asks >= len(rungs) or (is_answer and isinstance(reply, Accepted)):
        _answer_persons(draft)
