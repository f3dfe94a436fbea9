"""Files that the bank was given → SQLite: their lines, what becomes of each, and what the bank will tell of them, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from simulator.banking.reading import AskedFile, AskedTransfer
from simulator.banking.reports import Report, ToldLine
from simulator.memory import Memory
from simulator.settlements.bank import Bank, Entry
from simulator.tokens import BankEnding, BankFault
from simulator.wire import iso_time

Stage = Literal["received", "accepted", "executed", "returned"]
ACCEPTED_AFTER_US, EXECUTED_AFTER_US = 1_000_000, 3_000_000
RETURNED_AFTER_US = 24 * 3600 * 1_000_000 + EXECUTED_AFTER_US
LATE_US = 3600 * 1_000_000
ACCOUNT = "main"  # whose statement shows what was booked
_ENDINGS: Mapping[str, BankEnding] = {
    "01": BankEnding.REJECTED,
    "02": BankEnding.FAILED,
    "03": BankEnding.RETURNED,
    "04": BankEnding.SILENT,
    "05": BankEnding.CANCELLED,
}
_CODES: Mapping[BankEnding, str] = {
    BankEnding.REJECTED: "AC04",  # account closed
    BankEnding.FAILED: "AC06",  # account blocked
    BankEnding.RETURNED: "MD07",  # the holder has died
    BankEnding.CANCELLED: "CUST",
}
_SCHEMA = """
CREATE TABLE IF NOT EXISTS bank_files (
    seq INTEGER PRIMARY KEY,
    name TEXT NOT NULL,             -- in the folder
    sha256 TEXT NOT NULL,
    moved INTEGER NOT NULL,         -- 0: it lies in the folder still
    message_id TEXT NOT NULL,
    payment_id TEXT NOT NULL,
    currency TEXT NOT NULL,
    lines INTEGER NOT NULL,
    total INTEGER NOT NULL,
    refusal TEXT,                   -- a reason code; NULL: the bank has taken it
    fault TEXT,
    received_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS bank_files_taken ON bank_files (message_id) WHERE refusal IS NULL;
CREATE TABLE IF NOT EXISTS bank_orders (
    file_seq INTEGER NOT NULL,
    position INTEGER NOT NULL,
    end_to_end TEXT NOT NULL,
    amount INTEGER NOT NULL,
    text TEXT NOT NULL,
    ending TEXT,
    code TEXT,
    PRIMARY KEY (file_seq, position)
);
CREATE INDEX IF NOT EXISTS bank_orders_by_reference ON bank_orders (end_to_end);
CREATE INDEX IF NOT EXISTS bank_orders_by_text ON bank_orders (text);
CREATE TABLE IF NOT EXISTS bank_reports (
    file_seq INTEGER NOT NULL,
    stage TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    done INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (file_seq, stage)
);
CREATE INDEX IF NOT EXISTS bank_reports_due ON bank_reports (due_at) WHERE done=0;
"""
_FILE = "name, sha256, moved, message_id, payment_id, currency, lines, total, refusal, fault, received_at"
_INSERT = f"INSERT INTO bank_files ({_FILE}) VALUES ({','.join('?' * 11)}) RETURNING seq"
_ORDER = "position, end_to_end, amount, ending, code"


@dataclass(frozen=True, slots=True)
class GivenFile:
    """A file that lay in the folder, as the bank's books have it."""

    seq: int
    name: str
    sha256: str
    moved: int
    message_id: str
    payment_id: str
    currency: str
    lines: int
    total: int
    refusal: str | None
    fault: str | None
    received_at: int

    def told(self) -> dict[str, object]:
        told = {name: getattr(self, name) for name in ("name", "message_id", "currency", "lines", "total", "refusal")}
        return {**told, "fault": self.fault, "received_at": iso_time(self.received_at)}


@dataclass(frozen=True, slots=True)
class Due:
    """What the bank has to do about a file now: tell, and book."""

    file: GivenFile
    stage: Stage
    due_at: int

    @property
    def copies(self) -> int:
        return {BankFault.NEVER.value: 0, BankFault.TWICE.value: 2}.get(self.file.fault or "", 1)


class BankBooks:
    """All files that the bank has had, those that it refused too."""

    def __init__(self, memory: Memory, bank: Bank) -> None:
        self._memory = memory
        self._bank = bank
        memory.writing.executescript(_SCHEMA)

    def had(self, message_id: str) -> bool:
        """Whether it has taken a file of this MsgId."""
        asked = "SELECT 1 FROM bank_files WHERE message_id=? AND refusal IS NULL"
        return self._memory.reading.execute(asked, (message_id,)).fetchone() is not None

    def unmoved(self, name: str, sha256: str) -> GivenFile | None:
        """The file, if it was read before the bank died, and could not be moved any more."""
        [*found] = self._files("WHERE name=? AND sha256=? AND moved=0", name, sha256)
        return found[0] if found else None

    async def take(
        self,
        name: str,
        sha256: str,
        asked: AskedFile,
        fault: BankFault | None,
        planned: Mapping[int, BankEnding],
        now_us: int,
    ) -> GivenFile:
        """`planned`: endings by position, before those of the accounts."""
        refusal = "AG01" if fault is BankFault.REFUSED else None
        values = (name, sha256, 0, asked.message_id, asked.payment_id, asked.currency, len(asked.lines), asked.total)
        orders = [_order(line, planned.get(line.position)) for line in asked.lines]
        return await self._put((*values, refusal, fault and fault.value, now_us), orders)

    async def refuse(self, name: str, sha256: str, message_id: str, code: str, now_us: int) -> GivenFile:
        return await self._put((name, sha256, 0, message_id, "", "", 0, 0, code, None, now_us), [])

    async def _put(self, values: Sequence[object], orders: Sequence[tuple[object, ...]]) -> GivenFile:
        def work() -> GivenFile:
            execute = self._memory.writing.execute
            [seq] = execute(_INSERT, values).fetchone()
            file = GivenFile(seq, *values)  # type: ignore[arg-type]
            self._memory.writing.executemany(
                f"INSERT INTO bank_orders (file_seq, {_ORDER}, text) VALUES (?,?,?,?,?,?,?)",
                [(seq, *order) for order in orders],
            )
            self._memory.writing.executemany(
                "INSERT INTO bank_reports (file_seq, stage, due_at) VALUES (?,?,?)",
                [(seq, stage, at) for stage, at in _schedule(file)],
            )
            return file

        return await self._memory.commit(work)

    async def moved(self, file: GivenFile) -> None:
        statement = "UPDATE bank_files SET moved=1 WHERE seq=?"
        await self._memory.commit(lambda: self._memory.writing.execute(statement, (file.seq,)))

    # ── what is told ─────────────────────────────────────────────────────────────────────────────────────────────────

    def due(self, now_us: int) -> list[Due]:
        statement = "SELECT file_seq, stage, due_at FROM bank_reports WHERE done=0 AND due_at<=? ORDER BY due_at, stage"
        rows = self._memory.reading.execute(statement, (now_us,)).fetchall()
        return [Due(self._of_seq(seq), stage, due_at) for seq, stage, due_at in rows]

    def report(self, due: Due) -> Report | None:
        """None where the bank has nothing to say then."""
        file = due.file
        lines = [] if due.stage == "received" else [told for row in self._orders(file) if (told := _told(row, due))]
        if due.stage != "received" and not lines:
            return None
        status = _group_status(due, lines, file)
        code = file.refusal if due.stage == "received" else None
        about = (file.message_id, file.payment_id, file.currency)
        return Report(f"{file.seq}-{due.stage}", due.due_at, *about, status, code, lines)

    async def done(self, due: Due) -> None:
        """Told. What was paid, or has come back, is on the account from now on."""

        def work() -> None:
            for entry in self._entries(due):
                day = datetime.fromtimestamp(due.due_at // 1_000_000, UTC).date().isoformat()
                self._bank.expect(ACCOUNT, due.file.currency, day, entry)
            statement = "UPDATE bank_reports SET done=1 WHERE file_seq=? AND stage=?"
            self._memory.writing.execute(statement, (due.file.seq, due.stage))

        await self._memory.commit(work)

    def _entries(self, due: Due) -> list[Entry]:
        if due.stage not in ("executed", "returned"):
            return []
        sign = -1 if due.stage == "executed" else 1
        return [
            Entry(
                f"file:{due.file.seq}:{position}:{due.stage}", due.due_at, sign * amount, end_to_end,
                f"{'pay-out' if sign < 0 else 'return of pay-out'} {end_to_end}", "beneficiary",
            )
            for position, end_to_end, amount, ending, _ in self._orders(due.file)
            if ending == BankEnding.RETURNED.value or (sign < 0 and ending in (None, BankEnding.SILENT.value))
        ]  # fmt: skip

    def _orders(self, file: GivenFile) -> list[tuple[int, str, int, str | None, str | None]]:
        statement = f"SELECT {_ORDER} FROM bank_orders WHERE file_seq=? ORDER BY position"
        return self._memory.reading.execute(statement, (file.seq,)).fetchall() if file.refusal is None else []

    # ── for people ───────────────────────────────────────────────────────────────────────────────────────────────────

    def newest(self, limit: int) -> list[GivenFile]:
        return self._files("ORDER BY seq DESC LIMIT ?", limit)

    def known_as(self, message_id: str) -> list[GivenFile]:
        return self._files("WHERE message_id=? ORDER BY seq", message_id)

    def lines(self, reference: str, now_us: int) -> list[dict[str, object]]:
        """The lines of a file by its MsgId, or those with a reference or of a pay-out, and what became of them."""
        statement = (
            "SELECT f.seq, position, end_to_end, amount, text, ending, code FROM bank_orders o"
            " JOIN bank_files f ON f.seq=file_seq WHERE message_id=? OR end_to_end=? OR text=? ORDER BY f.seq, position"
        )
        rows = self._memory.reading.execute(statement, (reference, reference, reference)).fetchall()
        files = {seq: self._of_seq(seq) for seq, *_ in rows}
        return [_shown(files[seq], row, now_us) for seq, *row in rows]

    def _of_seq(self, seq: int) -> GivenFile:
        return self._files("WHERE seq=?", seq)[0]

    def _files(self, which: str, *values: object) -> list[GivenFile]:
        rows = self._memory.reading.execute(f"SELECT seq, {_FILE} FROM bank_files {which}", values)
        return [GivenFile(*row) for row in rows]


def _order(line: AskedTransfer, planned: BankEnding | None) -> tuple[object, ...]:
    ending = BankEnding.REJECTED if line.refusal else planned or _ENDINGS.get(line.iban[-2:])
    code = line.refusal or (None if ending is None else _CODES.get(ending))
    return line.position, line.end_to_end, line.amount, ending and ending.value, code, line.text


def _schedule(file: GivenFile) -> list[tuple[Stage, int]]:
    """When the bank does and tells what."""
    at = file.received_at + (LATE_US if file.fault == BankFault.LATE.value else 0)
    if file.refusal:
        return [("received", at)]
    accepted, executed = at + ACCEPTED_AFTER_US, at + EXECUTED_AFTER_US
    if file.fault == BankFault.OUT_OF_ORDER.value:
        return [("executed", at), ("accepted", accepted), ("received", executed), ("returned", at + RETURNED_AFTER_US)]
    return [("received", at), ("accepted", accepted), ("executed", executed), ("returned", at + RETURNED_AFTER_US)]


def _status(ending: str | None, stage: Stage) -> str | None:
    """A line's status at a stage; None where the bank says nothing of it then."""
    match stage, ending:
        case _, BankEnding.SILENT.value:
            return None
        case "accepted", BankEnding.REJECTED.value:
            return "RJCT"
        case "accepted", BankEnding.CANCELLED.value:
            return "CANC"
        case _, (BankEnding.REJECTED.value | BankEnding.CANCELLED.value):
            return None
        case "accepted", _:
            return "ACSP"
        case "executed", BankEnding.FAILED.value:
            return "RJCT"
        case "executed", _:
            return "ACSC"
        case "returned", BankEnding.RETURNED.value:
            return "RJCT"
    return None


def _told(order: tuple[int, str, int, str | None, str | None], due: Due) -> ToldLine | None:
    position, end_to_end, amount, ending, code = order
    status = _status(ending, due.stage)
    is_no = status in ("RJCT", "CANC")
    if status is None or (due.file.fault == BankFault.ONLY_REJECTED.value and not is_no):
        return None
    said = amount + 1 if due.file.fault == BankFault.WRONG_AMOUNT.value else amount
    return ToldLine(position, end_to_end, said, status, code if is_no else None)


def _group_status(due: Due, lines: Sequence[ToldLine], file: GivenFile) -> str:
    if due.stage == "received":
        return "RJCT" if file.refusal else "ACTC"
    of_lines = {line.status for line in lines}
    return of_lines.pop() if len(of_lines) == 1 and len(lines) == file.lines and of_lines != {"CANC"} else "PART"


def _shown(file: GivenFile, row: Sequence[Any], now_us: int) -> dict[str, object]:
    position, end_to_end, amount, text, ending, code = row
    told = {"file": file.message_id, "position": position, "reference": end_to_end, "payout": text}
    status = "refused" if file.refusal else _became(file, ending, now_us)
    is_no = status in ("rejected", "cancelled", "failed", "returned")
    return {**told, "amount": amount, "currency": file.currency, "status": status, "code": code if is_no else None}


def _became(file: GivenFile, ending: str | None, now_us: int) -> str:
    at = dict(_schedule(file))
    if ending in (BankEnding.REJECTED.value, BankEnding.CANCELLED.value):
        return ending
    if now_us < at["executed"]:
        return "accepted"
    if ending == BankEnding.RETURNED.value and now_us >= at["returned"]:
        return "returned"
    return "failed" if ending == BankEnding.FAILED.value else "paid"
