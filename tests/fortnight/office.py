"""Reconciliation and ledger on a database of their own: files go through the real gate, persons decide what is held."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from consumers.ledger.consumer import build as build_ledger
from operations.auditor.balances import SUMS as BALANCES
from operations.auditor.engine.stores import Stores
from operations.auditor.engine.sums import check_sums
from operations.auditor.settlements import SUMS, compare, read_all
from operations.cli.recon_answers import answer
from operations.stack.settings import AllSettings
from producers import recon_reports
from producers.recon_reports import Answer, BreaksAsked
from reconciliation import file_rows, gate
from reconciliation.file_rows import LeasedFile, reading_of
from reconciliation.formats.shape import Control, Refusal
from reconciliation.schedule_watch import set_timers
from reconciliation.spool import Events
from schemas.events import AnyEvent
from schemas.settlements import (
    SettlementFileDiscarded,
    SettlementFileReleased,
    SettlementFileStored,
    SettlementLines,
    SettlementLinesEnded,
)
from tests.fortnight.world import SOURCES, Bytes, Said
from tests.reconciling import Room
from tests.store.hearing import NOW, Hearing

_LANES = 4
_WHO = "reader"
_NAMED = {source.name: source for source in SOURCES}
_SHORT = timedelta(minutes=1)  # until a file that the gate has refused is looked at
_MANY = 10_000
_DECISIONS = 2  # about one file: what is released from its gate may be held by the brake
RECORDED = ("FILE_RESTATED", "DUPLICATE_ROW")


class Office:
    """Its clock stands where it is put."""

    def __init__(self, settings: AllSettings, name: str) -> None:
        """The settings have the fortnight's sources."""
        self.settings = settings
        self._room = Room(settings, SOURCES, f"{name} room")
        self._ledger = Hearing(settings, build_ledger(settings), f"{name} ledger")
        self._bytes: dict[tuple[str, str], Bytes] = {}

    def close(self) -> None:
        """Nothing has become a dead letter."""
        self._room.close()
        self._ledger.close()
        assert (self._room.dead, self._ledger.dead) == (0, 0)

    # ── what comes ──

    def at(self, moment: datetime) -> None:
        """Whatever was due until then happens."""
        self._room.after = moment - NOW
        with self._room.store.transaction() as conn:
            set_timers(conn, SOURCES, set(), self._room.now())
        self._settles()

    def hear(self, said: Sequence[Said]) -> None:
        for at in sorted({each.at for each in said}):
            events = [each.event for each in said if each.at == at]
            for process in (self._room, self._ledger):
                process.hears(*events, after=self._room.after, said_at=at)
        self._settles()

    def heard_all(self) -> None:
        """All that the executor has said until now is heard; what waited for that is judged."""
        self._room.heard_all()
        self.at(self._room.now() + 2 * _SHORT)

    def receive(self, files: Iterable[Bytes]) -> None:
        """Each is stored, read, and settled; then persons look at what is held."""
        for file in files:
            file_id = hashlib.sha256(file.content).hexdigest()
            self._bytes[file.source, file_id] = file
            stored = SettlementFileStored(
                source=file.source,
                file_id=file_id,
                upload_id=file_id[:32],
                name=file.name,
                size=len(file.content),
                received_at=self._room.now(),
            )
            self._room.hear(stored)
            self._read()
            self._settles()
        self.at(self._room.now() + _SHORT)
        for _ in range(_DECISIONS):
            for each in self._held():
                self._decide(each)
            self.at(self._room.now() + _SHORT)
        assert self._held() == []

    def _settles(self) -> None:
        said = self._room.settles()
        if said:
            self._ledger.hears(*said, after=self._room.after)

    # ── the reader: as the room's own, without the doors and Kafka ──

    def _read(self) -> None:
        store = self._room.store
        while True:
            with store.transaction() as conn:
                file = file_rows.lease(conn, _WHO, _NAMED)
            if file is None:
                return
            said = self._gated(file)
            with store.transaction() as conn:
                file_rows.renew(conn, _WHO, file.file_no, len(said))
                file_rows.give_back(conn, _WHO, file.file_no)
            if said:
                self._room.hear(*said)

    def _gated(self, file: LeasedFile) -> list[AnyEvent]:
        """What the reader says of it: nothing of a file that the gate refuses."""
        content = self._bytes[file.source, file.file_id].content
        read_from = gate.reads_from(_NAMED[file.source], file.released)
        try:
            reader, parts = gate.opened([content], read_from, file.name)
            found = list(parts)
        except Refusal as refusal:
            names = ("code", "detail", "line", "column", "excerpt")
            with self._room.store.transaction() as conn:
                refused = {name: getattr(refusal, name) for name in names}
                file_rows.quarantined(conn, _WHO, file.file_no, refused, self._room.now())
            return []
        about = {
            "source": file.source,
            "psp": read_from.psp,
            "file_id": file.file_id,
            "reader": reading_of(reader, file.reader),
        }
        events, control = Events(about, _LANES), found[-1]
        assert isinstance(control, Control)
        spooled = [each for chunk in found[:-1] for each in events.of(chunk)]  # type: ignore[arg-type]
        with self._room.store.transaction() as conn:
            assert file_rows.gated(conn, _WHO, file, reader, control, events.count, self._room.now())
        lines: list[AnyEvent] = [SettlementLines.model_validate_json(each.value) for each in spooled]
        end = events.end(control.lines, control.claims)
        return [*lines, SettlementLinesEnded.model_validate_json(end.value)]

    # ── persons ──

    def _held(self) -> list[dict[str, Any]]:
        return self._room.rows(
            "SELECT source, file_id, name, state, why FROM file_view WHERE state IN ('held', 'quarantined')"
        )

    def _decide(self, file: dict[str, Any]) -> None:
        """Of two versions the later one counts; a broken copy does not; a total that is wrong is as it is."""
        named = {"source": file["source"], "file_id": file["file_id"], "reason": f"{file['why']}"}
        if ".first." in file["name"]:
            self._room.hear(SettlementFileDiscarded(**named, discarded_by="ann"))
        else:
            self._room.hear(SettlementFileReleased(**named, proposed_by="ann", released_by="bob"))
            self._read()

    # ── what it shows ──

    def found(self, *, ever: bool = False) -> set[tuple[str, str]]:
        """Open breaks, and those that are recorded for good; or all that have ever been one: code and item."""
        rows = self._room.rows(
            "SELECT b.code, i.item, i.closed_at IS NULL AS open FROM break_view b JOIN break_item_view i USING (break_id)"
        )
        return {(row["code"], row["item"]) for row in rows if ever or row["open"] or row["code"] in RECORDED}

    def reports(self) -> dict[str, Answer]:
        """What `tally recon` shows."""
        settings = self.settings
        return {
            "settlements": answer(settings, recon_reports.settlements(None, None, _MANY)),
            "clearing": answer(settings, recon_reports.clearing(None, self._room.now().date())),
            "proof": answer(settings, recon_reports.proof(SOURCES)),
            "breaks": answer(settings, recon_reports.breaks(BreaksAsked(limit=_MANY))),
        }

    def audited(self) -> dict[str, str]:
        """What the auditor finds wrong: check → what it says."""
        with Stores(self.settings) as stores:
            found = {each.check: str(each) for each in compare(read_all(stores, self.settings))}
            found.pop("payouts_expected_at_bank", None)  # no executor lives here that has sent them
            sums = check_sums(stores, (*SUMS, *BALANCES), expected=False)
        return found | {each.name: each.detail for each in sums if not each.ok}
