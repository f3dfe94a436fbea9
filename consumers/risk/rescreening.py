"""A new version of a sanctions list → the known sellers and buyers screened again, some at a time, in a process's upkeep.

Who is near an entry that nobody has decided about waits for a person; whatever that person decides holds for the next payments
and pay-outs. What was paid before stays as it is. A seller's pay-outs that were cleared a short time ago, and may not have been
released yet, are screened again themselves (payout_screening.screen_again).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, LiteralString, NamedTuple

from consumers.risk.matching import Hit
from consumers.risk.parties import AccountKind, Found
from consumers.risk.party_store import keep_found
from consumers.risk.payout_screening import again
from consumers.risk.reviewing import HoldKey
from consumers.risk.watchlist import Watchlist, label
from schemas.envelope import derive_id
from topics.runtime.calls import timers
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.limits import Retention
from topics.runtime.shape.store import text_array

AT_ONCE = 200  # parties of a transaction
SLICES = 25  # of one round of upkeep, which has other work too
REST = 4.0  # times as long as the last slice took, so that payments have the process for themselves
# Of its clearance a pay-out has left, or is screened anew: screening_life_s and release_life_s are a day each at most.
LEFT_WITHIN = timedelta(days=2)

_LISTS = "SELECT name, version FROM lists WHERE current AND source = 'import' ORDER BY name"
_PARTIES: LiteralString = "SELECT party, account, sealed FROM parties WHERE about = %s AND screened "
_NEXT: LiteralString = " %s ORDER BY screened, party LIMIT %s FOR UPDATE SKIP LOCKED"
_BEFORE, _BEHIND = _PARTIES + "<" + _NEXT, _PARTIES + ">" + _NEXT  # two ranges of an index
_ASKED = "SELECT party, list_name, entry_id, content FROM hits WHERE party = ANY(%s::text[])"
_SCREENED = "UPDATE parties SET screened = %s WHERE party = ANY(%s::text[])"
_HELD = (
    "INSERT INTO holds (about, subject, screen_no, rule, score, list_version, buyer_account, seller_account, held_at)"
    " SELECT %(about)s, %(account)s, coalesce(max(screen_no), 0) + 1, 'near_hit', %(score)s, %(list)s,"
    " CASE %(about)s WHEN 'buyer' THEN %(account)s END, CASE %(about)s WHEN 'seller' THEN %(account)s END, %(now)s"
    " FROM holds WHERE about = %(about)s AND subject = %(account)s ON CONFLICT DO NOTHING RETURNING screen_no"
)
# By the rules, and by a person; the rules' clearances can be held and reviewed themselves.
_CLEARED = (
    "SELECT s.payout_id, s.screen_no, h.subject IS NULL FROM payout_screenings s"
    " LEFT JOIN holds h ON h.about = 'payout' AND h.subject = s.payout_id AND h.screen_no = s.screen_no"
    " LEFT JOIN reviews r ON r.about = 'payout' AND r.subject = s.payout_id AND r.screen_no = s.screen_no AND r.counts"
    " WHERE s.party = %(party)s AND CASE WHEN h.subject IS NULL THEN s.outcome = 'cleared' AND s.decided_at > %(since)s"
    " ELSE r.decision = 'clear' AND r.reviewed_at > %(since)s END"
)


class _Known(NamedTuple):
    party: str
    account: str
    sealed: bytes


class Rescreening:
    """A chore of upkeep: screens the next buyers against the current lists."""

    def __init__(self, watchlist: Watchlist) -> None:
        self._watchlist = watchlist
        self._took_s = 0.0
        self._done = 0

    def __call__(self, conn: Connection, retention: Retention, now: datetime) -> int:
        """One slice. → how many buyers it screened; 0 where all are screened, or others want their turn."""
        if self._done == SLICES:
            self._done, self._took_s = 0, 0.0
            return 0
        time.sleep(min(REST * self._took_s, 2.0))  # no transaction has begun
        began = time.monotonic()
        screened = self._screen(conn, now)
        self._took_s, self._done = (time.monotonic() - began, self._done + 1) if screened else (0.0, 0)
        return screened

    def _screen(self, conn: Connection, now: datetime) -> int:
        current = [label(*row) for row in conn.execute(_LISTS)]
        if not current:
            return 0
        self._watchlist.follow(conn, current)
        return self._screen_next(conn, "seller", now) or self._screen_next(conn, "buyer", now)

    def _screen_next(self, conn: Connection, about: AccountKind, now: datetime) -> int:
        lists = ",".join(self._watchlist.labels)
        asked = [about, lists, AT_ONCE]
        known = [_Known(*row) for row in conn.execute(_BEFORE, asked).fetchall() or conn.execute(_BEHIND, asked)]
        near = {one: hits for one in known if (hits := self._near(one))}
        late = _hold_near(conn, about, near, lists, now) if near else set()
        parties = sorted({one.party for one in known} - late)
        conn.execute(_SCREENED, [lists, text_array(parties)])
        return len(parties)

    def _near(self, known: _Known) -> tuple[Hit, ...]:
        name = self._watchlist.opened(known.party, known.sealed)
        return () if name is None else self._watchlist.near(name)


def _hold_near(
    conn: Connection, about: AccountKind, near: Mapping[_Known, tuple[Hit, ...]], lists: str, now: datetime
) -> set[str]:
    """→ the parties that are not done, since another process holds the same account at this moment."""
    asked = {tuple(row) for row in conn.execute(_ASKED, [text_array(sorted(one.party for one in near))])}
    late = set()
    for known, hits in near.items():
        new = _new(known.party, hits, asked)
        asks_itself = about == "seller" and _screen_payouts(conn, known, lists, now)
        if new and not asks_itself and not _hold(conn, about, known, new, now):
            late.add(known.party)
    return late


def _new(party: str, hits: Sequence[Hit], asked: set[tuple[Any, ...]]) -> list[Hit]:
    """Those that no person was asked about yet, or not as the entry is now."""
    return [hit for hit in hits if (party, hit.list_name, hit.entry_id, hit.content) not in asked]


def _screen_payouts(conn: Connection, known: _Known, lists: str, now: datetime) -> bool:
    """Screen again what was cleared for this party and may not have left, also where others of its screenings have asked
    about the new entry. → whether any of these asks a person itself.
    """
    rows = conn.execute(_CLEARED, {"party": known.party, "since": now - LEFT_WITHIN}).fetchall()
    now_ms = int(now.timestamp() * 1000)
    due = [again(HoldKey("payout", payout_id, screen_no), now) for payout_id, screen_no, _ in rows]
    timers.save(conn, [(one, derive_id(f"{one.key} {lists}", "rescreening", 0, now_ms)) for one in due])
    return any(by_rules for *_, by_rules in rows)


def _hold(conn: Connection, about: AccountKind, known: _Known, hits: Sequence[Hit], now: datetime) -> bool:
    """→ whether it is done: not where another process holds the same account at this moment."""
    nearest = max(hits, key=attrgetter("score"))
    held = {"about": about, "account": known.account, "score": nearest.score, "list": nearest.list_name, "now": now}
    made = conn.execute(_HELD, held).fetchone()
    if made is None:
        return False
    keep_found(conn, [Found(HoldKey(about, known.account, made[0]), known.party, hit) for hit in hits])
    return True
