"""`tally settlement formats` and `check`: a file on disk is read as the gate reads it, and nothing is stored."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

from reconciliation.gate import READERS
from tests.commands import tally
from tests.settlement_files import adyen, paid_out, settled

GOOD = adyen([settled(), paid_out("98.80")])


def test_the_formats_are_listed_with_what_ties_them() -> None:
    listed = json.loads(tally({}, "settlement", "formats", "--json").stdout)["formats"]
    assert {each["format"] for each in listed} == {reader.name for reader in READERS}
    assert all(each["ties"] for each in listed)
    assert "adyen_settlement_details" in tally({}, "settlement", "formats").stdout


def test_a_file_that_ties_is_shown_with_its_sums(tmp_path: Path) -> None:
    for name, data in (("batch.csv", GOOD), ("batch.csv.gz", gzip.compress(GOOD))):
        (tmp_path / name).write_bytes(data)
        said = tally({}, "settlement", "check", str(tmp_path / name))
        assert said.returncode == 0
        assert "batch 7 of TallyShop" in said.stdout
        assert "98.80" in said.stdout
    told = json.loads(tally({}, "settlement", "check", "--json", str(tmp_path / "batch.csv")).stdout)
    assert told["refused"] is None
    assert told["settlements"] == [
        {"settlement": "7", "currency": "EUR", "net": "98.80", "paid": "98.80", "ties": True}
    ]


def test_a_file_of_which_nothing_is_booked_is_shown_with_what_it_adds_up_to(tmp_path: Path) -> None:
    report = tmp_path / "within-the-day.sta"
    report.write_text(":20:A\n:25:1\n:28C:5/1\n:34F:EURD0,\n:61:260211C12,50NTRFNONREF//B1\n:86:x\n:90C:1EUR12,50\n-\n")
    said = tally({}, "settlement", "check", str(report))
    assert said.returncode == 0
    assert "1 lines\nthey add up to 12.50 EUR\n" in said.stdout
    assert "none of them is booked" in said.stdout


def test_libraries_of_bank_formats_are_loaded_by_the_first_file_alone() -> None:
    asked = "import sys, reconciliation.gate; sys.exit(len({'mt940', 'bai2'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0


def test_a_file_that_is_refused_is_shown_with_its_place_and_exits_1(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_bytes(GOOD.replace(b"98.80", b"98,\x1b[2J", 1).replace(b"98,", b'"98,').replace(b"[2J", b'[2J"'))
    said = tally({}, "settlement", "check", str(bad))
    assert said.returncode == 1
    assert "bad_row (line 2, Net Credit (NC))" in said.stdout
    assert "\x1b" not in said.stdout  # a stranger's file commands no terminal
    told = json.loads(tally({}, "settlement", "check", "--json", str(bad)).stdout)
    assert (told["refused"]["code"], told["refused"]["line"]) == ("bad_row", 2)


def test_a_broken_or_doubled_gzip_is_refused(tmp_path: Path) -> None:
    for name, data in (("cut.gz", gzip.compress(GOOD)[:-20]), ("twice.gz", gzip.compress(gzip.compress(GOOD)))):
        (tmp_path / name).write_bytes(data)
        said = tally({}, "settlement", "check", str(tmp_path / name))
        assert (said.returncode, "refused: binary" in said.stdout) == (1, True)


def test_with_a_source_the_file_must_be_of_its_account_and_format(tmp_path: Path) -> None:
    (tmp_path / "batch.csv").write_bytes(GOOD)
    sources = [
        {"name": "other", "psp": "adyen", "bank_account": "house", "accounts": ["Elsewhere"]},
        {"name": "bank", "kind": "bank", "bank_account": "house"},
        {"name": "stripe", "psp": "stripe", "bank_account": "house", "format": "stripe_payout_reconciliation"},
        {"name": "misspelt", "psp": "adyen", "bank_account": "house", "format": "adyen"},
    ]
    environment = {"TALLY_HOME": str(tmp_path), "TALLY_SETTLEMENT_SOURCES": json.dumps(sources)}

    def said(source: str) -> str:
        return tally(environment, "settlement", "check", "--source", source, str(tmp_path / "batch.csv")).stdout

    assert "wrong_account" in said("other")
    for source in ("bank", "stripe", "misspelt"):
        assert "wrong_format" in said(source)
        assert "looks like adyen_settlement_details" in said(source)
    unknown = tally(environment, "settlement", "check", "--source", "none", str(tmp_path / "batch.csv"))
    assert (unknown.returncode, "no source of the settings" in unknown.stderr) == (1, True)


def test_a_pattern_that_is_none_is_found_out_at_the_start(tmp_path: Path) -> None:
    sources = [{"name": "bank", "kind": "bank", "bank_account": "house", "references": ["batch ("]}]
    environment = {"TALLY_HOME": str(tmp_path), "TALLY_SETTLEMENT_SOURCES": json.dumps(sources)}
    (tmp_path / "batch.csv").write_bytes(GOOD)
    said = tally(environment, "settlement", "check", "--source", "bank", str(tmp_path / "batch.csv"))
    assert (said.returncode, "is no regular expression" in said.stderr) == (2, True)


def test_nobody_and_a_control_character_store_no_file(tmp_path: Path) -> None:
    (tmp_path / "batch.csv").write_bytes(GOOD)
    for name in ("", " ", "eve\x1b"):
        said = tally({}, "settlement", "ingest", str(tmp_path / "batch.csv"), "--source", "northpay", "--as", name)
        assert (said.returncode, "actor" in said.stderr) == (2, True), said.stderr
