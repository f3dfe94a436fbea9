"""The room's tables ⇄ the decider's state: pay-outs and what happened to them, and their sellers' terms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

import orjson

from consumers.payouts import scheduling
from consumers.payouts.decide import Heard
from consumers.payouts.payout import (
    Approval,
    Change,
    HistoryLine,
    Hold,
    Payout,
    Payouts,
    Refusal,
    Release,
    ReleaseOutcome,
    Screening,
    SellerHeard,
)
from schemas.breaks import BreakTerms
from schemas.events import TimerFired
from schemas.payouts import PayoutRequested, SealedDestination
from schemas.sellers import SellerSet
from topics.runtime.shape.consumer import Broken, Connection
from topics.runtime.shape.store import text_array
from topics.runtime.shape.table import Column, Table, part_of


def _as_json(value: object) -> str:
    return orjson.dumps(value).decode()


def _written(said: SellerSet) -> bytes:
    return said.model_dump_json(exclude_none=True).encode()


PAYOUTS = Table(
    "payouts",
    Column("payout_id", "text", key=True),
    Column("owner", "text", fixed=True),
    Column("seller_account", "text", fixed=True),
    Column("currency", "text", fixed=True),
    Column("asked", "int8", null=True, fixed=True),
    Column("minimum", "int8", null=True, fixed=True),
    Column("keep", "int8", null=True, fixed=True),
    Column("destination_type", "text", "destination.type", fixed=True),
    Column("destination_country", "text", "destination.country", fixed=True),
    Column("destination_masked", "text", "destination.masked", fixed=True),
    Column("destination_fingerprint", "text", "destination.fingerprint", fixed=True),
    Column("destination_sealed", "text", "destination.sealed", fixed=True),
    Column("destination_provider", "text", "destination.provider", null=True, fixed=True),
    Column("contents", "text", fixed=True),
    Column("description", "text", null=True, fixed=True),
    Column("requested_by", "text", fixed=True),
    Column("destination_changed_by", "text", null=True, fixed=True),
    Column("destination_changers", "json", write=_as_json, fixed=True),
    Column("payout_currency", "text", null=True, fixed=True),
    Column("received_at", "timestamptz", fixed=True),
    Column("event_id", "uuid", fixed=True),
    Column("screen_no", "int4"),
    Column("risk", "text", null=True),
    Column("cleared_at", "timestamptz", null=True),
    Column("refusal", "text", null=True),
    Column("reserve", "text"),
    Column("amount", "int8", null=True),
    Column("reserved_at", "timestamptz", null=True),
    Column("approvals_needed", "int2"),
    Column("approved_by", "json", write=_as_json),
    Column("stop", "text", null=True),
    Column("stopped_by", "text", null=True),
    Column("release_no", "int4"),
    Column("released", "bool"),
    Column("withdrawn", "int4"),
    Column("target", "int8", null=True),
    Column("rate", "text", null=True),
    Column("doubt", "text", null=True),
    Column("ended", "text", null=True),
    Column("why", "text", null=True),
    Column("provider_reference", "text", null=True),
    Column("status", "text"),
    Column("code", "text", null=True),
    Column("changed_at", "timestamptz"),
    Column("version", "int4"),
    Column("sha256", "text", null=True),
)
HISTORY = Table(
    "history",
    Column("payout_id", "text", key=True),
    Column("id", "int8", key=True, by_sql=True),
    Column("status", "text"),
    Column("code", "text", null=True),
    Column("at", "timestamptz"),
    Column("event_id", "uuid"),
)
SCREENINGS = Table(
    "screenings",
    Column("event_id", "uuid", key=True),
    Column("payout_id", "text"),
    Column("screen_no", "int4"),
    Column("outcome", "text"),
    Column("rule", "text"),
    Column("list_version", "text"),
    Column("score", "int2"),
    Column("actor", "text"),
    Column("decided_at", "timestamptz"),
    Column("counts", "bool"),
)
APPROVALS = Table(
    "approvals",
    Column("event_id", "uuid", key=True),
    Column("payout_id", "text"),
    Column("approver", "text"),
    Column("decision", "text"),
    Column("sha256", "text"),
    Column("reason", "text"),
    Column("at", "timestamptz"),
    Column("why_not", "text", null=True),
)
RELEASES = Table(
    "releases",
    Column("payout_id", "text", key=True),
    Column("release_no", "int4", key=True),
    Column("provider", "text"),
    Column("bank_account", "text"),
    Column("target", "int8", "conversion", null=True, write=part_of("target.minor")),
    Column("rate", "text", "conversion", null=True, write=part_of("rate")),
    Column("spread_bps", "int4", "conversion", null=True, write=part_of("spread_bps")),
    Column("cost", "int8", "conversion", null=True, write=part_of("cost.minor")),
    Column("released_at", "timestamptz"),
    Column("deadline", "timestamptz"),
    Column("cleared_at", "timestamptz"),
    Column("fresh_until", "timestamptz"),
    Column("approvals_needed", "int2"),
    Column("approvals", "int2"),
    Column("event_id", "uuid"),
    Column("cut_off", "timestamptz", null=True),
    Column("outcome", "text", null=True),
    Column("code", "text", null=True),
    Column("outcome_at", "timestamptz", null=True),
)
REFUSALS = Table(
    "refusals",
    Column("payout_id", "text"),
    Column("owner", "text"),
    Column("code", "text"),
    Column("detail", "text"),
    Column("at", "timestamptz"),
    Column("event_id", "uuid", key=True),
)
SELLERS = Table(
    "sellers",
    Column("seller_account", "text", "said.seller_account", key=True),
    Column("owner", "text", "said.owner"),
    Column("revision", "int4", "said.seller_revision"),
    Column("state", "text", "said.state"),
    Column("said", "bytea", write=_written),
    Column("event_id", "uuid"),
    Column("heard_at", "timestamptz", "at"),
)
HOLDS = Table(
    "holds",
    Column("break_id", "text", key=True),
    Column("seller_account", "text", key=True),
    Column("code", "text"),
    Column("revision", "int4"),
    Column("is_open", "bool"),
    Column("since", "timestamptz"),
    Column("heard_at", "timestamptz"),
)


# ── load ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def load(conn: Connection, events: Sequence[Heard], now: datetime) -> Payouts:
    """Lock the sellers, then the pay-outs, each in sorted order.

    A seller whose terms are set is locked against all that decide by them, and only then all its pay-outs that have not ended
    are read: without that order one process could freeze a seller while another, which has not seen it, releases a pay-out
    that the first has not seen either.
    """
    about = [event for event in events if not isinstance(event, Broken)]
    set_here = [seller for event in about for seller in _set_by(event)]
    named = [*set_here, *(seller for event in about if (seller := _seller_of(event)))]
    ids = [id_ for event in about if (id_ := _payout_of(event))]
    sellers = conn.execute(
        _LOCK_TO_SET if set_here else _LOCK_TO_READ, [text_array(ids), text_array(named)], binary=True
    )
    payouts = conn.execute(_LOCK_PAYOUTS, [text_array(ids), text_array(set_here)])
    state = Payouts(sellers={said.seller_account: said for said in _read_all(sellers)})
    state.payouts = {payout.payout_id: payout for payout in map(_payout, payouts)}
    unseen = {payout.seller_account for payout in state.payouts.values()} - state.sellers.keys()
    if unseen:  # of pay-outs that another process has committed between our two statements
        more = conn.execute(_LOCK_TO_READ, [text_array([]), text_array(unseen)], binary=True)
        state.sellers |= {said.seller_account: said for said in _read_all(more)}
    _load_holds(conn, state, set_here)
    if asking := {seller for event in about if (seller := _seller_of(event))}:
        rows = conn.execute(_VOUCHED, [text_array(sorted(asking))])
        state.vouched = {(seller, fingerprint): at for seller, fingerprint, at in rows}
    return state


def _set_by(event: Heard) -> tuple[str, ...]:
    """The sellers of whom an event changes whether they may be paid."""
    if isinstance(event, BreakTerms):
        return event.sellers if event.holds_payouts else ()
    return (event.seller_account,) if isinstance(event, SellerSet) else ()


def _load_holds(conn: Connection, state: Payouts, set_here: Sequence[str]) -> None:
    """Read once the sellers are locked: whoever hears of a break locks them against all that release."""
    sellers = sorted({*set_here, *state.sellers})
    for row in conn.execute(_HOLDS, [text_array(sellers)]) if sellers else ():
        hold = Hold(*row)
        state.holds[hold.seller_account, hold.break_id] = hold


def _seller_of(event: Heard) -> str | None:
    """The seller that an event names without a pay-out that exists."""
    if isinstance(event, TimerFired):
        return scheduling.parts_of(event)[0] if event.kind == scheduling.SCHEDULE else None
    return event.seller_account if isinstance(event, PayoutRequested) else None


def _payout_of(event: Heard) -> str | None:
    if isinstance(event, TimerFired):
        if event.kind != scheduling.SCHEDULE:
            return event.timer_key
        return scheduling.scheduled_id(*scheduling.parts_of(event), event.due_at)
    return None if isinstance(event, SellerSet | BreakTerms | Broken) else event.payout_id


_SELLERS = """
SELECT s.said FROM sellers s WHERE s.seller_account IN (
    SELECT p.seller_account FROM payouts p WHERE p.payout_id = ANY(%s::text[]) UNION SELECT unnest(%s::text[]))
ORDER BY s.seller_account
"""
_LOCK_TO_READ, _LOCK_TO_SET = f"{_SELLERS} FOR SHARE OF s", f"{_SELLERS} FOR UPDATE OF s"
_NESTED = ("destination", "approved_by", "destination_changers")
_FLAT = [field.name for field in fields(Payout) if field.name not in _NESTED]
_LOCK_PAYOUTS = f"""
SELECT {PAYOUTS.select(SealedDestination, "destination", alias="p")}, p.approved_by, p.destination_changers,
       {PAYOUTS.select(Payout, alias="p", without=_NESTED)}
FROM payouts p WHERE p.payout_id IN (
    SELECT unnest(%s::text[])
    UNION SELECT u.payout_id FROM payouts u WHERE u.seller_account = ANY(%s::text[]) AND u.ended IS NULL)
ORDER BY p.payout_id FOR UPDATE OF p
"""
# By `payouts_vouching`. What came back says nothing for its destination.
_VOUCHED = """
SELECT seller_account, destination_fingerprint, max(received_at) FROM payouts
WHERE seller_account = ANY(%s::text[]) AND ended IN ('submitted', 'paid') AND json_array_length(approved_by) > 0
GROUP BY seller_account, destination_fingerprint
"""
_HOLDS = f"SELECT {HOLDS.select(Hold)} FROM holds WHERE seller_account = ANY(%s::text[])"
_WIDTH = len(fields(SealedDestination))


def _payout(row: Sequence[Any]) -> Payout:
    destination, (approved_by, changers), flat = row[:_WIDTH], row[_WIDTH : _WIDTH + 2], row[_WIDTH + 2 :]
    return Payout(
        **dict(zip(_FLAT, flat, strict=True)),
        destination=SealedDestination(*destination),
        approved_by=tuple(approved_by),
        destination_changers=tuple(changers),
    )


def _read_all(rows: Iterable[Sequence[bytes]]) -> Iterable[SellerSet]:
    return (_read(said) for (said,) in rows)


@lru_cache(maxsize=4096)
def _read(said: bytes) -> SellerSet:
    return SellerSet.model_validate_json(said)


# ── save ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


_NEW, _MOVED, _LINES = PAYOUTS.insert(), PAYOUTS.update(), HISTORY.insert()
_SCREENED, _APPROVED = SCREENINGS.insert(), APPROVALS.insert()
_RELEASED = RELEASES.insert(*(field.name for field in fields(Release)))
_OUTCOMES = RELEASES.update("outcome", "code", "outcome_at")
# A request that the inbox has forgotten may be refused a second time; its first refusal stays.
_REFUSED = REFUSALS.insert(otherwise="ON CONFLICT (event_id) DO NOTHING")
_SELLERS_SET = SELLERS.insert(
    otherwise="ON CONFLICT (seller_account) DO UPDATE SET revision = excluded.revision, state = excluded.state,"
    " said = excluded.said, event_id = excluded.event_id, heard_at = excluded.heard_at"
    " WHERE sellers.revision < excluded.revision"
)
_HELD = HOLDS.insert(
    otherwise="ON CONFLICT (seller_account, break_id) DO UPDATE SET revision = excluded.revision, is_open = excluded.is_open,"
    " heard_at = excluded.heard_at WHERE holds.revision < excluded.revision"
)
Kind = TypeVar("Kind", bound=Change)


def save(conn: Connection, changes: Sequence[Change]) -> None:
    """Save the changes of a batch. Of several versions of a pay-out or a seller the last is saved.

    A second process with the same new pay-out violates the primary key, and finds this one when it retries.
    """
    payouts = _of(changes, Payout)
    new = {payout.payout_id for payout in payouts if payout.version == 1}
    last = {payout.payout_id: payout for payout in payouts}
    sellers = {heard.said.seller_account: heard for heard in _of(changes, SellerHeard)}
    outcomes = {(each.payout_id, each.release_no): each for each in _of(changes, ReleaseOutcome)}
    _NEW.run(conn, [last[id_] for id_ in sorted(new)])
    _MOVED.run(conn, [payout for id_, payout in last.items() if id_ not in new])
    _LINES.run(conn, _of(changes, HistoryLine))
    _SCREENED.run(conn, _of(changes, Screening))
    _APPROVED.run(conn, _of(changes, Approval))
    _RELEASED.run(conn, _of(changes, Release))
    _OUTCOMES.run(conn, list(outcomes.values()))
    _REFUSED.run(conn, _of(changes, Refusal))
    holds = {(each.seller_account, each.break_id): each for each in _of(changes, Hold)}
    _HELD.run(conn, [holds[key] for key in sorted(holds)])
    _SELLERS_SET.run(conn, [sellers[id_] for id_ in sorted(sellers)])


def _of(changes: Sequence[Change], kind: type[Kind]) -> list[Kind]:
    return [change for change in changes if isinstance(change, kind)]
