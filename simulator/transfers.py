"""Transfers of a pay-out provider → SQLite, in the books and commits of Memory. A transfer's status follows from the time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from simulator.changes import Changes
from simulator.clock import machine_us
from simulator.memory import Memory, new_id
from simulator.tokens import TransferEnding
from simulator.wire import Problem, Refused

Status = Literal["accepted", "paid", "rejected", "failed", "returned"]
PAID_AFTER_US = 2_000_000
RETURNED_AFTER_US = 24 * 3600 * 1_000_000  # after it was paid
_ENDINGS = {
    "01": TransferEnding.REJECTED,
    "02": TransferEnding.FAILED,
    "03": TransferEnding.RETURNED,
    "04": TransferEnding.SILENT,
}
_CODES = {
    TransferEnding.REJECTED: "account_closed",
    TransferEnding.FAILED: "account_blocked",
    TransferEnding.RETURNED: "beneficiary_refused",
}

_SCHEMA = """
CREATE TABLE IF NOT EXISTS transfers (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    key TEXT NOT NULL,
    reference TEXT NOT NULL,
    payout_id TEXT NOT NULL,
    amount INTEGER NOT NULL,
    currency TEXT NOT NULL,
    destination TEXT NOT NULL,      -- a digest: two requests under one key are the same one, or not
    ending TEXT,
    code TEXT,
    created_at INTEGER NOT NULL,    -- the times are those of a charge
    visible_at INTEGER NOT NULL,
    decided_at INTEGER NOT NULL,    -- paid or failed from then on; accepted before
    returned_at INTEGER NOT NULL,   -- 0: never
    returned INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS transfers_by_reference ON transfers (reference);
CREATE INDEX IF NOT EXISTS transfers_by_key ON transfers (key);
CREATE INDEX IF NOT EXISTS transfers_by_payout ON transfers (payout_id);
"""
_COLUMNS = (
    "seq, id, key, reference, payout_id, amount, currency, destination, ending, code, created_at, visible_at, decided_at,"
    " returned_at, returned"
)
_SELECT = f"SELECT {_COLUMNS} FROM transfers"
_INSERT = f"INSERT INTO transfers ({_COLUMNS}) VALUES ({','.join('?' * 15)})"
_UPDATE = "UPDATE transfers SET ending=?, code=?, decided_at=?, returned_at=?, returned=? WHERE seq=?"


@dataclass(frozen=True, slots=True)
class AskedTransfer:
    """A caller's request: the fields by which two requests are the same."""

    key: str
    reference: str
    payout_id: str
    amount: int
    currency: str
    destination: str
    account: str  # its end decides what becomes of the transfer


@dataclass(frozen=True, slots=True)
class Transfer:
    """A row of the provider's books."""

    seq: int
    id: str
    key: str
    reference: str
    payout_id: str
    amount: int
    currency: str
    destination: str
    ending: str | None
    code: str | None
    created_at: int
    visible_at: int
    decided_at: int
    returned_at: int
    returned: int

    def status(self, now_us: int) -> Status:
        if self.ending == TransferEnding.REJECTED.value:
            return "rejected"
        if now_us < self.decided_at:
            return "accepted"
        if self.ending == TransferEnding.FAILED.value:
            return "failed"
        return "returned" if 0 < self.returned_at <= now_us else "paid"

    @property
    def is_silent(self) -> bool:
        return self.ending == TransferEnding.SILENT.value

    def changes_after(self, now_us: int) -> list[int]:
        """The times at which its status will change."""
        if self.ending == TransferEnding.REJECTED.value:
            return []
        return [at for at in (self.decided_at, self.returned_at) if at > now_us]

    def answers(self, asked: AskedTransfer) -> bool:
        """Whether the transfer is the requested one, and not another under the same key."""
        mine = (self.reference, self.payout_id, self.amount, self.currency, self.destination)
        return mine == (asked.reference, asked.payout_id, asked.amount, asked.currency, asked.destination)


@dataclass(frozen=True, slots=True)
class KeptTransfer:
    """A transfer in the books, and whether an earlier request made it."""

    transfer: Transfer
    replayed: bool


class Transfers:
    """All transfers of the provider."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._changes = Changes(memory)
        memory.writing.executescript(_SCHEMA)
        self._next_seq: int = memory.writing.execute("SELECT coalesce(max(seq), 0) + 1 FROM transfers").fetchone()[0]

    async def transfer(
        self, asked: AskedTransfer, planned: TransferEnding | None, now_us: int, key_life_us: int, hidden_us: int
    ) -> KeptTransfer:
        """The transfer under this key if the provider still knows the key, else a new one."""

        def work() -> KeptTransfer:
            found = self._memory.writing.execute(
                f"{_SELECT} WHERE key=? AND created_at>? ORDER BY seq DESC LIMIT 1", (asked.key, now_us - key_life_us)
            ).fetchone()
            if found:
                return KeptTransfer(Transfer(*found), replayed=True)
            transfer = self._made(asked, planned or _ENDINGS.get(asked.account[-2:]), now_us, hidden_us)
            self._memory.writing.execute(_INSERT, _row(transfer))
            return KeptTransfer(transfer, replayed=False)

        return await self._memory.commit(work)

    def _made(self, asked: AskedTransfer, ending: TransferEnding | None, now_us: int, hidden_us: int) -> Transfer:
        seq, self._next_seq = self._next_seq, self._next_seq + 1
        paid_at = now_us + PAID_AFTER_US
        is_returned = ending is TransferEnding.RETURNED
        return Transfer(
            seq, new_id(seq), asked.key, asked.reference, asked.payout_id, asked.amount, asked.currency,
            asked.destination, ending and ending.value, None if ending is None else _CODES.get(ending), now_us,
            machine_us() + hidden_us, paid_at, paid_at + RETURNED_AFTER_US if is_returned else 0,
            asked.amount if is_returned else 0,
        )  # fmt: skip

    async def bring_back(self, transfer: Transfer, amount: int | None, code: str, now_us: int) -> Transfer:
        """Return a paid transfer, or so much of it. Errors: Refused INVALID."""

        def work() -> Transfer:
            current = self._current(transfer)
            if current.status(now_us) != "paid":
                raise Refused(Problem.INVALID, f"this transfer is {current.status(now_us)}: nothing to return")
            back = current.amount if amount is None else amount
            if back > current.amount:
                raise Refused(Problem.INVALID, f"amount: the transfer is of {current.amount}")
            return self._put(replace(current, returned_at=now_us, returned=back, code=code))

        return await self._memory.commit(work)

    async def pay_again(self, transfer: Transfer, now_us: int) -> Transfer:
        """Pay a rejected, failed or returned transfer after all. Errors: Refused INVALID."""

        def work() -> Transfer:
            current, status = self._current(transfer), self._current(transfer).status(now_us)
            if status not in ("rejected", "failed", "returned"):
                raise Refused(Problem.INVALID, f"this transfer is {status}: nothing to pay again")
            if status == "returned":  # the row forgets that it was paid before, and when it came back
                self._changes.add("transfer", current.decided_at, -current.amount, subject_seq=current.seq)
                self._changes.add("transfer", current.returned_at, current.returned, subject_seq=current.seq)
            paid = replace(current, ending=None, code=None, decided_at=now_us, returned_at=0, returned=0)
            return self._put(paid)

        return await self._memory.commit(work)

    def _current(self, transfer: Transfer) -> Transfer:
        return Transfer(*self._memory.writing.execute(f"{_SELECT} WHERE seq=?", (transfer.seq,)).fetchone())

    def _put(self, changed: Transfer) -> Transfer:
        values = (changed.ending, changed.code, changed.decided_at, changed.returned_at, changed.returned, changed.seq)
        self._memory.writing.execute(_UPDATE, values)
        return changed

    def find(self, reference: str) -> list[Transfer]:
        """The transfers with this reference that look-ups can see by now."""
        return self._read(f"{_SELECT} WHERE reference=? AND visible_at<=? ORDER BY seq", reference, machine_us())

    def page(self, after_seq: int, limit: int) -> tuple[list[Transfer], bool]:
        """Transfers in the order of their requests, and whether there are more."""
        statement = f"{_SELECT} WHERE seq>? AND visible_at<=? ORDER BY seq LIMIT ?"
        found = self._read(statement, after_seq, machine_us(), limit + 1)
        return found[:limit], len(found) > limit

    def changing(self, now_us: int) -> list[Transfer]:
        """The transfers whose status will still change."""
        return self._read(f"{_SELECT} WHERE decided_at>? OR returned_at>?", now_us, now_us)

    def of_seq(self, seq: int) -> Transfer:
        return self._read(f"{_SELECT} WHERE seq=?", seq)[0]

    def known_as(self, reference_or_payout: str) -> list[Transfer]:
        """All transfers with this reference or pay-out, hidden ones included: for people only."""
        subject = reference_or_payout
        return self._read(f"{_SELECT} WHERE reference=? OR payout_id=? ORDER BY seq", subject, subject)

    def newest(self, limit: int) -> list[Transfer]:
        return self._read(f"{_SELECT} ORDER BY seq DESC LIMIT ?", limit)

    def count(self) -> int:
        return int(self._memory.reading.execute("SELECT count(*) FROM transfers").fetchone()[0])

    def _read(self, statement: str, *values: object) -> list[Transfer]:
        return _transfers(self._memory.reading.execute(statement, values))


def _transfers(rows: Iterable[Sequence[Any]]) -> list[Transfer]:
    return [Transfer(*row) for row in rows]


def _row(transfer: Transfer) -> tuple[object, ...]:
    return (
        transfer.seq, transfer.id, transfer.key, transfer.reference, transfer.payout_id, transfer.amount,
        transfer.currency, transfer.destination, transfer.ending, transfer.code, transfer.created_at,
        transfer.visible_at, transfer.decided_at, transfer.returned_at, transfer.returned,
    )  # fmt: skip
