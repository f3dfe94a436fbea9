"""Reconciliation with one of its rules left out: the comparison with the model turns red, and so does the auditor."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from consumers.ledger import consumer as ledger
from operations.auditor.engine.stores import Stores
from operations.auditor.engine.sums import check_sums
from operations.auditor.settlements import SUMS, compare, read_all
from reconciliation import booking, case_rows, facts, fold, loading, settling
from schemas.events import AnyEvent, PaymentCaptured
from schemas.settlements import Settled
from tests.captures import capture
from tests.contract.running import wait
from tests.model_reconciliation import Expectation, World
from tests.reconciling import ADYEN, Room, Row, call_id, paid_out
from tests.store.hearing import Hearing
from topics.settings import Settings

Build = Callable[[pytest.MonkeyPatch], None]
WAITING = "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()"


def nothing(patch: pytest.MonkeyPatch) -> None:
    """The build that is shipped."""


def digest_guard_off(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fold, "_MEET", fold._MEET.replace("AND NOT l.digest = ANY (t.digests)", ""))


def expectation_looks_before_it_writes(patch: pytest.MonkeyPatch) -> None:
    """As with two tables: what a line's transaction has made meanwhile is not seen, and neither sees the other."""
    seen = """AND EXISTS (SELECT 1 FROM tallies s WHERE s.key = t.key AND s.kind = t.kind AND s.currency = t.currency
        AND s.psp = t.psp)
    RETURNING"""
    patch.setattr(facts, "_EXPECT", facts._EXPECT.replace("RETURNING", seen, 1))


def close_without_recount(patch: pytest.MonkeyPatch) -> None:
    progress = loading._progress
    patch.setattr(loading, "_progress", lambda *of: replace(progress(*of), is_whole=True))


def whole_booked_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(settling, "difference", lambda wanted, booked: {} if wanted == booked else dict(wanted))


def unknown_taken_from_the_receivable(patch: pytest.MonkeyPatch) -> None:
    sides = booking._sides
    patch.setattr(booking, "_sides", lambda each, bank: (sides(each, bank)[0],) * 2)


@dataclass(frozen=True)
class Red:
    """What differs from the model, and what the auditor finds."""

    differs: set[str]
    auditor: set[str]


RED: dict[Build, Red] = {
    nothing: Red(set(), set()),
    digest_guard_off: Red({"tallies", "booked", "said", "breaks"}, {"settlement_lines_once"}),
    expectation_looks_before_it_writes: Red({"tallies", "booked", "said", "breaks"}, {"receivables_expected"}),
    close_without_recount: Red({"breaks"}, {"settlement_lines_folded"}),
    whole_booked_again: Red({"said"}, {"settlements_booked"}),
    unknown_taken_from_the_receivable: Red({"booked", "said"}, {"receivables_settled"}),
}


@dataclass
class Run:
    """One file on its way, with all that may happen to it: lines and facts at once, a line twice, a close that comes early, a
    fact that comes late, and a line that nobody knows."""

    settings: Settings
    found: set[str] = field(default_factory=set)  # by the auditor, at any time

    def __post_init__(self) -> None:
        self.settings = self.settings.model_copy(update={"settlement_sources": (ADYEN,)})
        self.room, self.other = (Room(self.settings, (ADYEN,), name) for name in "ab")
        self.books = Hearing(self.settings, ledger.build(self.settings), "l")
        rows = [Row(call_id(number), 1234, 34) for number in range(1, 7)]
        self.report = paid_out([*rows, Row(call_id(7), 1134, 34), Row(call_id(9), 500, 5)])
        self.world = World({_expected(number) for number in range(1, 8)}, [self.report]).end()

    def play(self, patch: pytest.MonkeyPatch) -> None:
        first, crossing, twice, *late = self.report.chunks(2)
        self._hear(self.report.stored())
        self.room.gated(self.report)
        self._hear(captured(1), captured(2), captured(5), captured(7))
        self._hear(first)
        self._cross(crossing, (captured(3), captured(4)), patch)
        self._hear(twice)
        self._hear(twice)  # under another id
        self._hear(self.report.ended(2))
        self.room.settles()
        self._audit()
        self._hear(*late)
        self.room.settles()
        self._hear(captured(6))
        self.room.settles(timedelta(days=60))
        self.room.heard_all()
        self.room.settles(timedelta(minutes=2))
        self.books.hears(*self.room.all_said(Settled))
        self._audit()

    def _hear(self, *events: AnyEvent) -> None:
        self.room.hear(*events)
        self.books.hears(*(event for event in events if isinstance(event, PaymentCaptured)))

    def _cross(self, lines: AnyEvent, expectations: tuple[AnyEvent, ...], patch: pytest.MonkeyPatch) -> None:
        """The lines are written, and not committed, when their facts come."""
        save = case_rows.save
        beside = threading.Thread(target=self.other.hear, args=expectations)

        def facts_come(*arguments: object) -> object:
            said = save(*arguments)  # type: ignore[arg-type]
            if threading.current_thread() is not beside:
                beside.start()
                wait("they wait", lambda: self._waits() or not beside.is_alive())
            return said

        with patch.context() as crossing:
            crossing.setattr(case_rows, "save", facts_come)
            self.room.hear(lines)
            beside.join()
        self.books.hears(*expectations)

    def _waits(self) -> bool:
        with self.books.store.transaction() as conn:
            found = conn.execute(WAITING)
            return found.fetchone() is not None

    def _audit(self) -> None:
        with Stores(self.settings) as stores:
            self.found |= {each.check for each in compare(read_all(stores, self.settings))}
            self.found |= {each.name for each in check_sums(stores, SUMS, expected=False) if not each.ok}

    def differs(self) -> set[str]:
        """From what the model says."""
        assert (self.room.dead, self.other.dead, self.books.dead) == (0, 0, 0)
        compared = {
            "tallies": self.room.tallies() == self.world.amounts(),
            "booked": self.room.booked() == self.world.booked(),
            "said": self._said() == self.world.booked(),
            "breaks": self.room.breaks() == self.world.breaks(late=True),
        }
        return {name for name, same in compared.items() if not same}

    def _said(self) -> dict[str, dict[str, int]]:
        """What the ledger was told to book of each settlement, in sum."""
        sums: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for event in [each for each in self.room.said if isinstance(each, Settled)]:
            for each in event.amounts:
                sums[event.subject][f"{each.role} {each.amount.currency}"] += each.amount.minor
        return {subject: {side: amount for side, amount in sides.items() if amount} for subject, sides in sums.items()}

    def close(self) -> None:
        for each in (self.room, self.other, self.books):
            each.close()


def captured(number: int) -> PaymentCaptured:
    """EUR 12.34 at northpay."""
    return capture(f"order-{number}", call_id=call_id(number))


def _expected(number: int) -> Expectation:
    return Expectation(f"order-{number}", ADYEN.psp, "c", call_id(number), "EUR", 1234)


@contextmanager
def played(settings: Settings, build: Build, patch: pytest.MonkeyPatch) -> Iterator[Run]:
    run = Run(settings)
    with patch.context() as sabotage:
        build(sabotage)
        run.play(sabotage)
    yield run
    run.close()


@pytest.mark.parametrize("build", RED, ids=lambda build: build.__name__)
def test_each_rule_of_reconciliation_is_needed(build: Build, stored: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with played(stored, build, monkeypatch) as run:
        assert run.differs() == RED[build].differs
        assert run.found == RED[build].auditor
