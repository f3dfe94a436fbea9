"""Books of pay-outs → what doors, payouts, persons and executor do not agree on. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from math import ceil, floor

from operations.auditor.engine.findings import Finding, heard
from operations.auditor.payouts.books import (
    ApprovalRow,
    PayoutBooks,
    PayoutRow,
    ReleaseRow,
    SentRow,
    is_scheduled,
)
from schemas import payouts
from schemas.money import exponent
from schemas.persons import person_of

REQUESTED = heard(payouts.PayoutRequested, "payouts")
TO_SCREEN = heard(payouts.PayoutScreeningRequested, "risk")
DECIDED = heard(payouts.PayoutRiskCleared, "payouts")
READY = heard(payouts.PayoutReady, "executor")
EXECUTED = heard(payouts.PayoutSubmitted, "payouts")
HOPS = (REQUESTED, TO_SCREEN, DECIDED, heard(payouts.PayoutApproved, "payouts"), READY, EXECUTED)

ASKED, SCREENED, APPROVED, END = "payouts_asked", "payouts_screened", "payouts_approved", "payouts_end"
CONVERTED = "payouts_converted"
UNASKED = "no door accepted this from"

# Where a pay-out has ended, by the executor's state of it. While a state is not here, the provider has not decided.
ENDS = {"submitted": "submitted", "paid": "paid", "returned": "returned", "failed": "failed", "rejected": "failed"}
OPEN = ("calling", "unknown", "unresolved")  # it may be out


def compare_payouts(books: PayoutBooks) -> Iterator[Finding]:
    yield from _asked(books)
    yield from _screened(books)
    yield from _approved(books)
    yield from _converted(books)
    yield from _ended(books)


def _asked(books: PayoutBooks) -> Iterator[Finding]:
    """What a door accepted is there or refused; what is there was asked for, of a seller of whoever asked."""
    for payout_id, request in books.requests.items():
        found = books.payouts.get(payout_id)
        if request.claim in books.refused or (found is not None and found.event_id == request.claim):
            continue
        there = "payouts neither has nor refused it" if found is None else f"the pay-out there is of {found.event_id}"
        yield Finding(ASKED, payout_id, f"accepted from {request.owner}, and {there}", REQUESTED)
    for payout_id, payout in books.payouts.items():
        owner = books.sellers.get(payout.seller)
        if owner != payout.owner:
            yield Finding(ASKED, payout_id, f"of {payout.owner}, and {payout.seller} is a seller of {owner}")
        if is_scheduled(payout_id):
            if payout.requested_by != "schedule" or not payout.is_all:
                yield Finding(ASKED, payout_id, f"asked for by {payout.requested_by} under an id of schedules")
        elif books.requests.get(payout_id) != (payout.owner, payout.event_id):
            yield Finding(ASKED, payout_id, f"{UNASKED} {payout.owner}")


def _each_release(books: PayoutBooks) -> Iterator[tuple[str, PayoutRow | None, ReleaseRow]]:
    for payout_id, releases in books.releases.items():
        yield from ((payout_id, books.payouts.get(payout_id), release) for release in releases)


def _screened(books: PayoutBooks) -> Iterator[Finding]:
    """Risk has answered each question, and payouts has heard it; each release relies on a clearance that was young enough."""
    for payout_id, payout in books.payouts.items():
        asked, decided = set(range(1, payout.screen_no + 1)), books.decided[payout_id]
        told = {each.screen_no for each in books.screenings[payout_id]}
        for screen_no in asked - decided - told:
            yield Finding(SCREENED, payout_id, f"screening {screen_no} has not come to risk", TO_SCREEN)
        for screen_no in decided & asked - told:
            yield Finding(SCREENED, payout_id, f"risk has decided screening {screen_no}; not heard", DECIDED)
        for screen_no in decided - asked | told - decided:
            yield Finding(SCREENED, payout_id, f"screening {screen_no} was never asked for, or never decided")
    for payout_id, _, release in _each_release(books):
        cleared = {each.decided_at for each in books.screenings[payout_id] if each.counts and each.outcome == "cleared"}
        if release.cleared_at not in cleared:
            yield Finding(SCREENED, payout_id, f"release {release.release_no} relies on no answer of risk")
        elif release.released_at > release.fresh_until:
            detail = f"release {release.release_no} of {release.released_at} relies on an answer good until {release.fresh_until}"
            yield Finding(SCREENED, payout_id, detail)


def _approved(books: PayoutBooks) -> Iterator[Finding]:
    """Enough persons, none of them a maker, have approved just this, before its release."""
    for payout_id, approvals in books.approvals.items():
        for approval in approvals:
            if approval.why_not is None and (wrong := _why_it_may_not_count(payout_id, books, approval)):
                yield Finding(APPROVED, payout_id, f"{approval.decision} by {approval.approver}: {wrong}")
    for payout_id, payout, release in _each_release(books):
        persons = {person_of(each.approver) for each in books.approvals[payout_id] if _counts(each, release)}
        needed = max(release.approvals_needed, int(payout is not None and payout.changed_by is not None))
        if len(persons) < needed:
            detail = f"release {release.release_no} needs {needed} persons, and {len(persons)} had approved it"
            yield Finding(APPROVED, payout_id, detail)


def _counts(approval: ApprovalRow, release: ReleaseRow) -> bool:
    return approval.decision == "approved" and approval.why_not is None and approval.at <= release.released_at


def _why_it_may_not_count(payout_id: str, books: PayoutBooks, approval: ApprovalRow) -> str | None:
    payout = books.payouts.get(payout_id)
    if payout is None:
        return "there is no such pay-out"
    if not approval.sha256 == payout.sha256 == payout.contents(payout_id):
        return f"of {approval.sha256:.8}…, and the pay-out is {payout.contents(payout_id) or 'not reserved':.8}…"
    return "counted, and made it" if person_of(approval.approver) in payout.makers(payout_id) else None


def _converted(books: PayoutBooks) -> Iterator[Finding]:
    """Each release in another currency is converted as its rate says, to the cent; and just that was sent."""
    for payout_id, payout, release in _each_release(books):
        if payout is None or payout.amount is None:
            continue
        number, to = release.release_no, payout.payout_currency
        found, wanted = (release.target, release.cost), _at_rate(payout.amount, payout.currency, to, release)
        if found != wanted:
            yield Finding(CONVERTED, payout_id, f"release {number} sends {found} at {release.rate}, not {wanted}")
        sent = books.sent.get(payout_id)
        if sent is not None and sent.release_no == number and (to is not None or sent.cost is not None):
            told, there = (release.target, to, release.cost), (sent.sent, sent.sent_currency, sent.cost)
            if told != there:
                yield Finding(CONVERTED, payout_id, f"release {number} sends {told}, and the executor sent {there}")


def _at_rate(amount: int, currency: str, to: str | None, release: ReleaseRow) -> tuple[int | None, int | None]:
    """What is sent and what it costs, by fractions; None where nothing is converted."""
    if to is None or release.rate is None or release.spread_bps is None:
        return None, None
    rate = Fraction(release.rate) * Fraction(10) ** (exponent(to) - exponent(currency))  # of minor units
    target = floor(amount * (1 - Fraction(release.spread_bps, 10_000)) * rate)
    return target, ceil(target / rate)


def _ended(books: PayoutBooks) -> Iterator[Finding]:
    """Each pay-out stands where its history and the executor have it."""
    for payout_id, payout in books.payouts.items():
        if (last := books.last.get(payout_id)) != (payout.status, payout.code):
            yield Finding(END, payout_id, f"{payout.status} {payout.code}, and its history ends with {last}")
        sent = books.sent.get(payout_id)
        if sent is None:
            yield from _never_sent(payout_id, payout)
        else:
            yield from _sent(payout_id, payout, sent)
    for payout_id in books.sent.keys() - books.payouts.keys():
        yield Finding(END, payout_id, "the executor has it, and payouts does not")


def _never_sent(payout_id: str, payout: PayoutRow) -> Iterator[Finding]:
    if payout.ended in ENDS.values():
        yield Finding(END, payout_id, f"{payout.ended}, and the executor never had it")
    elif payout.released and payout.ended is None:
        yield Finding(END, payout_id, f"release {payout.release_no} has not come to the executor", READY)


def _sent(payout_id: str, payout: PayoutRow, sent: SentRow) -> Iterator[Finding]:
    end = ENDS.get(sent.state)
    if sent.release_no > payout.release_no:
        yield Finding(END, payout_id, f"the executor has release {sent.release_no} of {payout.release_no}")
    elif end is not None:
        if payout.ended != end:
            yield Finding(END, payout_id, f"{sent.state} in the executor, {payout.ended or 'open'} here", EXECUTED)
    elif payout.ended in ENDS.values():
        yield Finding(END, payout_id, f"{payout.ended}, and {sent.state} in the executor")
    elif payout.ended is not None and sent.state in OPEN:
        yield Finding(END, payout_id, f"{payout.ended}, and it may be out: {sent.state} in the executor")
    elif payout.ended is None and payout.released and sent.release_no < payout.release_no:
        yield Finding(END, payout_id, f"release {payout.release_no} has not come to the executor", READY)
    elif payout.ended is None and payout.released and sent.state == "not_sent":
        yield Finding(END, payout_id, f"release {sent.release_no} was not sent, and payouts has not heard it", EXECUTED)


COUNTS: dict[str, Callable[[PayoutBooks], int]] = {
    ASKED: lambda books: len(books.payouts),
    SCREENED: lambda books: sum(map(len, books.releases.values())),
    APPROVED: lambda books: sum(map(len, books.releases.values())) + sum(map(len, books.approvals.values())),
    CONVERTED: lambda books: sum(each.rate is not None for some in books.releases.values() for each in some),
    END: lambda books: len(books.payouts),
}
