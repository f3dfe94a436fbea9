"""Any order, any repetition: facts, files, versions and withdrawals end in what the model says, tally by tally."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pytest

from reconciliation import archive, decide, saving
from schemas.events import AnyEvent, PaymentDeclined
from schemas.money import Money
from schemas.settlements import SettlementFileDiscarded
from tests.captures import capture
from tests.model_reconciliation import Expectation, World
from tests.money_back import capture_reversed, refunded, share
from tests.reconciling import Report, Room, Row, call_id
from tests.store.hearing import NOW
from topics.runtime.shape.limits import Retention
from topics.settings import Settings
from topics.settlement_sources import FeeScheduleRow, FileSchedule, SettlementSource

WORLDS = 25
REFERENCES = 6
Step = AnyEvent | Callable[[Room], None]


@dataclass
class Tale:
    """A world and the steps that lead to it; each list of steps keeps its own order."""

    source: SettlementSource
    world: World = field(default_factory=World)
    steps: list[list[Step]] = field(default_factory=list)


def source(number: int) -> SettlementSource:
    fees = (FeeScheduleRow(valid_from=date(2020, 1, 1), percent="10"),) if number % 2 else ()
    files = FileSchedule(first_day=NOW.date()) if number % 3 == 0 else None
    return SettlementSource(name=f"s{number}", psp=f"p{number}", bank_account="main", fees=fees, files=files)


def tale(number: int, chance: random.Random) -> Tale:
    told = Tale(source(number))
    for each in range(chance.randint(0, 7)):
        _fact(told, f"{number}-{each}", number * 100 + chance.randrange(REFERENCES), chance)
    pool = [_row(f"{number}-{each}", number * 100, chance) for each in range(chance.randint(0, 9))]
    for each in range(chance.randint(0, 4)):
        _report(told, each, pool, chance)
    return told


def _fact(told: Tale, name: str, reference: int, chance: random.Random) -> None:
    psp, currency, amount = told.source.psp, chance.choice(["EUR", "USD"]), chance.randint(1, 50)
    kind = chance.choice("cccCrd")
    key, money = call_id(reference), Money(amount, currency)
    common: dict[str, Any] = {"psp": psp, "gross": money, "fee": Money(0, currency), "net": money}
    event: AnyEvent
    fee = (10 * amount + 50) // 100 if told.source.fees else None
    if kind == "c":
        event = capture(f"order-{name}", call_id=key, **common)
        made = Expectation(name, psp, "c", key, currency, amount, fee)
    elif kind == "C":
        event = capture_reversed(None, share(amount, 0, currency), f"order-{name}").model_copy(
            update={"psp": psp, "call_id": key}
        )
        made = Expectation(name, psp, "c", key, currency, -amount)
    elif kind == "r":
        event = refunded("r", share(amount, 0, currency), f"order-{name}").model_copy(
            update={"psp": psp, "call_id": key}
        )
        made = Expectation(name, psp, "r", key, currency, -amount)
    else:
        terms = capture(f"order-{name}", **common).terms()
        event = PaymentDeclined(**terms, psp=psp, call_id=key, code="no")  # type: ignore[arg-type]
        made = Expectation(name, psp, "c", key, currency, None)
    told.world.expectations.add(made)
    told.steps += [[event]] * chance.choice([1, 1, 2])


def _row(name: str, reference: int, chance: random.Random) -> Row:
    kind, currency = chance.choice("cccccrf"), chance.choice(["EUR", "EUR", "USD"])
    gross, fee = chance.randint(-20, 50), chance.randint(0, 5)
    other = chance.random() < 0.2 and kind != "f"
    return Row(
        "" if kind == "f" else call_id(reference + chance.randrange(REFERENCES)),
        gross,
        fee,
        kind,
        chance.choice(["a", "b", "c"]),
        currency,
        net_currency="GBP" if other else "",
        net=2 * gross - fee if other else None,
        name=name,
    )


def _report(told: Tale, version: int, pool: list[Row], chance: random.Random) -> None:
    rows = tuple(row for row in pool if chance.random() < 0.6)
    sums: dict[tuple[str, str], int] = {}
    for row in rows:
        where = (row.settlement, row.net_currency or row.currency)
        sums[where] = sums.get(where, 0) + (row.gross - row.fee if row.net is None else row.net)
    claims = tuple((*where, net + chance.choice([0, 0, 0, 1])) for where, net in sorted(sums.items()))
    mode, identity = chance.choice(["replace", "union"]), chance.choice("xy")
    first, last = sorted(chance.choices(("2026-01-05", "2026-01-06", "2026-01-07", "2026-01-15"), k=2))
    report = Report(rows, claims, told.source, identity, str(version), mode, days=(first, last))
    told.world.reports.append(report)
    size = chance.randint(1, 4)
    said: list[Step] = [report.stored(), lambda room: room.gated(report), *report.chunks(size), report.ended(size)]
    said += chance.sample(report.chunks(size), chance.randint(0, len(report.chunks(size))))
    if chance.random() < 0.2:
        told.world.discarded.add(report.file_id)
        discard = SettlementFileDiscarded(
            source=told.source.name, file_id=report.file_id, discarded_by="ann", reason="wrong"
        )
        said.insert(chance.randint(2, len(said)), discard)
    told.steps.append(said)


def shuffled(lists: list[list[Step]], chance: random.Random) -> Iterator[Step]:
    """All steps in a random order that keeps the order of each list."""
    turns = [number for number, steps in enumerate(lists) for _ in steps]
    chance.shuffle(turns)
    rest = [iter(steps) for steps in lists]
    return (next(rest[turn]) for turn in turns)


def play(rooms: list[Room], steps: Iterator[Step], chance: random.Random, archived: Callable[[], None]) -> None:
    """In batches of any size, by any of the processes, with sweeps in between, and whatever is closed archived."""
    batch: list[AnyEvent] = []
    for step in steps:
        if callable(step):
            _hear(rooms, batch, chance)
            step(rooms[0])
        else:
            batch.append(step)
        if len(batch) >= chance.randint(1, 40):
            _hear(rooms, batch, chance)
        if chance.random() < 0.02:
            rooms[0].fires()
        if chance.random() < 0.05:
            archived()
    _hear(rooms, batch, chance)


def _hear(rooms: list[Room], batch: list[AnyEvent], chance: random.Random) -> None:
    if batch:
        chance.choice(rooms).hear(*batch)
        batch.clear()


def archiver(room: Room, chance: random.Random) -> Callable[[], int]:
    """Moves what is closed, as if it were old, on some day of three months. → how many tallies"""

    def move() -> int:
        at, before = NOW + timedelta(days=60 + chance.randrange(90)), _archived(room)
        while True:
            with room.store.transaction() as conn:
                if not archive.trim(conn, Retention(), at):
                    return _archived(room) - before

    return move


def _archived(room: Room) -> int:
    with room.store.transaction() as conn:
        [(count,)] = conn.execute("SELECT count(*) FROM tallies_done")
    return int(count)


@pytest.mark.parametrize(("seed", "archiving"), [(1, False), (2, False), (1, True), (2, True), (3, True)])
def test_any_order_of_facts_and_files_ends_as_the_model_says(
    stored: Settings, seed: int, archiving: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tallies come back from the archive as they were, whatever is heard of them since."""
    monkeypatch.setattr(saving, "UNMERGED_MAX", 20)
    monkeypatch.setattr(archive, "BLOCKS", 1)
    monkeypatch.setattr(decide, "YOUNG", timedelta(0))  # what is archived here is not old
    chance = random.Random(seed)
    tales = [tale(number, chance) for number in range(WORLDS)]
    rooms = [Room(stored, [told.source for told in tales], name) for name in "ab"]
    room, moved = rooms[0], list[int]()
    move = archiver(room, chance)
    steps = shuffled([steps for told in tales for steps in told.steps], chance)
    play(rooms, steps, chance, (lambda: moved.append(move())) if archiving else lambda: None)
    room.settles()
    assert bool(sum(moved)) == archiving
    assert room.tallies() == {key: each for told in tales for key, each in told.world.end().amounts().items()}
    assert room.booked() == {subject: each for told in tales for subject, each in told.world.booked().items()}
    assert room.breaks() == {each for told in tales for each in told.world.breaks(late=False)}
    assert room.kept_sums() == room.counted_sums() != set()
    room.after += timedelta(days=60)
    room.heard_all()
    room.misses_files()
    late = room.now().date()
    assert room.breaks() == {each for told in tales for each in told.world.late_breaks(told.source, late)}
    assert all(each.dead == 0 for each in rooms)
    for each in rooms:
        each.close()
