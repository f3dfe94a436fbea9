"""Payouts of PSPs and transfers of ours → entries of a bank account, and a statement of each day and currency."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from simulator.memory import Memory

_SCHEMA = """
CREATE TABLE IF NOT EXISTS bank_entries (
    fact TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    currency TEXT NOT NULL,
    due TEXT NOT NULL,              -- the first day whose statement shows it
    stated TEXT,                    -- the day whose statement does
    at INTEGER NOT NULL,
    amount INTEGER NOT NULL,        -- ISO minor units; + is a credit
    end_to_end TEXT NOT NULL,
    text TEXT NOT NULL,
    counterparty TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS bank_entries_by_day ON bank_entries (stated, account, currency);
CREATE TABLE IF NOT EXISTS statements (
    account TEXT NOT NULL,
    currency TEXT NOT NULL,
    number INTEGER NOT NULL,
    day TEXT NOT NULL,
    closed_at INTEGER NOT NULL,
    opening INTEGER NOT NULL,
    closing INTEGER NOT NULL,
    PRIMARY KEY (account, currency, number)
);
"""
# A transfer that is paid again after it came back tells only the last; the change that was noted then has the first two.
_TRANSFERS = """
SELECT * FROM (
    SELECT 'transfer:' || seq || ':paid:' || decided_at AS fact, decided_at AS at, -amount AS amount, currency, reference
    FROM transfers WHERE ending IS NULL OR ending NOT IN ('rejected', 'failed')
    UNION ALL
    SELECT 'transfer:' || seq || ':returned:' || returned_at, returned_at, returned, currency, reference
    FROM transfers WHERE returned_at>0
    UNION ALL
    SELECT 'transfer:' || subject_seq || CASE WHEN changes.amount<0 THEN ':paid:' ELSE ':returned:' END || at, at,
        changes.amount, currency, reference
    FROM changes JOIN transfers ON transfers.seq=subject_seq WHERE kind='transfer'
) AS facts
WHERE at<? AND fact NOT IN (SELECT fact FROM bank_entries) ORDER BY at, fact
"""
_SENT_OUT = """
SELECT fact, currency, amount, end_to_end FROM bank_entries e
WHERE stated IS NULL AND account=? AND due<=? AND amount<0 AND end_to_end<>''
    AND NOT EXISTS (SELECT 1 FROM bank_entries b WHERE b.end_to_end=e.end_to_end AND b.amount>0) ORDER BY fact
"""
_UNSTATED = "SELECT DISTINCT currency FROM bank_entries WHERE stated IS NULL AND account=? AND due<=? ORDER BY 1"
_LAST = "SELECT number, closing FROM statements WHERE account=? AND currency=? ORDER BY number DESC LIMIT 1"
_STATE = "UPDATE bank_entries SET stated=? WHERE stated IS NULL AND account=? AND currency=? AND due<=?"
_SUM = "SELECT sum(amount) FROM bank_entries WHERE stated=? AND account=? AND currency=?"
_ENTRIES = """
SELECT fact, at, amount, end_to_end, text, counterparty FROM bank_entries
WHERE stated=? AND account=? AND currency=? ORDER BY at, fact
"""


class Entry(NamedTuple):
    """A booked entry; + is a credit."""

    fact: str
    at: int
    amount: int
    end_to_end: str
    text: str
    counterparty: str


def bank_reference(fact: str) -> str:
    """The bank's own reference of an entry (AcctSvcrRef)."""
    return hashlib.blake2b(fact.encode(), digest_size=8).hexdigest().upper()


@dataclass(frozen=True, slots=True)
class Statement:
    """One account, currency and day: opening + entries = closing, and the next one opens with it."""

    account: str
    currency: str
    number: int
    day: str
    closed_at: int
    opening: int
    closing: int
    entries: Sequence[Entry] | Iterator[Entry]


class Bank:
    """The accounts that PSPs pay into and that pay-outs leave from. They begin at zero and may go below."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        memory.writing.executescript(_SCHEMA)

    def expect(self, account: str, currency: str, due: str, entry: Entry) -> None:
        """An entry, in the open transaction, for the statement of that day or the next that is closed."""
        _, at, amount, *rest = entry
        values = (entry.fact, account, currency, due, at, amount, *rest)
        statement = (
            "INSERT INTO bank_entries (fact, account, currency, due, at, amount, end_to_end, text, counterparty)"
        )
        self._memory.writing.execute(f"{statement} VALUES (?,?,?,?,?,?,?,?,?)", values)

    def sent_out(self, account: str, day: str) -> list[tuple[str, str, int, str]]:
        """Transfers of ours that the day's statements are to show: fact, currency, amount, reference."""
        return self._memory.writing.execute(_SENT_OUT, (account, day)).fetchall()

    def close(self, account: str, day: str, until_us: int) -> None:
        """State what is due by that day, in the open transaction."""
        for fact, at, amount, currency, reference in self._memory.writing.execute(_TRANSFERS, (until_us,)).fetchall():
            text = f"{'pay-out' if amount < 0 else 'return of pay-out'} {reference}"
            self.expect(account, currency, day, Entry(fact, at, amount, reference, text, "beneficiary"))
        for (currency,) in self._memory.writing.execute(_UNSTATED, (account, day)).fetchall():
            self._state(account, currency, day, until_us)

    def _state(self, account: str, currency: str, day: str, until_us: int) -> None:
        execute = self._memory.writing.execute
        number, opening = execute(_LAST, (account, currency)).fetchone() or (0, 0)
        execute(_STATE, (day, account, currency, day))
        moved = execute(_SUM, (day, account, currency)).fetchone()[0]
        values = (account, currency, number + 1, day, until_us, opening, opening + moved)
        execute("INSERT INTO statements VALUES (?,?,?,?,?,?,?)", values)

    def statements(self, day: str) -> list[Statement]:
        """By account and currency, each with its entries."""
        found = self._memory.reading.execute("SELECT * FROM statements WHERE day=? ORDER BY account, currency", (day,))
        return [
            Statement(
                account, currency, number, day, closed_at, opening, closing, self._entries(account, currency, day)
            )
            for account, currency, number, day, closed_at, opening, closing in found.fetchall()
        ]

    def _entries(self, account: str, currency: str, day: str) -> list[Entry]:
        return [Entry(*row) for row in self._memory.reading.execute(_ENTRIES, (day, account, currency))]
