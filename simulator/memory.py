"""Charges → SQLite, many in one commit. Callers are answered after the commit, so a kill -9 loses no answered charge."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from simulator.clock import machine_us

T = TypeVar("T")
FirstStatus = Literal["pending", "declined", "authorised", "reversed", "succeeded"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS charges (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    psp TEXT NOT NULL,
    key TEXT NOT NULL,
    reference TEXT NOT NULL,
    order_id TEXT NOT NULL,
    amount INTEGER NOT NULL,        -- minor units by the PSP's own exponents
    currency TEXT NOT NULL,
    token TEXT NOT NULL,
    scheme TEXT,
    decline_code TEXT,              -- NULL: succeeded
    created_at INTEGER NOT NULL,    -- microseconds, by the clock that can be moved
    visible_at INTEGER NOT NULL,    -- microseconds, by the machine's clock: look-ups and listings miss it before
    decided_at INTEGER NOT NULL DEFAULT 0, -- microseconds, by the clock that can be moved: pending before
    capture_until INTEGER NOT NULL DEFAULT 0, -- 0: the money is taken at once; else microseconds, by the same clock
    reversed INTEGER NOT NULL DEFAULT 0,   -- taken, and taken back
    return_url TEXT NOT NULL DEFAULT '',   -- where the page sends the buyer back to; '': there is no page
    page_url TEXT NOT NULL DEFAULT ''      -- where the buyer pays
);
CREATE INDEX IF NOT EXISTS charges_by_reference ON charges (reference);
-- Callers mostly use one id for both: an index for the rest alone halves what a charge writes.
CREATE INDEX IF NOT EXISTS charges_by_other_key ON charges (key) WHERE key <> reference;
CREATE TABLE IF NOT EXISTS first_tries (psp TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (psp, key)) WITHOUT ROWID;
"""
_COLUMNS = (
    "seq, id, psp, key, reference, order_id, amount, currency, token, scheme, decline_code, created_at, visible_at,"
    " decided_at, capture_until, reversed, return_url, page_url"
)
_LATER_COLUMNS = {
    **dict.fromkeys(("decided_at", "capture_until", "reversed"), "INTEGER NOT NULL DEFAULT 0"),
    **dict.fromkeys(("return_url", "page_url"), "TEXT NOT NULL DEFAULT ''"),
}
_INSERT = f"INSERT INTO charges ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
_BY_KEY = f"""
SELECT * FROM (
    SELECT {_COLUMNS} FROM charges WHERE reference=:key AND key=:key AND psp=:psp AND created_at>:since
    UNION ALL
    SELECT {_COLUMNS} FROM charges WHERE key=:key AND key<>reference AND psp=:psp AND created_at>:since
) ORDER BY seq DESC LIMIT 1
"""
_BY_REFERENCE = f"SELECT {_COLUMNS} FROM charges WHERE reference=? AND psp=? AND visible_at<=? ORDER BY seq"
_PAGE = f"SELECT {_COLUMNS} FROM charges WHERE seq>? AND psp=? AND visible_at<=? ORDER BY seq LIMIT ?"
_UNDECIDED = f"SELECT {_COLUMNS} FROM charges WHERE decided_at>? AND page_url='' ORDER BY seq"
_ON_PAGES = f"SELECT {_COLUMNS} FROM charges WHERE decided_at>? AND page_url<>'' ORDER BY seq"
_COUNTS = "SELECT psp, decline_code IS NULL, count(*) FROM charges GROUP BY 1, 2"
_NEWEST = f"SELECT {_COLUMNS} FROM charges ORDER BY seq DESC LIMIT ?"
_ALL_BY_REFERENCE = f"SELECT {_COLUMNS} FROM charges WHERE reference=? OR order_id=? ORDER BY seq"
_COMMIT_AT_MOST = 2000


@dataclass(frozen=True, slots=True)
class ChargeRequest:
    """A caller's request: the fields by which two requests are the same."""

    key: str
    reference: str
    order_id: str
    amount: int
    currency: str
    token: str
    capture: bool = True  # False: authorise, to be captured later
    return_url: str = ""  # not empty: the buyer pays on a page, which sends them back there


@dataclass(frozen=True, slots=True)
class Charge:
    """A row of the PSP's books."""

    seq: int
    id: str
    psp: str
    key: str
    reference: str
    order_id: str
    amount: int
    currency: str
    token: str
    scheme: str | None
    decline_code: str | None
    created_at: int
    visible_at: int
    decided_at: int
    capture_until: int = 0
    reversed: int = 0
    return_url: str = ""
    page_url: str = ""

    def pending(self, now_us: int) -> bool:
        return now_us < self.decided_at

    @property
    def manual(self) -> bool:
        """Whether the caller captures the charge later."""
        return self.capture_until > 0

    def first_status(self, now_us: int) -> FirstStatus:
        """The charge's status before any operation."""
        if self.pending(now_us):
            return "pending"
        if self.decline_code:
            return "declined"
        if self.manual:
            return "authorised"
        return "reversed" if self.reversed else "succeeded"

    def answers(self, asked: ChargeRequest) -> bool:
        """Whether the charge is the requested one, and not another under the same key."""
        mine = (self.reference, self.order_id, self.amount, self.currency, self.token, not self.manual, self.return_url)
        wanted = (asked.reference, asked.order_id, asked.amount, asked.currency, asked.token, asked.capture)
        return mine == (*wanted, asked.return_url)


@dataclass(frozen=True, slots=True)
class Kept:
    """A charge in the books, and whether an earlier request made it."""

    charge: Charge
    replayed: bool


class Memory:
    """The books. Statements run on the event loop (microseconds each); the commit, with its fsync, runs in a thread.

    Work that arrives during a commit waits for the next one: group commit without a timer.
    """

    def __init__(self, file: Path) -> None:
        self.writing = _connect(file)
        self.writing.executescript(_SCHEMA)
        _add_columns(self.writing)
        self.reading = _connect(file)
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._arrived = asyncio.Event()
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._next_seq: int = self.writing.execute("SELECT coalesce(max(seq), 0) + 1 FROM charges").fetchone()[0]

    async def run(self) -> None:
        """Commit arriving work until cancelled."""
        while True:
            await self._arrived.wait()
            batch, self._waiting = self._waiting[:_COMMIT_AT_MOST], self._waiting[_COMMIT_AT_MOST:]
            if not self._waiting:
                self._arrived.clear()
            results = await self._written(batch)
            for (_, answered), result in zip(batch, results, strict=True):
                _answer(answered, result)

    async def _written(self, batch: list[tuple[Callable[[], Any], asyncio.Future[Any]]]) -> list[Any]:
        """The outcome of each piece of work after their common commit; if the commit fails, its error for each."""
        commit = asyncio.get_running_loop().run_in_executor
        try:
            self.writing.execute("BEGIN IMMEDIATE")
            results = [_outcome(work) for work, _ in batch]
            await commit(self._committer, self.writing.execute, "COMMIT")
        except sqlite3.Error as error:
            if self.writing.in_transaction:
                self.writing.execute("ROLLBACK")
            return [error] * len(batch)
        return results

    async def commit(self, work: Callable[[], T]) -> T:
        answered: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, answered))
        self._arrived.set()
        return await answered

    async def first_try(self, psp: str, key: str) -> bool:
        """Whether the key is new, for cards that fail once."""
        statement = "INSERT OR IGNORE INTO first_tries VALUES (?,?)"
        return await self.commit(lambda: self.writing.execute(statement, (psp, key)).rowcount == 1)

    async def charge(
        self,
        psp: str,
        asked: ChargeRequest,
        *,
        scheme: str | None,
        decline_code: str | None,
        now_us: int,
        key_life_us: int,
        hidden_us: int,
        decided_us: int = 0,
        authorised_us: int = 0,
        pages_url: str = "",
    ) -> Kept:
        """The charge under this key if the PSP still knows the key, else a new one."""

        def work() -> Kept:
            known = self._by_key(asked.key, psp, now_us - key_life_us)
            if known:
                return Kept(known, replayed=True)
            seq = self._draw_seq()
            id_ = new_id(seq)
            charge = Charge(
                seq, id_, psp, asked.key, asked.reference, asked.order_id, asked.amount, asked.currency,
                asked.token, scheme, decline_code, now_us, machine_us() + hidden_us,
                now_us + decided_us if decided_us else 0, 0 if asked.capture else now_us + authorised_us,
                return_url=asked.return_url, page_url=f"{pages_url}/{id_}" if asked.return_url else "",
            )  # fmt: skip
            self.writing.execute(_INSERT, _row(charge))
            return Kept(charge, replayed=False)

        return await self.commit(work)

    def _by_key(self, key: str, psp: str, since_us: int) -> Charge | None:
        row = self.writing.execute(_BY_KEY, {"key": key, "psp": psp, "since": since_us}).fetchone()
        return Charge(*row) if row else None

    def charge_of_id(self, psp: str, charge_id: str, books: sqlite3.Connection | None = None) -> Charge | None:
        """The charge, as the open transaction sees it, or as `books` do."""
        seq = seq_of(charge_id)
        row = (
            (books or self.writing)
            .execute(f"SELECT {_COLUMNS} FROM charges WHERE seq=? AND psp=?", (seq, psp))
            .fetchone()
        )
        charge = Charge(*row) if row else None
        return charge if charge and charge.id == charge_id else None

    def put_paid(self, charge: Charge, scheme: str | None, decline_code: str | None, now_us: int) -> Charge:
        """Decide a charge that waits for its buyer, in the open transaction."""
        values = (scheme, decline_code, now_us, charge.seq)
        self.writing.execute("UPDATE charges SET scheme=?, decline_code=?, decided_at=? WHERE seq=?", values)
        return replace(charge, scheme=scheme, decline_code=decline_code, decided_at=now_us)

    def put_reversed(self, charge: Charge, is_reversed: bool) -> Charge:
        """Set the charge's reversal in the open transaction."""
        self.writing.execute("UPDATE charges SET reversed=? WHERE seq=?", (int(is_reversed), charge.seq))
        return replace(charge, reversed=int(is_reversed))

    async def preload(self, charges: Sequence[tuple[str, ChargeRequest, str | None, str | None, int]]) -> list[str]:
        """Insert history (psp, asked, scheme, decline code, created_at) at once. → the new ids in the same order"""

        def work() -> list[str]:
            rows = [self._history_row(*charge) for charge in charges]
            self.writing.executemany(_INSERT, rows)
            return [str(row[1]) for row in rows]

        return await self.commit(work)

    def _history_row(
        self, psp: str, asked: ChargeRequest, scheme: str | None, decline: str | None, created_at: int
    ) -> tuple[object, ...]:
        seq = self._draw_seq()
        wanted = (asked.key, asked.reference, asked.order_id, asked.amount, asked.currency, asked.token)
        return (seq, new_id(seq), psp, *wanted, scheme, decline, created_at, 0, 0, 0, 0, "", "")

    def _draw_seq(self) -> int:
        seq = self._next_seq
        self._next_seq += 1
        return seq

    def find(self, psp: str, reference: str) -> list[Charge]:
        """The charges of a PSP with this reference that look-ups can see by now."""
        return _charges(self.reading.execute(_BY_REFERENCE, (reference, psp, machine_us())))

    def page(self, psp: str, after_seq: int, limit: int) -> tuple[list[Charge], bool]:
        """Charges of a PSP in the order of their creation, and whether there are more."""
        found = _charges(self.reading.execute(_PAGE, (after_seq, psp, machine_us(), limit + 1)))
        return found[:limit], len(found) > limit

    def undecided(self, now_us: int) -> list[Charge]:
        """The pending charges that are decided by time alone."""
        return _charges(self.reading.execute(_UNDECIDED, (now_us,)))

    def on_pages(self, now_us: int) -> list[Charge]:
        """The pending charges that their buyers decide."""
        return _charges(self.reading.execute(_ON_PAGES, (now_us,)))

    def newest(self, limit: int) -> list[Charge]:
        return _charges(self.reading.execute(_NEWEST, (limit,)))

    def known_as(self, reference_or_order: str) -> list[Charge]:
        """All charges with this reference or order id, hidden ones included: for people only."""
        return _charges(self.reading.execute(_ALL_BY_REFERENCE, (reference_or_order, reference_or_order)))

    def counts(self) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {}
        for psp, succeeded, number in self.reading.execute(_COUNTS):
            counts.setdefault(psp, {})["succeeded" if succeeded else "declined"] = number
        return counts

    def close(self) -> None:
        self._committer.shutdown()
        self.writing.close()
        self.reading.close()


def _connect(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA wal_autocheckpoint=8000")  # in pages: a page that is written often is copied back once
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA busy_timeout=5000")
    connection.execute("PRAGMA cache_size=-32768")
    return connection


def _add_columns(connection: sqlite3.Connection) -> None:
    """Add the columns that books of earlier releases lack."""
    there = {row[1] for row in connection.execute("PRAGMA table_info(charges)")}
    for name, kind in _LATER_COLUMNS.items():
        if name not in there:
            connection.execute(f"ALTER TABLE charges ADD COLUMN {name} {kind}")


def _outcome(work: Callable[[], T]) -> T | Exception:
    """The result or Refused of a piece of work. Work checks before it writes, so a refused one has written nothing."""
    try:
        return work()
    except Exception as error:
        return error


def _answer(answered: asyncio.Future[T], result: T | Exception) -> None:
    if answered.done():  # the caller has hung up; the charge stays
        return
    if isinstance(result, Exception):
        answered.set_exception(result)
    else:
        answered.set_result(result)


def _charges(rows: Iterable[Sequence[Any]]) -> list[Charge]:
    return [Charge(*row) for row in rows]


def _row(charge: Charge) -> tuple[object, ...]:
    return (
        charge.seq, charge.id, charge.psp, charge.key, charge.reference, charge.order_id, charge.amount,
        charge.currency, charge.token, charge.scheme, charge.decline_code, charge.created_at, charge.visible_at,
        charge.decided_at, charge.capture_until, charge.reversed, charge.return_url, charge.page_url,
    )  # fmt: skip


def new_id(seq: int) -> str:
    """A charge id. Ids sort in the order of creation, and the next one cannot be guessed."""
    return f"{seq:012x}{secrets.token_hex(6)}"


def seq_of(charge_id: str) -> int | None:
    """A charge's place in the listing, from its id; None if the text is no such id."""
    try:
        return int(charge_id[:12], 16) if len(charge_id) == 24 else None
    except ValueError:
        return None
