"""A new version of a sanctions list → the known buyers screened again, some at a time, in a process's upkeep.

A buyer who is near an entry that nobody has decided about waits for a person; whatever that person decides holds for the
buyer's next payments. What was paid before stays as it is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, LiteralString

import structlog

from consumers.risk import store
from consumers.risk.decide import Found
from consumers.risk.matching import Hit
from consumers.risk.watchlist import Watchlist, label
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.limits import Retention
from topics.runtime.shape.store import text_array
from topics.sealing import Broken

log = structlog.get_logger()

AT_ONCE = 200  # buyers of a transaction
SLICES = 25  # of one round of upkeep, which has other work too
REST = 4.0  # times as long as the last slice took, so that payments have the process for themselves

_LISTS = "SELECT name, version FROM lists WHERE current AND source = 'import' ORDER BY name"
_BUYERS: LiteralString = "SELECT party, account, sealed FROM parties WHERE about = 'buyer' AND screened "
_NEXT: LiteralString = " %s ORDER BY screened, party LIMIT %s FOR UPDATE SKIP LOCKED"
_BEFORE, _BEHIND = _BUYERS + "<" + _NEXT, _BUYERS + ">" + _NEXT  # two ranges of an index
_ASKED = "SELECT party, list_name, entry_id, content FROM hits WHERE party = ANY(%s::text[])"
_SCREENED = "UPDATE parties SET screened = %s WHERE party = ANY(%s::text[])"
_HELD = (
    "INSERT INTO holds (about, subject, screen_no, rule, score, list_version, buyer_account, held_at)"
    " SELECT 'buyer', %s, coalesce(max(screen_no), 0) + 1, 'near_hit', %s, %s, %s, %s FROM holds"
    " WHERE about = 'buyer' AND subject = %s ON CONFLICT DO NOTHING RETURNING screen_no"
)


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
        lists = ",".join(self._watchlist.labels)
        buyers = (
            conn.execute(_BEFORE, [lists, AT_ONCE]).fetchall() or conn.execute(_BEHIND, [lists, AT_ONCE]).fetchall()
        )
        near = {row[0]: (row, hits) for row in buyers if (hits := self._near(*row))}
        parties = sorted(row[0] for row in buyers)
        if near:
            asked = {tuple(row) for row in conn.execute(_ASKED, [text_array(sorted(near))])}
            late = {party for party, (row, hits) in near.items() if not _hold(conn, row, _new(party, hits, asked), now)}
            parties = [party for party in parties if party not in late]
        conn.execute(_SCREENED, [lists, text_array(parties)])
        return len(parties)

    def _near(self, party: str, account: str, sealed: bytes) -> tuple[Hit, ...]:
        try:
            return self._watchlist.near(self._watchlist.sealer.open(bytes(sealed), party))
        except Broken as broken:  # the installation's secret was changed: this party is met no more, under this hash
            log.warning("a buyer's name cannot be opened", action="rescreen", error=str(broken))
            return ()


def _new(party: str, hits: Sequence[Hit], asked: set[tuple[Any, ...]]) -> list[Hit]:
    """Those that no person was asked about yet, or not as the entry is now."""
    return [hit for hit in hits if (party, hit.list_name, hit.entry_id, hit.content) not in asked]


def _hold(conn: Connection, row: tuple[Any, ...], hits: Sequence[Hit], now: datetime) -> bool:
    """→ whether it is done: not where another process holds the same account at this moment."""
    if not hits:
        return True
    party, account, _ = row
    nearest = max(hits, key=attrgetter("score"))
    made = conn.execute(_HELD, [account, nearest.score, nearest.list_name, account, now, account]).fetchone()
    if made is None:
        return False
    store.keep_found(conn, [Found("buyer", account, made[0], party, hit) for hit in hits])
    return True
