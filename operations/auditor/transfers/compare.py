"""Books of pay-outs and providers' listings → what they do not agree on. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from operations.auditor.engine.findings import Finding
from operations.auditor.transfers.books import Line, SentPayout, TransferBooks

CALLED, SENT_ONCE, KNOWN = "payouts_called", "payouts_sent_once", "transfers_known"
BY_LISTINGS = (SENT_ONCE, KNOWN)  # not comparable while a provider does not answer

# What a provider may list of a pay-out in that state. An open one may have become anything meanwhile: the executor asks.
LISTED_AS = {
    "paid": ("paid",),
    "returned": ("returned", "failed"),  # some call what has come back a failure
    "failed": ("failed", "rejected"),
    "rejected": ("rejected",),
    "not_sent": ("rejected",),
}
MAY_BE_UNLISTED = ("calling", "unknown", "unresolved", "not_sent", "rejected")


def compare_calls(books: TransferBooks) -> Iterator[Finding]:
    """Each release is one call; the last one is open just as long as the pay-out is, those before it have ended."""
    for payout_id, payout in books.payouts.items():
        releases = books.releases(payout_id)
        if len(releases) != payout.release_no or payout.call_id not in {call.call_id for call in releases}:
            yield Finding(CALLED, payout_id, f"{len(releases)} calls, and it is at release {payout.release_no}")
            continue
        for call in releases:
            is_last = call.call_id == payout.call_id
            if call.is_open and (not is_last or payout.state not in ("calling", "unknown", "submitted")):
                yield Finding(CALLED, payout_id, f"{payout.state}, and its call {call.call_id} is open")
            if is_last and not call.is_open and payout.state in ("calling", "unknown"):
                yield Finding(CALLED, payout_id, f"{payout.state}, and its call has ended")
    for payout_id in books.calls.keys() - books.payouts.keys():
        yield Finding(CALLED, payout_id, "it has calls, and the executor has no such pay-out")


def compare_listings(books: TransferBooks) -> Iterator[Finding]:
    """A bank that gets files has no listing that could be asked."""
    for payout_id, payout in books.payouts.items():
        if payout.provider in books.banks:
            continue
        lines = books.lines_of(payout_id)
        out = [line for line in lines if line.status != "rejected"]
        if len(out) > 1:
            told = ", ".join(f"{line.provider_reference} {line.status}" for line in out)
            yield Finding(SENT_ONCE, payout_id, f"sent {len(out)} times: {told}")
        if not payout.is_asked_about:
            yield from _as_it_stands(payout_id, payout, books.listed.get(payout.call_id, []))
        yield from _earlier_releases(books, payout_id, payout)
    yield from _not_ours(books)


def _as_it_stands(payout_id: str, payout: SentPayout, lines: list[Line]) -> Iterator[Finding]:
    if not lines and payout.state not in MAY_BE_UNLISTED:
        yield Finding(KNOWN, payout_id, f"{payout.state} here, and {payout.provider} does not list it")
    for line in lines:
        if line.status not in LISTED_AS.get(payout.state, (line.status,)):
            yield Finding(KNOWN, payout_id, f"{payout.state} here, and {line.status} at {line.provider}")
        ours = (payout.provider, payout_id, payout.amount, payout.currency)
        if ours != (line.provider, line.payout_id, line.amount, line.currency):
            yield Finding(KNOWN, payout_id, f"we sent {ours}, and {line.provider} lists {line}")
        if payout.provider_reference not in (None, line.provider_reference):
            yield Finding(
                KNOWN, payout_id, f"it is {payout.provider_reference} here, and {line.provider_reference} there"
            )
        if payout.state == line.status == "returned" and payout.returned != line.returned:
            yield Finding(KNOWN, payout_id, f"{payout.returned} came back here, and {line.returned} at {line.provider}")


def _earlier_releases(books: TransferBooks, payout_id: str, payout: SentPayout) -> Iterator[Finding]:
    """Those before the last one have surely sent nothing."""
    for call in books.releases(payout_id):
        for line in books.listed.get(call.call_id, []) if call.call_id != payout.call_id else ():
            if line.status != "rejected":
                yield Finding(KNOWN, payout_id, f"release {call.call_id} was not sent here, and is {line.status} there")


def _not_ours(books: TransferBooks) -> Iterator[Finding]:
    ours = {call.call_id for calls in books.calls.values() for call in calls}
    for reference in books.listed.keys() - ours:
        for line in books.listed[reference]:
            if line.status != "rejected":
                yield Finding(KNOWN, line.payout_id, f"{line.provider} has {line.status} {reference}: not ours")


def further_there(books: TransferBooks) -> int:
    """How many are open here, and paid or over at their provider: the executor asks, or a person must say."""
    return sum(
        line.status != "accepted"
        for payout in books.payouts.values()
        if payout.state in ("unknown", "unresolved", "submitted")
        for line in books.listed.get(payout.call_id, [])
    )
