"""A fortnight of payments at five PSPs, one of each format, and a bank; with faults of each code, planted by seed.

What is found is what was planted, as sets; and files in three orders end in the same reports, to the byte.
"""

from __future__ import annotations

import os
import random
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import pytest

from operations.cli.commands.recon import BREAKS, CLEARING, PROOF, SETTLEMENTS
from operations.cli.csv_rows import cell
from operations.stack.servers import Servers
from operations.stack.settings import load_settings
from producers.recon_reports import Answer
from reconciliation.matching import CLASSES
from schemas.breaks import HOLDS_PAYOUTS
from tests.conftest import SECRET, copy_database, drop_database
from tests.fortnight.office import Office
from tests.fortnight.oracle import Oracle
from tests.fortnight.world import SOURCES, Bytes, Day, fortnight, moment

ORDERS = int(os.environ.get("FORTNIGHT_ORDERS", "750"))
SEED = int(os.environ.get("FORTNIGHT_SEED", "1"))
_NIGHT = timedelta(hours=18)  # from the noon of a day to the next morning, when its files come
_LATER = timedelta(days=1)  # after the last day: whatever is missing is late, but for what has happened on it


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> list[Day]:
    return fortnight(tmp_path_factory.mktemp("fortnight"), ORDERS, SEED)


def as_dated(office: Office, days: Sequence[Day]) -> None:
    """Each night the day's files come, after all that has been said that day."""
    for day in days:
        office.at(moment(day.day))
        office.hear(day.said)
        office.at(moment(day.day) + _NIGHT)
        office.heard_all()
        office.receive(day.files)
        office.heard_all()


def reversed_(office: Office, days: Sequence[Day]) -> None:
    """Nothing comes for a fortnight, and then the newest file first."""
    for day in days:
        office.at(moment(day.day))
        office.hear(day.said)
    office.at(moment(days[-1].day) + _NIGHT)
    office.heard_all()
    office.receive(reversed(_files(days)))


def shuffled(office: Office, days: Sequence[Day]) -> None:
    """The rooms have stood still: half of the files are here before anything is heard, some of them twice."""
    files = _files(days)
    random.Random(SEED).shuffle(files)
    half = len(files) // 2
    office.at(moment(days[-1].day) + _NIGHT)
    office.receive(files[:half])
    for day in days:
        office.hear(day.said)
    office.receive([*files[half:], *files[:20]])
    office.heard_all()


def _files(days: Sequence[Day]) -> list[Bytes]:
    return [file for day in days for file in day.files]


Order = Callable[[Office, Sequence[Day]], None]
ORDERS_OF_FILES: tuple[Order, ...] = (as_dated, reversed_, shuffled)


@pytest.fixture(scope="module")
def offices(servers: Servers, template: str, days: list[Day]) -> Iterator[dict[Order, Office]]:
    """By the order in which the files came to each."""
    with ExitStack() as stack:
        yield {order: stack.enter_context(lived(servers, template, days, order)) for order in ORDERS_OF_FILES}


@contextmanager
def lived(servers: Servers, template: str, days: Sequence[Day], order: Order) -> Iterator[Office]:
    """An office after the fortnight, with a database of its own until the block ends."""
    name = f"tally_f{secrets.token_hex(5)}"
    copy_database(servers, template, name)
    settings = load_settings(postgres=servers.postgres, database=name, secret=SECRET, settlement_sources=SOURCES)
    office = Office(settings, order.__name__)
    try:
        order(office, days)
        office.at(moment(days[-1].day) + _LATER)
        office.heard_all()
        yield office
    finally:
        office.close()
        drop_database(servers, name)


@pytest.mark.parametrize("order", ORDERS_OF_FILES)
def test_what_is_found_is_what_was_planted(offices: dict[Order, Office], days: list[Day], order: Order) -> None:
    assert offices[order].found() ^ Oracle(days).lasting() == set()


def test_what_passes_is_a_break_until_then_and_nothing_else_was_one(
    offices: dict[Order, Office], days: list[Day]
) -> None:
    assert offices[as_dated].found(ever=True) ^ Oracle(days).ever() == set()


def test_of_each_code_five_faults_or_more_are_planted(days: list[Day]) -> None:
    planted = Counter(code for code, _ in Oracle(days).ever())
    inside = HOLDS_PAYOUTS  # between our rooms: files do not tell of them (tests/store/test_reconciliation_inside.py)
    assert planted.keys() == CLASSES.keys() - inside
    assert min(planted.values()) >= 5, planted


def test_files_in_three_orders_end_in_the_same_reports_to_the_byte(offices: dict[Order, Office]) -> None:
    """But for the moments at which breaks were opened, until when they are to be decided, and the order of arrival."""
    reports = {order: office.reports() for order, office in offices.items()}
    for name, columns in COLUMNS.items():
        first, *others = (csv_of(reports[order][name][name], columns) for order in ORDERS_OF_FILES)
        assert len(first) > 1
        for other in others:
            assert first == other


COLUMNS = {"settlements": SETTLEMENTS, "clearing": CLEARING, "proof": PROOF, "breaks": BREAKS}


NOTHING = (("0.00", "0.00"), ("0", "0"))  # an account that something has been booked on meanwhile, or not


def csv_of(rows: Sequence[Answer], columns: Sequence[tuple[str, str]]) -> list[str]:
    """Lines as the command writes them, sorted."""
    fields = [field for field, _ in columns if field not in ("opened_at", "decide_by")]
    told = [row for row in rows if (row.get("ledger"), row.get("explained")) not in NOTHING]
    return sorted(",".join(cell(row[field]) for field in fields) for row in told)


@pytest.mark.parametrize("order", ORDERS_OF_FILES)
def test_the_four_equations_hold_and_the_auditor_finds_nothing(offices: dict[Order, Office], order: Order) -> None:
    proof = offices[order].reports()["proof"]
    assert {line["equation"] for line in proof["proof"]} == {"receivable", "suspense", "bank clearing", "bank"}
    assert [
        line for line in proof["proof"] if line["difference"] not in ("0.00", "0")
    ] == []  # of yen and pesos there are no hundredths
    assert offices[order].audited() == {}
