"""Calls that wait for a bank's cut-off → a closed file → a file in the bank's folder → their answers. One thread.

A file is written under a name that no bank's client takes; `delivering` is committed; the file gets its name. After that
commit nobody writes it again, wherever this process dies: whether it is in the folder is looked up, and what cannot be
looked up, two persons or the bank must say.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson
import psycopg
import structlog

from consumers.executor import bank_file_rows as rows
from consumers.executor.bank_file import BankFile
from consumers.executor.bank_file_rows import ClosedFile, DueCall
from consumers.executor.opening import Unsendable, amount_of, make_opener
from psp import pain001
from psp.pain001 import BankFileError, Debtor, FileHeader
from psp.payout_port import Transfer
from psp.replies import NothingHappened
from schemas.money import Money
from topics.payout_accounts import BankFileAccount
from topics.runtime.dead_letters.store import is_stopped
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.consumer import AnyConsumer, Connection
from topics.runtime.shape.failpoints import hit
from topics.runtime.shape.store import Store, error_kind
from topics.settings import Settings

log = structlog.get_logger()

LOOK_S = 0.5
AWAY_S = 5.0
MARGIN_S = 10.0  # of the lease, when a file gets its name


def run_filer(settings: Settings, consumer: AnyConsumer, stop: threading.Event, wake: threading.Event) -> None:
    """Run until `stop` is set. Without a bank in the settings there is nothing to do."""
    if not settings.bank_accounts:
        stop.wait()
        return
    filer = Filer(settings, consumer.name)
    try:
        while not stop.is_set():
            stop.wait(LOOK_S if filer.look_safely() else AWAY_S)
    finally:
        filer.close()


class Filer:
    """Closes and delivers the files of all banks in the settings."""

    def __init__(self, settings: Settings, room: str = "executor") -> None:
        self._banks: Mapping[str, BankFileAccount] = settings.bank_accounts
        self._me = uuid.uuid4().hex
        self._clock = Clock(settings.clock_file)
        self._store = Store(settings, room)
        self._opener = make_opener(settings)

    def close(self) -> None:
        self._store.close()

    def look_safely(self) -> bool:
        """As `look`. → False while the database or a bank's folder is away."""
        try:
            self.look()
            return True
        except psycopg.Error as error:
            if error_kind(error) != "away":
                raise
            log.warning("database away", action="file", error=str(error).strip()[:200])
        except OSError as error:
            log.error("bank file not delivered", action="file", error=f"{type(error).__name__}: {error}"[:200])
        return False

    def look(self) -> None:
        """Settle what others have left, close what is due, deliver what is closed. Errors: psycopg.Error, OSError."""
        with self._store.transaction() as conn:
            if is_stopped(conn):
                return
        self._settle_left()
        for bank in self._banks.values():
            while self._close_one(bank):
                hit("bank_file.closed")
        while self._deliver_one():
            pass

    # ── closing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _close_one(self, bank: BankFileAccount) -> bool:
        """Close one file of what is due. → whether there was anything."""
        now = self._clock.now()
        with self._store.transaction() as conn:
            rows.lock_provider(conn, bank.name)
            group = rows.due_group(conn, bank.name, now)
            due = [] if group is None else rows.lock_due(conn, bank.name, group, bank.file_max, now)
            if group is None or not due:
                return False
            refused = {call.id: why for call in due if (why := self._why_not(bank, call)) is not None}
            if refused:
                rows.refuse(conn, {id_: NothingHappened(why).to_json() for id_, why in refused.items()}, now)
            lines = [call for call in due if call.id not in refused]
            if lines:
                file_id = rows.close(conn, bank.name, bank.bank_account, group, lines, now)
                log.info("bank file closed", action="file", provider=bank.name, file_id=file_id, lines=len(lines))
        return True

    def _why_not(self, bank: BankFileAccount, call: DueCall) -> str | None:
        """Why no file can hold it, or None."""
        try:
            pain001.check(self._transfer(bank.name, call.id, call.payout_id, call.request))
        except Unsendable as unsendable:
            return str(unsendable)
        except BankFileError as wrong:
            return wrong.code
        return None

    def _transfer(self, provider: str, call_id: str, payout_id: str, request: bytes) -> Transfer:
        """Errors: Unsendable."""
        asked = orjson.loads(request)
        return Transfer(call_id, payout_id, amount_of(asked), self._opener.open(asked, provider))

    # ── delivering ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _deliver_one(self) -> bool:
        """Deliver the oldest closed file. → whether there was one."""
        leased_at = time.monotonic()
        with self._store.transaction() as conn:
            file = rows.lease_closed(conn, list(self._banks), self._me)
        if file is None:
            return False
        out = self._banks[file.provider].out
        out.mkdir(parents=True, exist_ok=True)
        _remove_unnamed(out, file.file_id)
        unnamed = out / f".{file.file_id}.{self._me}.part"
        try:
            sha256, size = self._write(file, unnamed)
            self._give_name(file, unnamed, sha256, size, leased_at)
        except (Unsendable, BankFileError) as wrong:
            self._give_up(file, wrong)
        finally:
            unnamed.unlink(missing_ok=True)
        return True

    def _give_up(self, file: ClosedFile, wrong: Unsendable | BankFileError) -> None:
        """A line cannot be written any more: its country was blocked since, say. Nothing has left, and nothing of this file will:
        its pay-outs are released again, and the one that is in the way is refused then.
        """
        code = wrong.code if isinstance(wrong, BankFileError) else str(wrong)
        log.error("bank file given up", action="file", provider=file.provider, file_id=file.file_id, code=code)
        with self._store.transaction() as conn:
            [locked] = rows.lock(conn, [file.file_id]).values()
            if locked.state == "closed":
                rows.settle(conn, locked.to("not_delivered", self._clock.now(), code))

    def _write(self, file: ClosedFile, to: Path) -> tuple[str, int]:
        """Write the file, and wait until it is on the disk. → its digest and size"""
        sha256, size = hashlib.sha256(), 0
        with self._store.transaction() as conn, to.open("wb") as written:
            for piece in pain001.write(self._header(file), self._lines(conn, file)):
                sha256.update(piece)
                size += written.write(piece)
            written.flush()
            os.fsync(written.fileno())
        return sha256.hexdigest(), size

    def _header(self, file: ClosedFile) -> FileHeader:
        debtor = self._banks[file.provider].debtor
        return FileHeader(
            file_id=file.file_id,
            created_at=file.closed_at,
            execution_date=file.cut_off.date(),
            debtor=Debtor(debtor.name, debtor.iban, debtor.bic),
            currency=file.currency,
            count=file.transactions,
            total=Money(file.total, file.currency),
        )

    def _lines(self, conn: Connection, file: ClosedFile) -> Iterator[Transfer]:
        for call_id, payout_id, request in rows.requests(conn, file.file_id):
            yield self._transfer(file.provider, call_id, payout_id, request)

    def _give_name(self, file: ClosedFile, unnamed: Path, sha256: str, size: int, leased_at: float) -> None:
        now = self._clock.now()
        with self._store.transaction() as conn:
            if not rows.begin_delivery(conn, file.file_id, sha256, size, self._me, now):
                return
        hit("bank_file.delivering")
        if time.monotonic() - leased_at > rows.LEASE_S - MARGIN_S:  # others may have begun to look for it
            return
        unnamed.rename(unnamed.with_name(f"{file.file_id}.xml"))
        _sync(unnamed.parent)
        hit("bank_file.renamed")
        with self._store.transaction() as conn:
            self._delivered(conn, file.file_id)
        hit("bank_file.delivered")
        log.info("bank file delivered", action="file", provider=file.provider, file_id=file.file_id, bytes=size)

    def _delivered(self, conn: Connection, file_id: str) -> None:
        """The bank may have spoken of it already."""
        [file] = rows.lock(conn, [file_id]).values()
        if file.state in ("delivering", "unresolved"):
            rows.settle(conn, file.to("delivered", self._clock.now()))

    # ── files that others have left ──────────────────────────────────────────────────────────────────────────────────

    def _settle_left(self) -> None:
        with self._store.transaction() as conn:
            for file, sha256 in rows.lock_open(conn, list(self._banks)):
                self._settle(conn, file, sha256)

    def _settle(self, conn: Connection, file: BankFile, sha256: str) -> None:
        """Delivered if it lies in a folder of the bank's. Else its temporary file is deleted first, so that a process which
        only sleeps cannot name it later.
        """
        bank = self._banks[file.provider]
        removed = _remove_unnamed(bank.out, file.file_id)
        if _lies_in(bank, file.file_id, sha256):
            rows.settle(conn, file.to("delivered", self._clock.now()))
        elif file.state == "delivering":
            code = "never_named" if removed else "not_found"
            rows.settle(conn, file.to("unresolved", self._clock.now(), code))
            log.error("bank file unresolved", action="file", provider=file.provider, file_id=file.file_id, code=code)


def _remove_unnamed(out: Path, file_id: str) -> int:
    """Delete temporary files of processes that have lost their leases. → how many"""
    found = list(out.glob(f".{file_id}.*.part"))
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def _lies_in(bank: BankFileAccount, file_id: str, sha256: str) -> bool:
    folders = [bank.out] if bank.sent is None else [bank.out, bank.sent]
    found = [path for folder in folders for path in folder.glob(f"*{file_id}*") if path.suffix != ".part"]
    return any(_digest(path) == sha256 for path in found)


def _digest(path: Path) -> str | None:
    """None: it has just been taken away."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def _sync(folder: Path) -> None:
    """Wait until the folder's entries are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
