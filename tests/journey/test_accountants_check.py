"""An accountant takes ten settlements that were paid out, and follows every number down to the line of the file and back.

What the accountant knows of formats is that an amount of a line stands in its record, in units or hundredths; nothing is
shared with the readers.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, LiteralString

import pytest

from operations.cli.ingesting import ingest
from operations.cli.recon_answers import answer, walked
from operations.stack.servers import Servers
from producers import recon_explained, recon_replies, recon_reports
from producers.recon_lines import PARTS, LinesAsked, lines
from producers.recon_reports import Answer
from reconciliation import archive
from tests.fortnight.office import Office
from tests.fortnight.world import FIRST, SOURCES, Bytes, Day, fortnight, moment
from tests.journey.test_fortnight import as_dated, lived
from topics.runtime.shape.limits import Retention
from topics.runtime.shape.store import Store

ORDERS = int(os.environ.get("ACCOUNTANT_ORDERS", "750"))
SEED = int(os.environ.get("ACCOUNTANT_SEED", "1"))
SETTLEMENTS = 10
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.])")


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> list[Day]:
    return fortnight(tmp_path_factory.mktemp("fortnight"), ORDERS, SEED)


class Accountant:
    """Asks what `tally recon` asks, and has the files beside it."""

    def __init__(self, office: Office, files: Mapping[str, Bytes], folder: Path) -> None:
        self.office = office
        self.settings = office.settings
        self._files = files
        self._folder = folder
        self._stored: set[str] = set()

    def paid_out(self) -> list[Answer]:
        """Settlements of PSPs that are booked, with more than a pay-out in them."""
        found = answer(self.settings, recon_reports.settlements(None, None, 10_000))["settlements"]
        psps = {source.name for source in SOURCES if source.kind == "psp"}
        return [one for one in found if one["state"] == "booked" and one["source"] in psps and one["lines"] > 1]

    def explain(self, of: str) -> Answer:
        found = walked(self.settings, recon_explained.explained(of, SOURCES))
        recon_replies.Explained.model_validate(found)
        return found

    def lines(self, of: str) -> list[Answer]:
        found, asked = list[Answer](), LinesAsked(of, 100)
        while True:
            page = walked(self.settings, lines(asked))
            found += page.lines
            if page.rest is None:
                return found
            asked = LinesAsked(of, 100, *page.rest)

    def keep(self, file_id: str) -> bytes:
        """The bytes of a file; they are put where the doors would have them."""
        file = self._files[file_id]
        if file_id not in self._stored:
            path = self._folder / file_id
            path.write_bytes(file.content)
            assert ingest(self.settings, file.source, path, "accountant").row["file_id"] == file_id
            self._stored.add(file_id)
        return file.content


@pytest.fixture(scope="module")
def accountant(
    servers: Servers, template: str, days: list[Day], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Accountant]:
    files = {hashlib.sha256(file.content).hexdigest(): file for day in days for file in day.files}
    with lived(servers, template, days, as_dated) as office:
        yield Accountant(office, files, tmp_path_factory.mktemp("bytes"))


@pytest.fixture(scope="module")
def chosen(accountant: Accountant) -> list[Answer]:
    paid = sorted(accountant.paid_out(), key=_named)
    sample = random.Random(SEED).sample(paid, SETTLEMENTS)
    assert len({one["source"] for one in sample}) > 1
    return sample


def _named(one: Answer) -> str:
    return f"{one['source']}/{one['settlement']}/{one['currency']}"


def test_no_report_changes_by_a_byte_when_closed_tallies_are_archived(accountant: Accountant) -> None:
    """What comes after this is asked of the archive, too."""
    office, later = accountant.office, moment(FIRST) + timedelta(days=60)
    before = office.reports()
    with closing(Store(office.settings, "reconciliation")) as store:
        [(all_of_them,)] = _rows(store, "SELECT count(*) FROM tallies")
        while _trimmed(store, later):
            pass
        [(moved,)] = _rows(store, "SELECT count(*) FROM tallies_done")
    assert moved > all_of_them // 2
    assert office.reports() == before
    assert office.audited() == {}


def _rows(store: Store, statement: LiteralString) -> list[tuple[Any, ...]]:
    with store.transaction() as conn:
        return conn.execute(statement).fetchall()


def _trimmed(store: Store, now: datetime) -> int:
    with store.transaction() as conn:
        return archive.trim(conn, Retention(), now)


def test_a_pay_out_is_the_sum_of_its_kinds_and_what_is_booked_of_it_balances(
    accountant: Accountant, chosen: list[Answer]
) -> None:
    for one in chosen:
        [told] = accountant.explain(_named(one))["settlements"]
        net = sum(Decimal(row["net"]) for row in told["sums"] if row["kind"] != "p")
        assert str(net) == told["net"] == told["claimed"]
        sides: dict[str, Decimal] = defaultdict(Decimal)
        for row in told["booked"]:
            sides[row["currency"]] += Decimal(row["amount"])
        assert set(sides.values()) == {Decimal(0)}, _named(one)
        cleared = [Decimal(row["amount"]) for row in told["booked"] if row["role"] == "bank_clearing"]
        paid_out = sum(map(Decimal, told["payouts"].values()))
        assert (len(cleared), sum(cleared)) == (paid_out != 0, paid_out), (
            "of nothing that is paid out nothing is booked"
        )


def test_each_kind_is_the_sum_of_its_lines(accountant: Accountant, chosen: list[Answer]) -> None:
    for one in chosen:
        [told] = accountant.explain(_named(one))["settlements"]
        sums: dict[tuple[str, str], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 3)
        for line in accountant.lines(_named(one)):
            if line["counts"]:
                of_kind = _tally_of(line)
                sums[of_kind] = [before + more for before, more in zip(sums[of_kind], _as_tallied(line), strict=True)]
        rows = [row for row in told["sums"] if row["lines"]]
        shown = {
            (row["kind"], row["gross_currency"]): [Decimal(row[name]) for name in ("gross", "fee", "net")]
            for row in rows
        }
        assert shown == dict(sums), _named(one)


def _as_tallied(line: Answer) -> list[Decimal]:
    """A dispute's fee is part of what is disputed."""
    gross, fee, net = (Decimal(line[name]) for name in ("gross", "fee", "net"))
    is_dispute = line["kind"] in "bB2" and line["gross_currency"] == line["currency"]
    return [gross - fee, Decimal(0), net] if is_dispute else [gross, fee, net]


def test_each_line_is_what_its_file_says_there_and_is_found_from_its_payment_again(
    accountant: Accountant, chosen: list[Answer]
) -> None:
    seen = 0
    for one in chosen:
        for listed in accountant.lines(_named(one)):
            content = accountant.keep(listed["file_id"])
            found = accountant.explain(listed["line"])
            [line] = [each for each in found["lines"] if each["file_id"] == listed["file_id"]]
            assert {name: line[name] for name in listed} == listed
            record = content[line["first_byte"] : line["last_byte"] + 1].decode("utf-8-sig").strip("\r\n")
            assert line["text"] == record, "no card number and no e-mail address is in these files"
            assert _says(record, line), f"{record}\n{line}"
            if line["counts"]:
                _and_back(accountant, found, line)
            seen += 1
    assert seen > SETTLEMENTS


def _and_back(accountant: Accountant, found: Answer, line: Answer) -> None:
    """From the line to the payment by its key, and from there to the line, the settlement and the amount."""
    again = accountant.explain(line["key"])["tallies"]
    assert again == found["tallies"]
    [tally] = [each for each in again if (each["kind"], each["currency"]) == _tally_of(line)]
    [mine] = [each for each in tally["lines"] if each["digest"] == line["digest"]]
    assert (mine["line"], mine["settlement"], mine["text"]) == (line["line"], line["settlement"], line["text"])
    assert Decimal(mine["gross"]) == _as_tallied(line)[0]
    assert sum(Decimal(each["gross"]) for each in tally["lines"]) == Decimal(tally["settled"])
    assert sum(Decimal(each["fee"]) for each in tally["lines"]) == Decimal(tally["fee"])


def _tally_of(line: Answer) -> tuple[str, str]:
    return line["kind"].replace("2", "b"), line["gross_currency"]


def _says(record: str, line: Mapping[str, Any]) -> bool:
    """Whether the gross stands in the record, and net, fee, or the parts of the fee."""
    numbers = {abs(Decimal(each)) for each in _NUMBER.findall(record)}

    def stands(name: str) -> bool:
        amount = abs(Decimal(line[name]))
        return not amount or bool({amount, amount * 100} & numbers)

    is_whole = line["currency"] == line["gross_currency"] and Decimal(line["gross"]) == Decimal(line["net"])
    rest = stands("net") or stands("fee") or all(map(stands, PARTS))
    return (stands("gross") or (line["kind"] in "fip" and stands("net"))) and (is_whole or rest)
