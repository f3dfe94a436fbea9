"""What PSPs do after the first outcome → rows with their time: money taken back, done after all, disputed, won."""

from __future__ import annotations

from typing import Literal

from simulator.memory import Memory

ChangeKind = Literal[
    "capture", "refund", "refund_reversed", "chargeback", "chargeback_reversed", "second_chargeback", "fee", "transfer"
]

# `charges`, `operations` and `transfers` tell what is so now; settlements and statements need when it became so.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS changes (
    seq INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    at INTEGER NOT NULL,            -- microseconds, by the clock that can be moved
    charge_seq INTEGER NOT NULL,    -- of a transfer: 0
    subject_seq INTEGER NOT NULL,   -- of the operation or transfer; 0: the charge or a dispute
    dispute_id TEXT NOT NULL,
    amount INTEGER NOT NULL,        -- minor units by the PSP's own exponents; + for us
    fee INTEGER NOT NULL,           -- + is a cost
    was_declined INTEGER NOT NULL   -- the operation was declined before: it is done from here on, and not at its request
);
CREATE INDEX IF NOT EXISTS changes_of_declined ON changes (subject_seq) WHERE was_declined;
"""
_INSERT = """
INSERT INTO changes (kind, at, charge_seq, subject_seq, dispute_id, amount, fee, was_declined) VALUES (?,?,?,?,?,?,?,?)
"""


class Changes:
    """Appended to in the transaction that makes the change."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        memory.writing.executescript(_SCHEMA)

    def add(
        self,
        kind: ChangeKind,
        at: int,
        amount: int,
        *,
        charge_seq: int = 0,
        subject_seq: int = 0,
        dispute_id: str = "",
        fee: int = 0,
        was_declined: bool = False,
    ) -> None:
        values = (kind, at, charge_seq, subject_seq, dispute_id, amount, fee, int(was_declined))
        self._memory.writing.execute(_INSERT, values)
