"""Bank files as we write them on the real simulator: what its bank takes, refuses, tells, books, and how it misbehaves."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from psp.pain001 import Debtor, FileHeader, write
from psp.pain002 import StatusFile, StatusFileError, read
from psp.payout_port import Opened, Transfer
from schemas.money import Money
from tests.simulator.running import RunningSimulator, wait_for

ENDINGS = ("00", "01", "02", "03", "04", "05")
ADDRESS = {"town": "London", "country": "GB"}
EXECUTED_S, DAY_S = 4, 86_400


@pytest.fixture(scope="module")
def module_simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSimulator]:
    running = RunningSimulator(tmp_path_factory.mktemp("bank"))
    wait_for((running.bank / "statuses").exists)
    yield running
    running.kill()


@pytest.fixture
def simulator(module_simulator: RunningSimulator) -> Iterator[RunningSimulator]:
    yield module_simulator
    module_simulator.control("PUT", "/control/faults", {"psp": "all", "clear": True, "down": False})


def iban(ending: str, country: str = "DE", account: str = "3704004453201300") -> str:
    """With check digits (ISO 7064)."""
    number = int("".join(str(int(each, 36)) for each in f"{account}{ending}{country}00"))
    return f"{country}{98 - number % 97:02}{account}{ending}"


def a_transfer(ending: str = "00", minor: int = 1250, currency: str = "EUR", **more: Any) -> Transfer:
    destination: Opened = {"type": "iban", "iban": iban(ending), "holder": "Ada Lovelace", **more}
    return Transfer(uuid4().hex, f"payout-{uuid4().hex[:8]}", Money(minor, currency), destination)


def a_file(transfers: Sequence[Transfer], file_id: str = "") -> bytes:
    currency = transfers[0].amount.currency
    total = Money(sum(each.amount.minor for each in transfers), currency)
    debtor = Debtor("Plattform GmbH", iban("77"))
    at = datetime(2026, 11, 30, 18, tzinfo=UTC)
    header = FileHeader(file_id or uuid4().hex, at, date(2026, 12, 1), debtor, currency, len(transfers), total)
    return b"".join(write(header, transfers))


def put(running: RunningSimulator, raw: bytes, name: str = "") -> str:
    """Into the folder, as we put files there. → its name, once the bank has taken it"""
    name = name or f"{uuid4().hex}.xml"
    hidden = running.bank / "out" / f".{name}.part"
    hidden.write_bytes(raw)
    os.replace(hidden, running.bank / "out" / name)
    wait_for(lambda: not (running.bank / "out" / name).exists())
    return name


def advance(running: RunningSimulator, seconds: float) -> None:
    now = float(running.clock.read_text()) if running.clock.exists() else 0.0
    hidden = running.clock.with_suffix(".part")
    hidden.write_text(str(now + seconds))
    os.replace(hidden, running.clock)


def reports(running: RunningSimulator, message_id: str) -> list[StatusFile]:
    """In the order of their names, which begin with the file's number and are put there one after the other."""
    files = sorted((running.bank / "statuses").glob("[!.]*.xml"), key=lambda path: path.stat().st_mtime_ns)
    told = [path.read_bytes() for path in files]
    return [read(raw) for raw in told if message_id.encode() in raw]


def told(running: RunningSimulator, message_id: str, count: int) -> list[StatusFile]:
    def enough() -> list[StatusFile] | None:
        found = reports(running, message_id)
        return found if len(found) >= count else None

    return wait_for(enough)


def listed(running: RunningSimulator, reference: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = running.control("GET", f"/control/bank?reference={reference}")
    return found


def refusal(running: RunningSimulator, name: str) -> str | None:
    files = running.control("GET", "/control/bank?limit=100")["files"]
    [found] = [file["refusal"] for file in files if file["name"] == name]
    return found  # type: ignore[no-any-return]


def history(found: Sequence[StatusFile], transfer: Transfer) -> list[tuple[str, str | None]]:
    lines = [line for report in found for line in report.lines]
    return [(line.status, line.code) for line in lines if line.end_to_end_id == transfer.call_id]


def test_every_ending_is_told_and_listed_and_booked_to_the_cent(simulator: RunningSimulator) -> None:
    lines, file_id = [a_transfer(ending, 1000 + number) for number, ending in enumerate(ENDINGS)], uuid4().hex
    name = put(simulator, raw := a_file(lines, file_id))
    assert (simulator.bank / "sent" / name).read_bytes() == raw
    [received] = told(simulator, file_id, 1)[:1]
    assert (received.group_status, received.lines) == ("ACTC", [])
    advance(simulator, EXECUTED_S)
    found = told(simulator, file_id, 3)
    assert [report.group_status for report in found] == ["ACTC", "PART", "PART"]
    assert all(line.amount in [each.amount for each in lines] for report in found for line in report.lines)
    became = [history(found, line) for line in lines]
    accepted, paid = ("ACSP", None), ("ACSC", None)
    assert became == [
        [accepted, paid],
        [("RJCT", "AC04")],
        [accepted, ("RJCT", "AC06")],
        [accepted, paid],
        [],
        [("CANC", "CUST")],
    ]
    advance(simulator, DAY_S)
    assert history(told(simulator, file_id, 4), lines[3]) == [accepted, paid, ("RJCT", "MD07")]
    statuses = [line["status"] for line in listed(simulator, file_id)["lines"]]
    assert statuses == ["paid", "rejected", "failed", "returned", "paid", "cancelled"]
    [by_payout] = listed(simulator, lines[0].payout_id)["lines"]
    assert (by_payout["reference"], by_payout["amount"]) == (lines[0].call_id, 1000)
    wait_for(lambda: all_is_booked(simulator, file_id))
    stated = statement(simulator)
    assert [stated.count(f"<EndToEndId>{each.call_id}</EndToEndId>") for each in lines] == [1, 0, 0, 2, 1, 0]


def all_is_booked(running: RunningSimulator, file_id: str) -> bool:
    asked = "SELECT min(done) FROM bank_reports JOIN bank_files ON seq=file_seq WHERE message_id=?"
    with closing(sqlite3.connect(running.folder / "data" / "psps.sqlite")) as books:
        return bool(books.execute(asked, (file_id,)).fetchone()[0])


def statement(running: RunningSimulator) -> str:
    """The bank's statement of today, with all that no other has."""
    day = running.control("POST", "/control/settle", {})["date"]
    files = running.control("GET", f"/control/settlements?date={day}")["files"]
    [file] = [file for file in files if file["format"] == "camt.053"]
    query = urlencode({"date": day, "source": file["source"], "name": file["name"]})
    with urllib.request.urlopen(f"{running.url}/control/settlement-file?{query}") as answer:
        return str(answer.read().decode())


def test_a_file_that_the_bank_has_had_is_refused_and_its_first_goes_on(simulator: RunningSimulator) -> None:
    line, file_id = a_transfer(), uuid4().hex
    first = put(simulator, raw := a_file([line], file_id))
    again = put(simulator, raw, first)
    assert [file["refusal"] for file in listed(simulator, file_id)["files"]] == [None, "DU01"]
    assert (simulator.bank / "sent" / again.replace(".xml", "-2.xml")).read_bytes() == raw
    raws = wait_for(lambda: [raw for raw in raw_reports(simulator, file_id) if b"RJCT" in raw])
    with pytest.raises(StatusFileError, match="had this before"):
        read(raws[0])
    advance(simulator, EXECUTED_S)
    wait_for(lambda: any(b"ACSC" in raw for raw in raw_reports(simulator, file_id)))
    assert [each["status"] for each in listed(simulator, line.call_id)["lines"]] == ["paid"]


def raw_reports(running: RunningSimulator, message_id: str) -> list[bytes]:
    found = [path.read_bytes() for path in (running.bank / "statuses").glob("[!.]*.xml")]
    return [raw for raw in found if message_id.encode() in raw]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda raw: raw[:-20], "FF01"),
        (lambda raw: b"", "FF01"),
        (lambda raw: raw.replace(b"pain.001.001.09", b"pain.001.001.03"), "FF01"),
        (lambda raw: raw.replace(b"<NbOfTxs>1<", b"<NbOfTxs>2<"), "AM18"),
        (lambda raw: raw.replace(b"<CtrlSum>12.50<", b"<CtrlSum>12.51<"), "AM10"),
        (lambda raw: raw.replace(iban("77").encode(), b"DE00370400440532013077"), "AC02"),
        (lambda raw: raw.replace(b"<?xml", b"<!DOCTYPE x><?xml"), "FF01"),
    ],
)
def test_a_file_that_no_bank_takes_is_refused_with_a_reason(
    simulator: RunningSimulator, change: Callable[[bytes], bytes], code: str
) -> None:
    line = a_transfer()
    name = put(simulator, change(a_file([line])))
    assert wait_for(lambda: refusal(simulator, name)) == code
    assert listed(simulator, line.call_id)["lines"] == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda raw: raw.replace(b">Ada Lovelace<", b">" + "Ádá".encode() + b"<"), "BE22"),
        (lambda raw: raw.replace(b"<CdtrAcct><Id><IBAN>DE", b"<CdtrAcct><Id><IBAN>AT"), "AC01"),
        (lambda raw: raw.replace(b"<TwnNm>London</TwnNm><Ctry>GB</Ctry>", b"<AdrLine>London</AdrLine>"), "BE04"),
    ],
)
def test_a_line_that_no_bank_pays_is_rejected_with_a_reason(
    simulator: RunningSimulator, change: Callable[[bytes], bytes], code: str
) -> None:
    line, file_id = a_transfer(address=ADDRESS), uuid4().hex
    put(simulator, change(a_file([line], file_id)))
    advance(simulator, EXECUTED_S)
    assert history(told(simulator, file_id, 2), line) == [("RJCT", code)]


@pytest.mark.parametrize(
    ("fault", "groups", "lines"),
    [
        ("refused", ["RJCT"], []),
        ("twice", ["ACTC", "ACTC", "PART", "PART", "PART", "PART"], ["ACSP", "ACSP", "ACSC", "ACSC"]),
        ("out_of_order", ["PART", "PART", "ACTC"], ["ACSC", "ACSP"]),
        ("only_rejected", ["ACTC", "PART"], []),
    ],
)
def test_a_bank_misbehaves_as_it_was_told_to(
    simulator: RunningSimulator, fault: str, groups: list[str], lines: list[str]
) -> None:
    good, bad, file_id = a_transfer(), a_transfer("01"), uuid4().hex
    simulator.control("POST", "/control/next", {"op": "file", "subject": file_id, "fault": fault})
    put(simulator, a_file([good, bad], file_id))
    for count in range(1, len(groups) + 1):
        told(simulator, file_id, count if fault != "twice" else 1)
        advance(simulator, 2)
    found = told(simulator, file_id, len(groups))
    assert [report.group_status for report in found] == groups
    assert [status for status, _ in history(found, good)] == lines


def test_a_bank_is_late_or_never_tells_or_tells_other_amounts(simulator: RunningSimulator) -> None:
    files = {fault: (a_transfer(), uuid4().hex) for fault in ("late", "never", "wrong_amount")}
    for fault, (line, file_id) in files.items():
        simulator.control("POST", "/control/next", {"op": "file", "subject": file_id, "fault": fault})
        put(simulator, a_file([line], file_id))
    advance(simulator, EXECUTED_S)
    line, doctored = files["wrong_amount"]
    assert {each.amount for report in told(simulator, doctored, 3) for each in report.lines} == {Money(1251, "EUR")}
    assert reports(simulator, files["late"][1]) == reports(simulator, files["never"][1]) == []
    advance(simulator, 3600)
    assert len(told(simulator, files["late"][1], 3)) == 3
    assert reports(simulator, files["never"][1]) == []
    assert [each["status"] for each in listed(simulator, files["never"][1])["lines"]] == ["paid"]


def test_a_line_ends_as_it_was_planned_whatever_its_account(simulator: RunningSimulator) -> None:
    line, file_id = a_transfer("00"), uuid4().hex
    simulator.control("POST", "/control/next", {"op": "line", "subject": line.payout_id, "fault": "failed"})
    put(simulator, a_file([line], file_id))
    advance(simulator, EXECUTED_S)
    assert history(told(simulator, file_id, 3), line) == [("ACSP", None), ("RJCT", "AC06")]


def test_a_bank_that_dies_before_it_has_moved_a_file_does_not_take_it_for_a_repetition(
    own_simulator: RunningSimulator,
) -> None:
    wait_for((own_simulator.bank / "out").exists)
    file_id = uuid4().hex
    name = put(own_simulator, raw := a_file([a_transfer()], file_id))
    wait_for(lambda: moved(own_simulator.folder, file_id))
    own_simulator.kill()
    with closing(sqlite3.connect(own_simulator.folder / "data" / "psps.sqlite", isolation_level=None)) as books:
        books.execute("UPDATE bank_files SET moved=0")
    shutil.move(own_simulator.bank / "sent" / name, own_simulator.bank / "out" / name)
    own_simulator.start()
    wait_for((own_simulator.bank / "sent" / name).exists)
    assert hashlib.sha256(raw).digest() == hashlib.sha256((own_simulator.bank / "sent" / name).read_bytes()).digest()
    assert [file["refusal"] for file in listed(own_simulator, file_id)["files"]] == [None]


def moved(folder: Path, file_id: str) -> bool:
    with closing(sqlite3.connect(folder / "data" / "psps.sqlite")) as books:
        return books.execute("SELECT moved FROM bank_files WHERE message_id=?", (file_id,)).fetchone() == (1,)
