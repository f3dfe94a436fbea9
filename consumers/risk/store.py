"""Risk's tables ⇄ the decider's state: lists by version, screenings without names, holds and their reviews."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from consumers.risk import payout_screening
from consumers.risk.decide import Heard
from consumers.risk.holders import Holders
from consumers.risk.names import NameList, normalise
from consumers.risk.parties import Found, KnownParty, Named
from consumers.risk.party_store import keep_found, keep_parties, read_names, read_parties
from consumers.risk.reviewing import Hold, HoldKey, Review, key_of
from consumers.risk.state import Change, PayoutScreening, Screening, Screenings, payment_key
from consumers.risk.watchlist import Watchlist, label
from schemas.events import RiskReviewed, ScreeningRequested, TimerFired
from schemas.payouts import PayoutScreeningRequested
from topics.runtime.shape.consumer import Connection, Cursor
from topics.runtime.shape.store import text_array
from topics.runtime.shape.table import Column, Table
from topics.sealing import Sealer

SCREENINGS = Table(
    "screenings",
    Column("checkout_id", "text", key=True),
    Column("buyer_account", "text"),
    Column("decided_at", "timestamptz"),
    Column("outcome", "text"),
    Column("rule", "text"),
    Column("list_version", "text"),
    Column("score", "int2"),
    Column("event_id", "uuid"),
)
PAYOUT_SCREENINGS = Table(
    "payout_screenings",
    Column("payout_id", "text", key=True),
    Column("screen_no", "int4", key=True),
    Column("seller_account", "text"),
    Column("party", "text", null=True),
    Column("decided_at", "timestamptz"),
    Column("outcome", "text"),
    Column("rule", "text"),
    Column("list_version", "text"),
    Column("score", "int2"),
    Column("event_id", "uuid"),
)
HOLDS = Table(
    "holds",
    Column("about", "text", key=True),
    Column("subject", "text", key=True),
    Column("screen_no", "int4", key=True),
    Column("rule", "text"),
    Column("score", "int2"),
    Column("list_version", "text"),
    Column("buyer_account", "text", null=True),
    Column("seller_account", "text", null=True),
    Column("held_at", "timestamptz"),
)
REVIEWS = Table(
    "reviews",
    Column("event_id", "uuid", key=True),
    Column("about", "text"),
    Column("subject", "text"),
    Column("screen_no", "int4"),
    Column("decision", "text"),
    Column("actor", "text"),
    Column("reason", "text"),
    Column("reviewed_at", "timestamptz"),
    Column("counts", "bool"),
)
HOUR = timedelta(hours=1)
_LISTS_LOCK = 0x4C495354  # advisory: one process at a time stores lists


# ── lists ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def load_lists(conn: Connection, lists: Sequence[NameList]) -> None:
    """Make these versions of these lists the current ones. Older versions stay, for the record."""
    conn.execute("SELECT pg_advisory_xact_lock(%s)", [_LISTS_LOCK])
    for one in lists:
        _insert_list(conn, one)
    conn.execute(
        "UPDATE lists AS l SET current = (n.name IS NOT NULL)"
        " FROM lists AS o LEFT JOIN unnest(%b::text[], %b::text[]) AS n (name, version)"
        "   ON n.name = o.name AND n.version = o.version"
        " WHERE l.name = o.name AND l.version = o.version AND l.source = 'settings' AND l.current <> (n.name IS NOT NULL)",
        [[one.name for one in lists], [one.version for one in lists]],
    )


def _insert_list(conn: Connection, one: NameList) -> None:
    new = conn.execute(
        "INSERT INTO lists (name, version, names, current) VALUES (%s, %s, %s, false)"
        " ON CONFLICT DO NOTHING RETURNING 1",
        [one.name, one.version, len(one.names)],
    ).fetchone()
    if new is None:
        return
    with conn.cursor() as cur, cur.copy("COPY list_names (name, list_name, list_version) FROM STDIN") as copy:
        for name in sorted(one.names):
            copy.write_row((name, one.name, one.version))


# ── load ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def load(
    conn: Connection, events: Sequence[Heard], now: datetime, limit: int, watchlist: Watchlist, holders: Holders
) -> Screenings:
    """What the batch's screenings need; and for reviews, the screenings that they are about."""
    payments = [event for event in events if isinstance(event, ScreeningRequested)]
    payouts = [event for event in events if isinstance(event, PayoutScreeningRequested)]
    again = [payout_screening.again_key(event.timer_key) for event in events if isinstance(event, TimerFired)]
    state = Screenings()
    state.named = {
        payment_key(one.checkout_id): Named("buyer", one.buyer_account, one.name) for one in payments if one.name
    }
    if payouts or again:
        state.payouts = _read_payouts(conn, {*map(payout_screening.key_of, payouts), *again})
        state.named |= holders.names(payouts)
        parties = {key: state.payouts[key].party for key in again if key in state.payouts}
        state.named |= read_names(conn, parties, watchlist)
    if payments or payouts or again:
        _read_screenings(conn, state, payments, now, limit, watchlist)
    wanted = {known.key for known in state.decided.values() if known.outcome == "held"} | state.payouts.keys()
    wanted |= {key_of(event) for event in events if isinstance(event, RiskReviewed)}
    if wanted:
        _read_reviews(conn, state, sorted(wanted))
    return state


def _read_screenings(
    conn: Connection,
    state: Screenings,
    payments: Sequence[ScreeningRequested],
    now: datetime,
    limit: int,
    watchlist: Watchlist,
) -> None:
    """Earlier decisions on these checkouts, their buyers' last hour, and what the lists say of all names.

    A buyer's checkouts are counted up to `limit`. Two processes may count the same buyer at once, so the limit may be
    exceeded by checkouts in flight; a lock per buyer would cost more.
    """
    names = {one.name: normalise(one.name) for one in state.named.values()}
    screenings = _select_screenings(conn, sorted({event.checkout_id for event in payments}))
    hours = _select_hours(conn, sorted({event.buyer_account for event in payments}), now, limit)
    lists = _select_lists(conn, sorted(set(names.values())))
    state.decided = {row[0]: Screening(*row) for row in screenings}
    state.recent = dict(hours.fetchall())
    found = lists.fetchall()
    state.listed, state.lists = _listed(found, names)
    state.current = frozenset(row[0] for row in found)
    imported = [label(name, version) for name, version, _, source in found if source == "import"]
    watchlist.follow(conn, imported)
    if imported:
        state.sanctions = ",".join(watchlist.labels)
        state.parties = read_parties(conn, state.named, watchlist)


_DECIDED = f"SELECT {SCREENINGS.select(Screening)} FROM screenings WHERE checkout_id = ANY(%s::text[])"


def _select_screenings(conn: Connection, checkout_ids: list[str]) -> Cursor:
    return conn.execute(_DECIDED, [text_array(checkout_ids)], binary=True)


def _select_hours(conn: Connection, buyers: list[str], now: datetime, limit: int) -> Cursor:
    return conn.execute(
        "SELECT b.account, h.checkouts FROM unnest(%b::text[]) AS b (account) CROSS JOIN LATERAL"
        " (SELECT count(*)::int AS checkouts FROM"
        "   (SELECT FROM screenings s WHERE s.buyer_account = b.account AND s.decided_at > %s LIMIT %s) AS recent) AS h"
        " WHERE h.checkouts > 0",
        [buyers, now - HOUR, limit],
        binary=True,
    )


def _select_lists(conn: Connection, names: list[str]) -> Cursor:
    return conn.execute(
        "SELECT l.name, l.version, n.name, l.source FROM lists l"
        " LEFT JOIN list_names n ON n.list_name = l.name AND n.list_version = l.version AND n.name = ANY(%b::text[])"
        " WHERE l.current ORDER BY l.name",
        [names],
        binary=True,
    )


def _listed(rows: Sequence[tuple[Any, ...]], names: dict[str, str]) -> tuple[dict[str, str], str]:
    """→ name as written → the list that holds it; and the labels of all current lists."""
    hits: dict[str, str] = {}
    for list_name, version, name, _ in rows:
        if name is not None:
            hits.setdefault(name, label(list_name, version))
    asked = dict.fromkeys(label(list_name, version) for list_name, version, *_ in rows)
    return {written: hits[name] for written, name in names.items() if name in hits}, ",".join(asked) or "none"


_PAYOUTS = (
    f"SELECT {PAYOUT_SCREENINGS.select(PayoutScreening)} FROM payout_screenings"
    " WHERE (payout_id, screen_no) IN (SELECT * FROM unnest(%b::text[], %b::int[]))"
)


def _read_payouts(conn: Connection, keys: Iterable[HoldKey]) -> dict[HoldKey, PayoutScreening]:
    wanted = sorted(keys)
    rows = conn.execute(_PAYOUTS, [[key.subject for key in wanted], [key.screen_no for key in wanted]])
    return {one.key: one for one in (PayoutScreening(*row) for row in rows)}


_KEYS = "(about, subject, screen_no) IN (SELECT * FROM unnest(%b::text[], %b::text[], %b::int[]))"
_HELD = f"SELECT {HOLDS.select(Hold)} FROM holds WHERE {_KEYS}"
_COUNTED = f"SELECT {REVIEWS.select(Review)} FROM reviews WHERE {_KEYS} AND counts"


def _read_reviews(conn: Connection, state: Screenings, keys: Sequence[HoldKey]) -> None:
    """Holds never change, and a second process with the same review runs into `reviews_counted`: so nothing is locked."""
    columns = [list(column) for column in zip(*keys, strict=True)]
    state.holds = {hold.key: hold for hold in (Hold(*row) for row in conn.execute(_HELD, columns))}
    state.reviews = {one.key: one for one in (Review(*row) for row in conn.execute(_COUNTED, columns))}


# ── save ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


_SCREENED, _PAYOUT_SCREENED, _HOLD = SCREENINGS.insert(), PAYOUT_SCREENINGS.insert(), HOLDS.insert()
_REVIEWED = REVIEWS.insert(otherwise="ON CONFLICT (event_id) DO NOTHING")


def save(conn: Connection, changes: Sequence[Change], *, sealer: Sealer) -> None:
    """A second process with the same screening violates the primary key, and finds this decision when it retries."""
    screenings = [change for change in changes if isinstance(change, Screening)]
    _SCREENED.run(conn, sorted(screenings, key=attrgetter("checkout_id")))
    if len(screenings) < len(changes):
        payouts = (one for one in changes if isinstance(one, PayoutScreening))
        _PAYOUT_SCREENED.run(conn, sorted(payouts, key=attrgetter("key")))
        _HOLD.run(conn, sorted((one for one in changes if isinstance(one, Hold)), key=attrgetter("key")))
        keep_found(conn, [one for one in changes if isinstance(one, Found)])
        _REVIEWED.run(conn, [one for one in changes if isinstance(one, Review)])
        keep_parties(conn, [one for one in changes if isinstance(one, KnownParty)], sealer)
