"""(what is known, a request for a pay-out or to cancel one) → taken up, or refused with a code. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from hashlib import blake2b

import orjson

from consumers.payouts.gates import BLOCKED, advance, status_changed
from consumers.payouts.payout import Payout, Payouts, Refusal
from consumers.payouts.policy import Policy
from schemas.envelope import EventId
from schemas.errors import Permanent
from schemas.payouts import PayoutCancelRequested, PayoutRefused, PayoutRequested
from schemas.sellers import DestinationChange, SellerSet
from topics.runtime.shape.consumer import Broken, Cause, Decision

NOTHING = Decision()
Reason = tuple[str, str]  # code, and a text that begins with the field
Requested = PayoutRequested | PayoutCancelRequested


def request(state: Payouts, event: PayoutRequested, cause: Cause, policy: Policy) -> Decision:
    """Take the pay-out up or refuse it. A repeated request changes nothing; a refusal leaves the id free."""
    owner = _sender(event, cause)
    known, contents = state.payouts.get(event.payout_id), contents_hash(event, policy.contents_key)
    if why := _claimed(event, cause):
        return _refuse(event.payout_id, owner, why, cause)
    if known is not None:
        conflict = _conflict(known, owner, contents)
        return _refuse(event.payout_id, owner, conflict, cause) if conflict else NOTHING
    seller = state.sellers.get(event.seller_account)
    if seller is None or seller.owner != owner:  # that it exists is nobody else's business
        return _refuse(event.payout_id, owner, ("unknown_seller", "seller_account: you have no such seller"), cause)
    if why := refusal(seller, event, policy):
        return _refuse(event.payout_id, owner, why, cause)
    asked = event.asked
    payout = made(
        event.payout_id,
        seller,
        event.currency,
        policy,
        cause,
        asked=None if asked is None else asked.minor,
        payout_currency=event.converted_to,
        contents=contents,
        description=event.description,
        requested_by=event.requested_by or owner,
        vouched_at=state.vouched_at(seller),
    )
    return advance(state, replace(payout, received_at=event.received_at or cause.now), cause, policy)


def made(
    payout_id: str,
    seller: SellerSet,
    currency: str,
    policy: Policy,
    cause: Cause,
    *,
    contents: str,
    requested_by: str,
    asked: int | None = None,
    minimum: int | None = None,
    keep: int | None = None,
    payout_currency: str | None = None,
    description: str | None = None,
    vouched_at: datetime | None = None,
) -> Payout:
    """A pay-out to the destination that the seller has now. Of all that is available at least the minimum is paid out.

    `vouched_at`: when the last pay-out to that destination was asked for that others have approved and that was sent.
    """
    assert seller.destination is not None
    least = policy.minimum(currency)
    if asked is None and least is not None:
        minimum = max(minimum or 0, least.minor)
    return Payout(
        payout_id=payout_id,
        owner=seller.owner,
        seller_account=seller.seller_account,
        currency=currency,
        asked=asked,
        minimum=minimum,
        keep=keep,
        payout_currency=None if payout_currency == currency else payout_currency,
        destination=seller.destination,
        contents=contents,
        description=description,
        requested_by=requested_by,
        destination_changed_by=_changed_by(seller, cause, policy),
        destination_changers=_changers(seller, vouched_at, cause, policy),
        received_at=cause.now,
        event_id=EventId(cause.event_id),
    )


def _changed_by(seller: SellerSet, cause: Cause, policy: Policy) -> str | None:
    """Who has changed the destination within the cooling period."""
    changed_at = seller.destination_changed_at
    if changed_at is None or cause.now >= changed_at + policy.destination_cooling:
        return None
    return seller.destination_changed_by or seller.owner


def _changers(seller: SellerSet, vouched_at: datetime | None, cause: Cause, policy: Policy) -> tuple[str, ...]:
    """Who has changed the destination within the cooling period, or since others have vouched for it."""
    changes = seller.destination_changes or ()
    if not changes and seller.destination_changed_at is not None:  # said by a door of an older release
        changes = (DestinationChange(seller.destination_changed_by or seller.owner, seller.destination_changed_at),)
    return tuple(
        change.by
        for change in changes
        if vouched_at is None or vouched_at <= change.at or cause.now < change.at + policy.destination_cooling
    )


def refusal(seller: SellerSet, event: PayoutRequested, policy: Policy) -> Reason | None:
    """Why this seller is not paid out so. In order of precedence."""
    asked, least = event.asked, policy.minimum(event.currency)
    if seller.state == "closed":
        return "seller_closed", "seller_account: the seller is closed"
    if asked is not None and least is not None and asked < least:
        return "below_minimum", f"amount: at least {least}"
    if seller.destination is None:
        return "no_destination", "seller_account: the seller has no destination"
    if policy.is_blocked(seller.destination):
        return BLOCKED, "seller_account: nothing is paid out to accounts of the destination's country"
    if why := _not_converted(event, policy):
        return why
    sent = event.converted_to or event.currency
    if policy.provider(sent, seller.destination) is None:
        return "no_provider", f"currency: nobody sends {sent} to {seller.destination.country}"
    return None


def _not_converted(event: PayoutRequested, policy: Policy) -> Reason | None:
    """By the rates of now. A release has those of its own time; how much all is, the wallet says later."""
    asked, to = event.asked, event.converted_to
    if not policy.has_rate(event.currency, to):
        return "no_rate", f"payout_currency: there is no rate from {event.currency} to {to}"
    conversion = None if asked is None else policy.conversion(asked, to)
    if isinstance(conversion, str):
        return conversion, f"amount: {asked} cannot be sent as {to}"
    return None


def contents_hash(event: PayoutRequested, key: bytes) -> str:
    """The same hash for equal requests, whichever door they came by."""
    without = {"owner", "requested_by", "received_at"} | (set() if event.converted_to else {"payout_currency"})
    asked = event.model_dump(exclude=without, exclude_none=True)
    return blake2b(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS), key=key, digest_size=16).hexdigest()


def cancel(state: Payouts, event: PayoutCancelRequested, cause: Cause, policy: Policy) -> Decision:
    """Stop it if it has not left. Where it has ended without being cancelled, its sender is told that it is too late."""
    owner = _sender(event, cause)
    if why := _claimed(event, cause):
        return _refuse(event.payout_id, owner, why, cause)
    known = state.payouts.get(event.payout_id)
    if known is None or known.owner != owner:
        return _refuse(event.payout_id, owner, ("unknown_payout", "payout_id: you have no such pay-out"), cause)
    if known.ended == "cancelled" or (known.ended is None and known.stop is not None):
        return NOTHING
    if known.ended is not None:
        return Decision(events=[status_changed(known, "too_late")], revision=known.version)
    return advance(state, replace(known, stop="cancelled", stopped_by=event.requested_by or owner), cause, policy)


def refuse_broken(broken: Broken, cause: Cause) -> Decision:
    """Errors: Permanent if nobody is known to tell."""
    owner = cause.upstream or broken.owner
    if owner is None:
        raise Permanent("malformed", f"{broken.field}: {broken.detail}; and no owner is known to tell", ours=False)
    return _refuse(broken.subject_id, owner, (broken.code, f"{broken.field}: {broken.detail}"), cause)


def _sender(event: Requested, cause: Cause) -> str:
    """The owner: named by an upstream's own topic, or by our doors in the event. Errors: Permanent `no_owner`."""
    owner = event.owner if cause.upstream is None else cause.upstream
    if owner is None:
        raise Permanent("no_owner", "neither the topic nor the event names an owner", ours=False)
    return owner


def _claimed(event: Requested, cause: Cause) -> Reason | None:
    """Refuse an upstream's event that states what our doors alone state: a person named here could not approve it."""
    if cause.upstream is None:
        return None
    if event.owner is not None:
        return "owner_claimed", "owner: the topic names the owner, the event must not"
    if event.requested_by is not None:
        return "person_claimed", "requested_by: the HTTP door alone says who has asked"
    if event.received_at is not None:
        return "time_claimed", "received_at: the HTTP door alone says when it took it"
    return None


def _conflict(known: Payout, owner: str, contents: str) -> Reason | None:
    if known.owner != owner:
        return "id_taken", "payout_id: this id is taken"
    if known.contents != contents:
        return "contents_conflict", "payout_id: this pay-out has other contents"
    return None


def _refuse(payout_id: str, owner: str, why: Reason, cause: Cause) -> Decision:
    """Tell the sender; nothing that exists under this id changes."""
    code, detail = why
    kept = Refusal(payout_id, owner, code, detail, cause.now, cause.event_id)
    return Decision([kept], [PayoutRefused(payout_id=payout_id, owner=owner, code=code, detail=detail)])
