"""Risk's tables ⇄ the decider's state: lists by version, screenings without names, holds and their reviews."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from consumers.risk.decide import Change, Found, Heard, KnownParty, Party, Screening, Screenings
from consumers.risk.matching import Hit
from consumers.risk.names import NameList, normalise
from consumers.risk.reviewing import Hold, HoldKey, Review, key_of
from consumers.risk.watchlist import Watchlist, label
from schemas.events import RiskReviewed, ScreeningRequested
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
HOLDS = Table(
    "holds",
    Column("about", "text", key=True),
    Column("subject", "text", key=True),
    Column("screen_no", "int4", key=True),
    Column("rule", "text"),
    Column("score", "int2"),
    Column("list_version", "text"),
    Column("buyer_account", "text"),
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
HITS = Table(
    "hits",
    Column("about", "text", key=True),
    Column("subject", "text", key=True),
    Column("screen_no", "int4", key=True),
    Column("list_name", "text", "hit.list_name", key=True),
    Column("entry_id", "text", "hit.entry_id", key=True),
    Column("content", "text", "hit.content"),
    Column("listed_name", "text", "hit.name"),
    Column("score", "int2", "hit.score"),
    Column("party", "text"),
)
PARTIES = Table(
    "parties",
    Column("party", "text", key=True),
    Column("about", "text"),
    Column("account", "text"),
    Column("sealed", "bytea"),
    Column("screened", "text"),
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


def load(conn: Connection, events: Sequence[Heard], now: datetime, limit: int, watchlist: Watchlist) -> Screenings:
    """What the batch's screenings need; and for reviews, the screenings that they are about."""
    asked = [event for event in events if isinstance(event, ScreeningRequested)]
    state = _read_screenings(conn, asked, now, limit, watchlist) if asked else Screenings()
    wanted = {known.hold().key for known in state.decided.values() if known.outcome == "held"}
    wanted |= {key_of(event) for event in events if isinstance(event, RiskReviewed)}
    if wanted:
        _read_reviews(conn, state, sorted(wanted))
    return state


def _read_screenings(
    conn: Connection, asked: Sequence[ScreeningRequested], now: datetime, limit: int, watchlist: Watchlist
) -> Screenings:
    """Earlier decisions on these checkouts, their buyers' last hour, and which of their names are listed.

    A buyer's checkouts are counted up to `limit`. Two processes may count the same buyer at once, so the limit may be
    exceeded by checkouts in flight; a lock per buyer would cost more.
    """
    names = {event.name: normalise(event.name) for event in asked if event.name is not None}
    screenings = _select_screenings(conn, sorted({event.checkout_id for event in asked}))
    hours = _select_hours(conn, sorted({event.buyer_account for event in asked}), now, limit)
    lists = _select_lists(conn, sorted(set(names.values())))
    decided = {row[0]: Screening(*row) for row in screenings}
    recent = dict(hours.fetchall())
    found = lists.fetchall()
    state = Screenings(decided, recent, *_listed(found, names), current=frozenset(row[0] for row in found))
    imported = [label(name, version) for name, version, _, source in found if source == "import"]
    watchlist.follow(conn, imported)
    if imported:
        state.sanctions = ",".join(watchlist.labels)
        state.parties = _read_parties(conn, asked, watchlist)
    return state


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


def _read_parties(conn: Connection, asked: Sequence[ScreeningRequested], watchlist: Watchlist) -> dict[str, Party]:
    """What the sanctions lists say of each buyer with a name, and what persons have decided about that before."""
    named = {
        one.checkout_id: (watchlist.party("buyer", one.buyer_account, one.name), one.name) for one in asked if one.name
    }
    stored = conn.execute(
        "SELECT party FROM parties WHERE party = ANY(%s::text[])", [text_array(sorted({p for p, _ in named.values()}))]
    )
    near = {checkout_id: watchlist.near(name) for checkout_id, (_, name) in named.items()}
    hit = sorted({named[checkout_id][0] for checkout_id, hits in near.items() if hits})
    decided = decisions_on(conn, hit) if hit else {}
    known = {party for (party,) in stored}
    return {
        checkout_id: judged(party, near[checkout_id], decided, is_new=party not in known)
        for checkout_id, (party, _) in named.items()
    }


Decisions = dict[tuple[str, str, str, str], str]  # party, list, entry, its content → clear or refuse

_DECISIONS = (
    "SELECT h.party, h.list_name, h.entry_id, h.content, r.decision FROM hits h JOIN reviews r"
    " ON r.about = h.about AND r.subject = h.subject AND r.screen_no = h.screen_no AND r.counts"
    " WHERE h.party = ANY(%s::text[]) ORDER BY r.reviewed_at, r.event_id"
)


def decisions_on(conn: Connection, parties: Sequence[str]) -> Decisions:
    """The last word of a person about each entry that these parties were near; it holds until the entry changes."""
    return {tuple(key): decision for *key, decision in conn.execute(_DECISIONS, [text_array(parties)])}


def judged(party: str, hits: Sequence[Hit], decided: Decisions, *, is_new: bool = False) -> Party:
    said = {hit: decided.get((party, hit.list_name, hit.entry_id, hit.content)) for hit in hits}
    refused = next((hit for hit in hits if said[hit] == "refuse"), None)
    return Party(party, tuple(hit for hit in hits if said[hit] is None), refused, is_new)


_KEYS = "(about, subject, screen_no) IN (SELECT * FROM unnest(%b::text[], %b::text[], %b::int[]))"
_HELD = f"SELECT {HOLDS.select(Hold)} FROM holds WHERE {_KEYS}"
_COUNTED = f"SELECT {REVIEWS.select(Review)} FROM reviews WHERE {_KEYS} AND counts"


def _read_reviews(conn: Connection, state: Screenings, keys: Sequence[HoldKey]) -> None:
    """Holds never change, and a second process with the same review runs into `reviews_counted`: so nothing is locked."""
    columns = [list(column) for column in zip(*keys, strict=True)]
    state.holds = {hold.key: hold for hold in (Hold(*row) for row in conn.execute(_HELD, columns))}
    state.reviews = {one.key: one for one in (Review(*row) for row in conn.execute(_COUNTED, columns))}


# ── save ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


_SCREENED, _HOLD, _FOUND = SCREENINGS.insert(), HOLDS.insert(), HITS.insert()
_REVIEWED = REVIEWS.insert(otherwise="ON CONFLICT (event_id) DO NOTHING")
_KEPT = PARTIES.insert(otherwise="ON CONFLICT (party) DO NOTHING")


def save(conn: Connection, changes: Sequence[Change], *, sealer: Sealer) -> None:
    """A second process with the same checkout violates the primary key, and finds this decision when it retries."""
    screenings = [change for change in changes if isinstance(change, Screening)]
    _SCREENED.run(conn, sorted(screenings, key=attrgetter("checkout_id")))
    if len(screenings) < len(changes):
        _HOLD.run(conn, sorted((one for one in changes if isinstance(one, Hold)), key=attrgetter("key")))
        _FOUND.run(conn, [one for one in changes if isinstance(one, Found)])
        _REVIEWED.run(conn, [one for one in changes if isinstance(one, Review)])
        _keep_parties(conn, [one for one in changes if isinstance(one, KnownParty)], sealer)


def keep_found(conn: Connection, found: Sequence[Found]) -> None:
    _FOUND.run(conn, found)


def _keep_parties(conn: Connection, known: Sequence[KnownParty], sealer: Sealer) -> None:
    """Names are sealed, each bound to its party. Sorted, so that two processes with the same parties cannot deadlock."""
    new = [by_party[1] for by_party in sorted({one.party: one for one in known}.items())]
    if new:
        _KEPT.run_columns(
            conn,
            party=[one.party for one in new],
            about=[one.about for one in new],
            account=[one.account for one in new],
            sealed=[sealer.seal(one.name, one.party) for one in new],
            screened=[one.screened for one in new],
        )
