"""Files of lines as the readers say them, and a room of reconciliation that hears them, for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from reconciliation.consumer import build
from reconciliation.formats import keys
from reconciliation.schedule_watch import set_timers
from schemas.events import AnyEvent
from schemas.money import Money
from schemas.settlements import (
    ClaimedTotal,
    LineColumns,
    NamedPayout,
    Settled,
    SettlementFileStored,
    SettlementLines,
    SettlementLinesEnded,
)
from tests.store.hearing import NOW, Hearing, _read
from topics.runtime.delivery.fire import fire
from topics.settings import Settings
from topics.settlement_sources import SettlementSource

ADYEN = SettlementSource(name="adyen-eu", psp="northpay", bank_account="main", lag_days=2, grace_days=2)
SECOND = SettlementSource(name="south-eu", psp="southpay", bank_account="main")
BANK = SettlementSource(name="bank-main", kind="bank", bank_account="main", grace_days=2)
SOURCES = (ADYEN, SECOND, BANK)


@dataclass(frozen=True)
class Row:
    """One line of a file, in minor units. A pay-out has no key."""

    key: str
    gross: int
    fee: int = 0
    kind: str = "c"
    settlement: str = "238"
    currency: str = "EUR"
    net_currency: str = ""
    net: int | None = None
    name: str = ""  # what names the row; empty: its content
    parts: tuple[int, ...] = (0, 0, 0, 0, 0)  # of the fee: commission, markup, scheme, interchange, tax
    day: date = date(2026, 1, 5)
    psp_ref: str = ""
    order: str = ""

    @property
    def digest(self) -> int:
        return keys.digest(self.name or repr(self))


def call_id(number: int) -> str:
    return f"{number:032x}"


@dataclass(frozen=True)
class Report:
    """A file: its lines, and what it claims of each settlement."""

    rows: tuple[Row, ...]
    claims: tuple[tuple[str, str, int], ...] = ()  # settlement, currency, minor units
    source: SettlementSource = ADYEN
    identity: str = ""
    version: str = ""
    mode: str = "replace"
    opening: int | None = None
    name: str = ""
    payouts: tuple[tuple[str, int], ...] = ()  # by the bank's reference
    kept: int = 0
    days: tuple[str, str] | None = None  # the first and the last one of the file, ISO 8601
    reader: str = "test:1"
    sequence: int | None = None

    @property
    def file_id(self) -> str:
        return hashlib.sha256(repr(self).encode()).hexdigest()

    @property
    def psp(self) -> str:
        return self.source.psp if self.source.kind == "psp" else self.source.bank_account

    def stored(self) -> SettlementFileStored:
        return SettlementFileStored(
            source=self.source.name, file_id=self.file_id, upload_id="u", name="f.csv", size=1, received_at=NOW
        )

    def chunks(self, size: int = 500) -> list[SettlementLines]:
        return [
            self._chunk(number, self.rows[at : at + size]) for number, at in enumerate(range(0, len(self.rows), size))
        ]

    def _chunk(self, number: int, rows: Sequence[Row]) -> SettlementLines:
        settlements = tuple(dict.fromkeys(row.settlement for row in rows if row.settlement))
        currencies = tuple(dict.fromkeys([c for row in rows for c in (row.currency, row.net_currency or row.currency)]))
        zeros = [0] * len(rows)
        return SettlementLines(
            lane=f"{self.source.name}/{number % 2}",
            source=self.source.name,
            psp=self.psp,
            file_id=self.file_id,
            reader=self.reader,
            chunk=number,
            first_line=1,
            first_byte=0,
            last_byte=0,
            scale=0,
            settlements=settlements,
            currencies=currencies,
            lines=LineColumns(
                kinds="".join(row.kind for row in rows),
                keys="".join(row.key or "0" * 32 for row in rows),
                psp_refs=[row.psp_ref for row in rows],
                order_refs=[row.order for row in rows],
                settlements=[settlements.index(row.settlement) if row.settlement else -1 for row in rows],
                gross=[row.gross for row in rows],
                gross_currencies=[currencies.index(row.currency) for row in rows],
                net=[row.gross - row.fee if row.net is None else row.net for row in rows],
                net_currencies=[currencies.index(row.net_currency or row.currency) for row in rows],
                fees=[row.fee for row in rows],
                commissions=[row.parts[0] for row in rows],
                markups=[row.parts[1] for row in rows],
                scheme_fees=[row.parts[2] for row in rows],
                interchange=[row.parts[3] for row in rows],
                taxes=[row.parts[4] for row in rows],
                rates=["" for _ in rows],
                at=zeros,
                value_days=[(row.day - date(1970, 1, 1)).days for row in rows],
                digests=[row.digest for row in rows],
            ),
        )

    def ended(self, chunk_size: int = 500) -> SettlementLinesEnded:
        return SettlementLinesEnded(
            lane=f"{self.source.name}/0",
            source=self.source.name,
            psp=self.psp,
            file_id=self.file_id,
            reader=self.reader,
            chunks=len(self.chunks(chunk_size)),
            lines=len(self.rows),
            claims=tuple(self._claim(*claim) for claim in self.claims),
        )

    def _claim(self, settlement: str, currency: str, minor: int) -> ClaimedTotal:
        opening = None if self.opening is None else Money(self.opening, currency)
        payouts = tuple(NamedPayout(reference, Money(paid, currency)) for reference, paid in self.payouts)
        kept = Money(self.kept, currency)
        return ClaimedTotal(settlement, Money(minor, currency), opening, "2026-01-05", kept, payouts or None)


def paid_out(rows: Sequence[Row], settlement: str = "238", currency: str = "EUR", **rest: Any) -> Report:
    """A report whose pay-out line, and whose claim, are what its lines add up to."""
    total = sum(row.gross - row.fee for row in rows)
    payout = Row("", -total, kind="p", settlement=settlement, currency=currency)
    return Report((*rows, payout), ((settlement, currency, total),), **rest)


def numbered(number: int, rows: Sequence[Row], **rest: Any) -> Report:
    """Adyen's batch of that number, read by its reader."""
    return paid_out(rows, str(number), reader="adyen:1", sequence=number, **rest)


class Room(Hearing):
    """One process of the room, with a clock that tests move."""

    def __init__(self, settings: Settings, sources: Sequence[SettlementSource] = SOURCES, name: str = "a") -> None:
        configured = settings.model_copy(update={"settlement_sources": tuple(sources)})
        super().__init__(configured, build(configured), name)
        self.after = timedelta(0)

    def now(self) -> datetime:
        return NOW + self.after

    def hear(self, *events: AnyEvent, said_at: datetime | None = None) -> list[AnyEvent]:
        return self.hears(*events, after=self.after, said_at=said_at)

    def reads(self, report: Report, size: int = 500) -> None:
        """As a reader does: the file is gated, its chunks and its close are said."""
        self.hear(report.stored())
        self.gated(report)
        for chunk in report.chunks(size):
            self.hear(chunk)
        self.hear(report.ended(size))

    def gated(self, report: Report) -> None:
        with self.store.transaction() as conn:
            first, last = report.days or (None, None)
            conn.execute(
                "UPDATE files SET state = 'gated', reader = %s, mode = %s, identity = %s, version = %s, sequence = %s,"
                " first_day = %s, last_day = %s WHERE file_id = %s AND state = 'received'",
                [
                    report.reader,
                    report.mode,
                    report.identity or report.file_id,
                    report.version,
                    report.sequence,
                    first,
                    last,
                    report.file_id,
                ],
            )

    def refused(self, report: Report, code: str) -> None:
        """As a reader does with a file that does not pass the gate."""
        self.hear(report.stored())
        with self.store.transaction() as conn:
            conn.execute(
                "UPDATE files SET state = 'quarantined', why = %s, refusal = %s WHERE file_id = %s",
                [code, f'{{"code": "{code}"}}', report.file_id],
            )

    def misses_files(self, after: timedelta = timedelta(0)) -> None:
        """Time goes on, and the schedules are looked at."""
        self.after += after
        with self.store.transaction() as conn:
            set_timers(conn, self.settings.settlement_sources, set(), self.now())
        self.settles()

    def hear_each(self, events: Sequence[AnyEvent]) -> None:
        """A batch for each."""
        for event in events:
            self.hear(event)

    def settles(self, after: timedelta = timedelta(0)) -> list[Settled]:
        """Fire what is due, and what is due in some seconds, until nothing is."""
        self.after += after
        said: list[Settled] = []
        for _ in range(60):
            fired, more = self.fires()
            said += more
            if not fired:
                if not self._waits():
                    break
                self.after += timedelta(seconds=1)
        return said

    def fires(self) -> tuple[int, list[Settled]]:
        """Fire what is due. → how many timers, what the room said"""
        fired, said = 0, list[Settled]()
        with self.store.transaction() as conn:
            conn.execute("DELETE FROM leases")  # of another process that has fired them last
        for applied in fire(self.store, self.consumer, self.name, self.now()):
            fired += applied.messages
            events = list(_read(applied.rows))
            self.said += events
            said += [event for event in events if isinstance(event, Settled)]
            self.dead += applied.dead
            self._published([row.id for row in applied.rows])
        return fired, said

    def _waits(self) -> bool:
        """Whether a timer is due within seconds: a sweep, or a file whose lines are not all in."""
        with self.store.transaction() as conn:
            row = conn.execute(
                "SELECT 1 FROM timers WHERE due_at <= %s LIMIT 1", [self.now() + timedelta(seconds=11)]
            ).fetchone()
        return row is not None

    def heard_all(self) -> None:
        """All that the executor has published until now is heard."""
        with self.store.transaction() as conn:
            conn.execute(
                "INSERT INTO heard (one, until) VALUES (true, %s) ON CONFLICT (one) DO UPDATE SET until = excluded.until",
                [self.now()],
            )

    def breaks(self) -> set[tuple[str, str]]:
        """Open ones: code, item."""
        rows = self.rows(
            "SELECT b.code, i.item FROM break_view b JOIN break_item_view i USING (break_id) WHERE i.closed_at IS NULL"
        )
        return {(row["code"], row["item"]) for row in rows}

    def tallies(self) -> dict[tuple[str, str, str, str], tuple[int, int, int]]:
        """Expected, settled, fee by PSP, kind, key and currency. Tallies of nothing are left out."""
        rows = self.rows(
            "SELECT psp, kind, replace(key, '-', '') AS key, currency, expected, settled, fee FROM tally_view"
        )
        found = {tuple(row.values())[:4]: tuple(row.values())[4:] for row in rows}
        return {key: amounts for key, amounts in found.items() if any(amounts)}

    def kept_sums(self) -> set[tuple[object, ...]]:
        """What reports read of tallies."""
        return _amounts(self.rows(_KEPT))

    def counted_sums(self) -> set[tuple[object, ...]]:
        """The same, counted from the tallies."""
        return _amounts(self.rows(_COUNTED))

    def booked(self) -> dict[str, dict[str, int]]:
        rows = self.rows(
            "SELECT source || '/' || settlement || '/' || currency AS subject, booked FROM settlement_view"
        )
        return {row["subject"]: row["booked"] for row in rows if row["booked"]}


_KEPT = """
SELECT psp, kind, currency, known, due, sum(tallies) AS tallies, sum(plus) AS plus, sum(minus) AS minus,
       sum(expected) AS expected FROM tally_sum_view GROUP BY 1, 2, 3, 4, 5
"""
_COUNTED = """
SELECT psp, kind, currency, facts > 0 AS known, CASE WHEN open <> 0 THEN due END AS due,
       count(*) FILTER (WHERE open <> 0) AS tallies, sum(greatest(open, 0)) AS plus, sum(least(open, 0)) AS minus,
       sum(expected) AS expected FROM tally_view GROUP BY 1, 2, 3, 4, 5
"""


def _amounts(rows: Sequence[dict[str, Any]]) -> set[tuple[object, ...]]:
    """Without those of nothing."""
    names = ("tallies", "plus", "minus", "expected")
    return {tuple(row.values()) for row in rows if any(row[name] for name in names)}
