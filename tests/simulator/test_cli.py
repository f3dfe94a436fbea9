"""`tally sim …` on a running simulator: data on stdout, one line on stderr where it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner, Result

from operations.cli import main as cli
from operations.cli.commands.sim import CHARGES_MAX, URL_VARIABLE, app
from operations.stack.home import StackError
from psp.port import Captured, Unknown
from psp.replies import NothingHappened
from tests.simulator.conftest import provider_of, psps_of
from tests.simulator.running import RunningSimulator, free_port, wait_for
from tests.simulator.test_bank import a_file, put
from tests.simulator.test_bank import a_transfer as a_bank_transfer
from tests.simulator.test_charging import a_charge, charged
from tests.simulator.test_transfers import a_transfer, transferred


def tally_sim(simulator: RunningSimulator, *arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={URL_VARIABLE: simulator.url, "COLUMNS": "200"})


def told(simulator: RunningSimulator, *arguments: str) -> Any:
    result = tally_sim(simulator, *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_psp_goes_down_and_comes_back(simulator: RunningSimulator) -> None:
    assert told(simulator, "down", "northpay")["northpay"]["down"] is True
    assert told(simulator, "status")["psps"]["southpay"]["faults"]["down"] is False
    assert told(simulator, "up", "northpay")["northpay"]["down"] is False


def test_rates_are_set_shown_and_cleared(simulator: RunningSimulator) -> None:
    told(simulator, "faults", "--timeout-charged", "0.05", "--psp", "northpay")
    faults = told(simulator, "faults", "--500-charged", "0.1", "--429", "0.2")
    assert faults["northpay"] | {"timeout_charged": 0.05, "500_charged": 0.1, "429": 0.2} == faults["northpay"]
    assert faults["southpay"]["timeout_charged"] == 0
    assert "timeout_charged 0.05" in tally_sim(simulator, "status").stdout
    assert not any(told(simulator, "faults", "--clear")["northpay"].values())


def test_rates_of_one_kind_of_operation_are_set_shown_and_cleared_alone(simulator: RunningSimulator) -> None:
    told(simulator, "faults", "--op", "refund", "--500-charged", "0.1", "--declined", "0.2", "--psp", "northpay")
    faults = told(simulator, "faults", "--garbage", "0.3")["northpay"]
    assert faults["operations"] == {"refund": {"500_charged": 0.1, "declined": 0.2}}
    assert "refund declined 0.2" in tally_sim(simulator, "faults").stdout
    cleared = told(simulator, "faults", "--clear", "--op", "refund")["northpay"]
    assert (cleared["operations"], cleared["garbage"]) == ({}, 0.3)


def test_an_order_is_disputed_and_the_books_show_it(simulator: RunningSimulator) -> None:
    charge = a_charge()
    charged(psps_of(simulator)["southpay"], charge)
    order = charge.payment_order_id
    opened = told(simulator, "dispute", order, "--amount", "500", "--fee", "1500", "--due-by", "2027-01-15")
    assert (opened["status"], opened["amount"], opened["due_by"]) == ("opened", 500, "2027-01-15T00:00:00.000Z")
    assert "won" in tally_sim(simulator, "dispute", order, "--status", "won", "--fee-returned", "700").stdout
    assert "opened" in tally_sim(simulator, "dispute", charge.call_id, "--stage", "2").stdout
    stages = [(one["stage"], one["status"], one["amount"]) for one in told(simulator, "operations", order)["disputes"]]
    assert stages == [(1, "won", 500), (2, "opened", 500)]
    assert opened["id"] in tally_sim(simulator, "operations", order).stdout


def test_a_charge_is_taken_back_and_done_again(simulator: RunningSimulator) -> None:
    charge = a_charge()
    charged(psps_of(simulator)["northpay"], charge)
    order = charge.payment_order_id
    assert told(simulator, "reverse", order)["status"] == "reversed"
    assert "reversed" in tally_sim(simulator, "charges", "--reference", order).stdout
    assert "succeeded" in tally_sim(simulator, "reverse", order, "--again").stdout


def test_the_next_operation_fails_once_as_planned(simulator: RunningSimulator) -> None:
    charge = a_charge()
    planned = told(simulator, "next", charge.payment_order_id, "500_charged")["planned"]
    assert {"op": "charge", "subject": charge.payment_order_id, "fault": "500_charged"} in planned
    northpay = psps_of(simulator)["northpay"]
    assert charged(northpay, charge) == Unknown("http_500")
    assert isinstance(charged(northpay, charge), Captured)


def test_charges_are_shown_by_order_or_newest(simulator: RunningSimulator) -> None:
    charge = a_charge("tok_mastercard")
    assert isinstance(charged(psps_of(simulator)["southpay"], charge), Captured)
    by_order = told(simulator, "charges", "--reference", charge.payment_order_id)["charges"]
    assert [(row["reference"], row["amount"], row["scheme"]) for row in by_order] == [
        (charge.call_id, 1234, "mastercard")
    ]
    assert told(simulator, "charges", "--limit", "1")["charges"] == by_order
    assert charge.call_id in tally_sim(simulator, "charges").stdout


def test_a_list_of_charges_says_when_it_is_cut(own_simulator: RunningSimulator) -> None:
    """That of all tests may hold more than can be shown."""
    for _ in range(3):
        charged(psps_of(own_simulator)["southpay"], a_charge())
    cut = tally_sim(own_simulator, "charges", "--limit", "2", "--json")
    assert len(json.loads(cut.stdout)["charges"]) == 2
    assert f"only 2 are shown, there are more: --limit takes up to {CHARGES_MAX}" in cut.stderr
    assert "only" not in tally_sim(own_simulator, "charges", "--limit", "3").stderr


def failed(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of `tally sim …`, which said nothing on stdout and one line on stderr."""
    monkeypatch.setattr("sys.argv", ["tally", "sim", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return int(str(ended.value.code))


def test_a_wrong_psp_or_rate_is_one_line_on_stderr(
    simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(URL_VARIABLE, simulator.url)
    assert failed(capfd, monkeypatch, "down", "eastpay") == cli.FAILED
    assert failed(capfd, monkeypatch, "faults", "--slow", "0.7", "--garbage", "0.7") == cli.FAILED


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["dispute", "nobody"], "no order nobody here"),
        (["dispute", "ORDER", "--amount", "1235"], "more than the 1234 that were captured"),
        (["dispute", "ORDER", "--status", "closed"], "status: must be one of inquiry, opened, won, lost"),
        (["dispute", "ORDER", "--stage", "2"], "a second one follows a first that is won or lost"),
        (["dispute", "ORDER", "--psp", "eastpay"], "psp: must be one of northpay, southpay"),
        (["dispute", "ORDER", "--due-by", "soon"], "a time as in RFC 3339"),
        (["reverse", "nobody"], "no order nobody here"),
        (["reverse", "ORDER", "--op", "void"], "op: must be capture or refund"),
        (["reverse", "ORDER", "--op", "refund"], "no refund of ORDER here"),
        (["reverse", "ORDER", "--again"], "this charge is succeeded: nothing to do again"),
        (["next", "ORDER", "earthquake"], "earthquake: no such fault"),
        (["next", "ORDER", "declined"], "declined: no such fault"),
        (["next", "ORDER", "slow", "--op", "gift"], "op: must be one of charge, capture, void, refund"),
        (["faults", "--op", "refund", "--latency-ms", "5"], "latency_ms: is of the whole PSP"),
        (["faults", "--declined", "0.5"], "declined: no such fault"),
    ],
)
def test_an_act_that_cannot_be_says_why_in_one_line(
    simulator: RunningSimulator,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    why: str,
) -> None:
    charge = a_charge()
    order = charge.payment_order_id
    charged(psps_of(simulator)["northpay"], charge)
    monkeypatch.setenv(URL_VARIABLE, simulator.url)
    monkeypatch.setattr("sys.argv", ["tally", "sim", *(part.replace("ORDER", order) for part in arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code in (cli.FAILED, cli.WRONG_USE)
    out, err = capfd.readouterr()
    assert out == ""
    assert why.replace("ORDER", order) in " ".join(err.split())


def test_no_simulator_is_one_line_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("TALLY_HOME", str(tmp_path))
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    assert failed(capfd, monkeypatch, "status") == cli.WRONG_USE
    monkeypatch.setenv(URL_VARIABLE, f"http://127.0.0.1:{free_port()}")
    assert failed(capfd, monkeypatch, "status") == cli.UNREACHABLE


def test_the_running_stack_says_where_the_simulator_is(simulator: RunningSimulator, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(json.dumps({"simulator_url": simulator.url}))
    result = CliRunner().invoke(
        app, ["status", "--json"], env={URL_VARIABLE: None, "TALLY_HOME": str(tmp_path), "TALLY_KAFKA": "k:1"}
    )
    assert set(json.loads(result.stdout)["psps"]) == {"northpay", "southpay"}


def test_a_transfer_is_shown_comes_back_and_is_paid_after_all(own_simulator: RunningSimulator) -> None:
    provider, transfer = provider_of(own_simulator), a_transfer()
    told(own_simulator, "next", transfer.payout_id, "503", "--op", "transfer")
    assert isinstance(transferred(provider, transfer), NothingHappened)
    transferred(provider, transfer)
    own_simulator.clock.write_text("10")
    wait_for(lambda: "paid" in tally_sim(own_simulator, "transfers").stdout)
    back = told(own_simulator, "return", transfer.payout_id, "--amount", "11500", "--code", "closed")
    assert (back["status"], back["returned_amount"], back["code"]) == ("returned", 11_500, "closed")
    assert "11500" in tally_sim(own_simulator, "transfers", "--reference", transfer.call_id).stdout
    assert "paid" in tally_sim(own_simulator, "return", transfer.call_id, "--again").stdout
    assert tally_sim(own_simulator, "return", "nobody").exit_code != 0
    assert told(own_simulator, "status")["providers"]["harbour"]["transfers"] == 1


def test_rates_of_transfers_are_of_the_provider_alone(simulator: RunningSimulator) -> None:
    faults = told(simulator, "faults", "--op", "transfer", "--rejected", "0.2", "--503", "0.1")
    assert (faults["harbour"]["rejected"], faults["harbour"]["503"]) == (0.2, 0.1)
    assert faults["northpay"]["503"] == 0.0
    assert "rejected 0.2" in tally_sim(simulator, "status").stdout
    assert tally_sim(simulator, "faults", "--psp", "harbour", "--op", "refund", "--503", "0.1").exit_code != 0


def test_a_day_is_settled_into_a_folder_of_each_source(own_simulator: RunningSimulator, tmp_path: Path) -> None:
    charge = a_charge()
    charged(psps_of(own_simulator)["southpay"], charge)
    terms = tmp_path / "terms.json"
    terms.write_text('{"percent": "2", "fixed": "0"}')
    out = tmp_path / "in"
    result = tally_sim(own_simulator, "settle", "--out", str(out), "--terms", str(terms))
    assert result.exit_code == 0, result.stderr
    written = {str(path.relative_to(out)): path for path in out.rglob("*") if path.is_file()}
    report = written.pop("southpay/settlement_detail_report_batch_1001.csv").read_text()
    [statement] = written
    assert statement.startswith("main/camt053-main-")
    assert f",{charge.call_id},visa," in report
    assert ",12.34,1,EUR,,12.06,0.25,,0.01,0.02,visaclassic," in report
    assert "batch 1001" in written[statement].read_text()


def test_a_settled_day_is_written_in_another_format_on_request(own_simulator: RunningSimulator, tmp_path: Path) -> None:
    charged(psps_of(own_simulator)["southpay"], a_charge(currency="KWD"))
    options = ("--psp", "southpay", "--out", str(tmp_path))
    assert tally_sim(own_simulator, "settle", *options).exit_code == 0
    [path] = told(own_simulator, "settle", *options, "--format", "native")["files"]
    assert Path(path).read_text().startswith("tallystick-settlement,1,southpay-account,1001,KWD,")
    refused = tally_sim(own_simulator, "settle", *options, "--format", "paypal")
    assert isinstance(refused.exception, StackError)
    assert "KWD" in str(refused.exception)


def test_the_bank_shows_its_files_and_the_lines_of_one_and_is_told_how_the_next_one_fares(
    simulator: RunningSimulator,
) -> None:
    line, file_id = a_bank_transfer(minor=1234), uuid4().hex
    assert told(simulator, "next", file_id, "never", "--op", "file")["planned"][-1]["fault"] == "never"
    assert "no such fault of a file" in str(tally_sim(simulator, "next", file_id, "garbage", "--op", "file").exception)
    put(simulator, a_file([line], file_id))
    assert file_id in tally_sim(simulator, "bank").stdout
    [file] = [each for each in told(simulator, "bank")["files"] if each["message_id"] == file_id]
    assert (file["lines"], file["total"], file["refusal"], file["fault"]) == (1, 1234, None, "never")
    assert line.call_id in tally_sim(simulator, "bank", "--reference", file_id).stdout
    [shown] = told(simulator, "bank", "--reference", line.payout_id)["lines"]
    assert (shown["status"], shown["amount"], shown["currency"]) == ("accepted", 1234, "EUR")
