"""Books of pay-outs → what payouts, wallet, executor and ledger do not agree on. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from operations.auditor.engine.findings import Finding, Hop, heard
from operations.auditor.reservations.books import (
    IN_TRANSIT,
    AskedPayout,
    Booked,
    KeptReservation,
    Lines,
    Moved,
    PayoutBooks,
    Transfer,
    part_of_turn,
    turn_of_part,
)
from schemas import payouts

PLACED = heard(payouts.PayoutPlaced, "wallet")
RESERVED = heard(payouts.FundsReserved, "payouts")
TO_WALLET = heard(payouts.PayoutSubmitted, "wallet")
TO_LEDGER = heard(payouts.PayoutSubmitted, "ledger")
HOPS = (PLACED, RESERVED, TO_WALLET, TO_LEDGER)

FOLLOWED, IN_WALLET, IN_LEDGER = "reservations_followed", "payouts_in_wallet", "payouts_in_ledger"
EXPLAINED = "in_transit_explained"

# The facts of a turn, by the executor's state: each was said. A state that is not here has moved no money.
FACTS = {
    "submitted": ("submitted",),
    "paid": ("submitted", "paid"),
    "failed": ("submitted", "failed"),
    "returned": ("submitted", "paid", "returned"),
}
TAKEN_BACK = ("failed", "returned")
MOVES = {"submitted": "settled", "failed": "returned", "returned": "returned"}  # fact → movement
POSTS = {fact: f"payout_{fact}" for fact in ("submitted", "paid", "failed", "returned")}  # fact → template


class PayoutStory(NamedTuple):
    """One pay-out as all stores have it."""

    payout_id: str
    asked: AskedPayout | None
    reservation: KeptReservation | None
    transfer: Transfer | None
    movements: list[Moved]
    journals: list[Booked]
    in_transit: Mapping[str, int]


def compare_payouts(books: PayoutBooks) -> Iterator[Finding]:
    for payout_id in books.ids():
        story = PayoutStory(
            payout_id,
            books.asked.get(payout_id),
            books.reservations.get(payout_id),
            books.transfers.get(payout_id),
            books.movements.get(payout_id, []),
            books.journals.get(payout_id, []),
            books.in_transit.get(payout_id, {}),
        )
        for check in CHECKS.values():
            yield from check(story)


# ── what payouts asked for, and the wallet reserved ──────────────────────────────────────────────────────────────────


def _followed(story: PayoutStory) -> Iterator[Finding]:
    """Reserved as asked, moved as its state says, heard by payouts, and released where it was given up."""
    payout_id, asked, kept = story.payout_id, story.asked, story.reservation
    if kept is None:
        if asked is not None and asked.reserve != "none":
            yield Finding(FOLLOWED, payout_id, "it was placed, and the wallet has no reservation", PLACED)
        if story.movements:
            yield Finding(FOLLOWED, payout_id, "the wallet moved for it, and has no reservation")
        return
    yield from _moved_as_it_stands(payout_id, kept, story.movements)
    if asked is None or asked.reserve == "none":
        yield Finding(FOLLOWED, payout_id, f"{kept.state} in the wallet, and payouts never asked for it")
        return
    yield from _heard(payout_id, asked, kept)
    if kept.state == "reserved" and asked.given_up:
        yield Finding(FOLLOWED, payout_id, f"{asked.ended}, and its money is still reserved", PLACED)
    if kept.state == "released" and not (asked.given_up or _refused(story.transfer)):
        yield Finding(FOLLOWED, payout_id, "its money was released, and nobody has given it up")


def _moved_as_it_stands(payout_id: str, kept: KeptReservation, movements: list[Moved]) -> Iterator[Finding]:
    """Its state is its last movement; what is kept of it is its amount, or nothing."""
    if kept.state == "refused":
        if movements:
            yield Finding(FOLLOWED, payout_id, "refused, and the wallet moved for it")
        return
    last = (movements[-1].kind, movements[-1].cause) if movements else None
    if last != (kept.state, kept.moved_by):
        yield Finding(FOLLOWED, payout_id, f"{kept.state} by {kept.moved_by}, and its last movement is {last}")
    held = sum(moved.to_reserved for moved in movements)
    if held != (kept.amount if kept.state == "reserved" else 0):
        yield Finding(FOLLOWED, payout_id, f"{kept.state}, and its movements keep {held} of {kept.amount}")


def _heard(payout_id: str, asked: AskedPayout, kept: KeptReservation) -> Iterator[Finding]:
    if kept.terms != asked.terms:
        yield Finding(FOLLOWED, payout_id, f"placed as {tuple(asked.terms)}, and reserved as {tuple(kept.terms)}")
    elif asked.reserve == "asked":
        if asked.ended is None:
            yield Finding(FOLLOWED, payout_id, f"{kept.state} in the wallet, and payouts has not heard it", RESERVED)
    elif (asked.reserve == "refused") != (kept.state == "refused"):
        yield Finding(FOLLOWED, payout_id, f"{asked.reserve} in payouts, {kept.state} in the wallet")
    elif asked.reserve == "reserved" and asked.amount != kept.amount:
        yield Finding(FOLLOWED, payout_id, f"{kept.amount} are reserved, and payouts has {asked.amount}")


def _refused(transfer: Transfer | None) -> bool:
    """Whether the provider has refused it once: a later turn begins after that, too."""
    return transfer is not None and (transfer.state == "rejected" or transfer.turn > 1)


# ── what the executor said, and wallet and ledger booked ─────────────────────────────────────────────────────────────


def _in_wallet(story: PayoutStory) -> Iterator[Finding]:
    transfer, payout_id = story.transfer, story.payout_id
    there = {(moved.kind, moved.part): moved for moved in story.movements if moved.kind in MOVES.values()}
    yield from _booked_once(story, IN_WALLET, TO_WALLET, MOVES, {key: moved.cause for key, moved in there.items()})
    if transfer is None:
        return
    for (kind, part), moved in there.items():
        wanted = (transfer.seller, transfer.currency, transfer.amount if kind == "returned" else -transfer.amount)
        if (found := (moved.seller, moved.currency, moved.amount)) != wanted:
            yield Finding(IN_WALLET, payout_id, f"{kind} {part} moved {found}, not {wanted}")
    if transfer.state == "rejected" and story.reservation is not None and story.reservation.state == "reserved":
        yield Finding(IN_WALLET, payout_id, "rejected, and its money is still reserved", TO_WALLET)


def _in_ledger(story: PayoutStory) -> Iterator[Finding]:
    transfer = story.transfer
    there = {(booked.template, booked.part): booked for booked in story.journals}
    yield from _booked_once(story, IN_LEDGER, TO_LEDGER, POSTS, {key: booked.cause for key, booked in there.items()})
    for (template, part), booked in there.items() if transfer is not None else ():
        assert transfer is not None
        wanted = _lines(template, transfer, booked.lines, is_last=turn_of_part(part) == transfer.turn)
        if booked.lines != wanted:
            yield Finding(IN_LEDGER, story.payout_id, f"{template} {part} is booked as {booked.lines}, not as {wanted}")


def _booked_once(
    story: PayoutStory, check: str, hop: Hop, effects: Mapping[str, str], there: Mapping[tuple[str, str], str]
) -> Iterator[Finding]:
    """The last turn has just the effects of its facts, the last one because of the last fact. A turn before it has those of what
    was taken back, or none. `there`: (effect, part) → cause.
    """
    transfer, payout_id = story.transfer, story.payout_id
    if transfer is None:
        if there:
            yield Finding(check, payout_id, f"{sorted(there)}, and the executor never sent it")
        return
    last = part_of_turn(transfer.turn)
    due = _effects(transfer.state, effects)
    for name in due - {name for name, part in there if part == last}:
        yield Finding(check, payout_id, f"{transfer.state}, and there is no {name} {last}", hop)
    cause = there.get((effects.get(transfer.state, ""), last))
    if cause is not None and transfer.outcome is not None and cause != transfer.outcome:
        yield Finding(
            check, payout_id, f"its last movement or journal is there because of {cause}, not of {transfer.outcome}"
        )
    for part in {part for _, part in there}:
        found = {name for name, of in there if of == part}
        before = turn_of_part(part) < transfer.turn
        if not before and (part != last or not found <= due):
            yield Finding(check, payout_id, f"{sorted(found)} {part}, and the executor has no such fact")
        elif before and found not in [_effects(state, effects) for state in TAKEN_BACK]:
            yield Finding(check, payout_id, f"{sorted(found)} {part} alone, in a turn that was taken back", hop)


def _effects(state: str, effects: Mapping[str, str]) -> set[str]:
    return {effects[fact] for fact in FACTS.get(state, ()) if fact in effects}


def _lines(template: str, transfer: Transfer, lines: Lines, *, is_last: bool) -> Lines:
    """The lines that the journal must have. How much came back in an earlier turn the executor does not keep: what the journal
    says is taken, if it is possible.
    """
    sent, currency = transfer.sent, transfer.sent_currency
    clearing, in_transit = (f"bank:{transfer.bank_account}:clearing", currency), (IN_TRANSIT, currency)
    of_seller = {(f"seller:{transfer.seller}:payable", transfer.currency): transfer.amount, **_exchanged(transfer)}
    if template == "payout_submitted":
        wanted = {**of_seller, in_transit: -sent}
    elif template == "payout_paid":
        wanted = {in_transit: sent, clearing: -sent}
    else:
        wanted = {side: -minor for side, minor in of_seller.items()}
        if template == "payout_failed":
            wanted[in_transit] = sent
        else:
            back = transfer.returned if is_last and transfer.returned is not None else min(lines.get(clearing, 0), sent)
            wanted |= {clearing: back, ("bank:fees", currency): sent - back}
    return {side: minor for side, minor in wanted.items() if minor}


def _exchanged(transfer: Transfer) -> dict[tuple[str, str], int]:
    """What was given for what is sent, and what was kept of it: each currency balances."""
    if transfer.cost is None:
        return {}
    account = f"fx:{transfer.currency}-{transfer.sent_currency}"
    return {
        (account, transfer.currency): -transfer.cost,
        ("platform:fx-spread", transfer.currency): transfer.cost - transfer.amount,
        (account, transfer.sent_currency): transfer.sent,
    }


def _explained(story: PayoutStory) -> Iterator[Finding]:
    """What a pay-out has in transit is what was sent while it is submitted, and nothing before and after."""
    transfer = story.transfer
    wanted = {transfer.sent_currency: transfer.sent} if transfer is not None and transfer.state == "submitted" else {}
    found = {currency: minor for currency, minor in story.in_transit.items() if minor}
    if found != wanted:
        state = "unknown to the executor" if transfer is None else transfer.state
        yield Finding(EXPLAINED, story.payout_id, f"{found} in transit, not {wanted}: it is {state}", TO_LEDGER)


CHECKS: dict[str, Callable[[PayoutStory], Iterator[Finding]]] = {
    FOLLOWED: _followed,
    IN_WALLET: _in_wallet,
    IN_LEDGER: _in_ledger,
    EXPLAINED: _explained,
}
