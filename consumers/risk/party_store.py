"""Parties with their sealed names, and what persons have decided about the entries that they are near."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from consumers.risk.parties import Decisions, Found, KnownParty, Named, Party, judged
from consumers.risk.reviewing import HoldKey
from consumers.risk.watchlist import Watchlist
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.store import text_array
from topics.runtime.shape.table import Column, Table
from topics.sealing import Sealer

HITS = Table(
    "hits",
    Column("about", "text", "key.about", key=True),
    Column("subject", "text", "key.subject", key=True),
    Column("screen_no", "int4", "key.screen_no", key=True),
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

_FOUND = HITS.insert()
_KEPT = PARTIES.insert(otherwise="ON CONFLICT (party) DO NOTHING")
_STORED = "SELECT party FROM parties WHERE party = ANY(%s::text[])"
_DECISIONS = (
    "SELECT h.party, h.list_name, h.entry_id, h.content, r.decision FROM hits h JOIN reviews r"
    " ON r.about = h.about AND r.subject = h.subject AND r.screen_no = h.screen_no AND r.counts"
    " WHERE h.party = ANY(%s::text[]) ORDER BY r.reviewed_at, r.event_id"
)


def read_parties(conn: Connection, named: Mapping[HoldKey, Named], watchlist: Watchlist) -> dict[HoldKey, Party]:
    """What the sanctions lists say of each name, and what persons have decided about that before."""
    parties = {key: watchlist.party(*one) for key, one in named.items()}
    stored = conn.execute(_STORED, [text_array(sorted(set(parties.values())))])
    near = {key: watchlist.near(one.name) for key, one in named.items()}
    hit = sorted({parties[key] for key, hits in near.items() if hits})
    decided = _decisions_on(conn, hit) if hit else {}
    known = {party for (party,) in stored}
    return {key: judged(party, near[key], decided, is_new=party not in known) for key, party in parties.items()}


def _decisions_on(conn: Connection, parties: Sequence[str]) -> Decisions:
    """The last word of a person about each entry that these parties were near; it holds until the entry changes."""
    return {tuple(key): decision for *key, decision in conn.execute(_DECISIONS, [text_array(parties)])}


_NAMES = "SELECT party, about, account, sealed FROM parties WHERE party = ANY(%s::text[])"


def read_names(conn: Connection, parties: Mapping[HoldKey, str | None], watchlist: Watchlist) -> dict[HoldKey, Named]:
    """The stored names of these screenings' parties, those that can be opened."""
    wanted = sorted({party for party in parties.values() if party is not None})
    rows = conn.execute(_NAMES, [text_array(wanted)]).fetchall() if wanted else []
    stored = {
        party: Named(about, account, name)
        for party, about, account, sealed in rows
        if (name := watchlist.opened(party, sealed)) is not None
    }
    return {key: stored[party] for key, party in parties.items() if party in stored}


def keep_found(conn: Connection, found: Sequence[Found]) -> None:
    _FOUND.run(conn, found)


def keep_parties(conn: Connection, known: Sequence[KnownParty], sealer: Sealer) -> None:
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
