"""Banks' reports over HTTP and from a folder: taken once, heard by the executor; files as operators see them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from consumers.executor.settings import ExecutorSettings
from consumers.executor.stuck import stuck
from operations.auditor.engine.records import reader
from operations.auditor.engine.run import Patience, Run
from operations.auditor.engine.stores import Stores
from operations.auditor.resolutions import faults
from operations.auditor.transfers.page import Transfers
from operations.stack.home import Home, write_json, write_private
from psp.pain002 import BYTES_MAX
from tests.commands import tally
from tests.contract.http.door import Door, Reply, open_door, wait_for
from tests.contract.http.test_http_notifications_heard import hearing
from tests.store.bank import CUT_OFF, HOUSE_BANK, BankRoom, bank_account, report
from topics.runtime.shape.limits import StuckLimits
from topics.runtime.shape.reading import connect_reader
from topics.settings import Settings


@pytest.fixture(scope="module")
def banking(http_stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    bank = bank_account(tmp_path_factory.mktemp("bank"))
    other = bank_account(tmp_path_factory.mktemp("other")).model_copy(update={"name": "other-bank"})
    home = tmp_path_factory.mktemp("home")  # and a clock of its own
    return http_stack.model_copy(update={"payout_providers": (bank, other), "home": home})


@pytest.fixture(scope="module")
def door(banking: Settings) -> Iterator[Door]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("producers.watched_folder.STEADY_S", 0.2)
        patched.setattr("producers.bank_folders.LOOK_S", 0.05)
        with open_door(banking) as door:
            yield door


@pytest.fixture(scope="module")
def executor(banking: Settings) -> Iterator[BankRoom]:
    """Its filer is moved by hand; it hears what doors say."""
    room = BankRoom(ExecutorSettings(**banking.model_dump()))
    with closing(room), hearing(banking):
        yield room


def tell(door: Door, body: bytes, bank: str = HOUSE_BANK) -> Reply:
    return door.send("POST", f"/v1/bank-status-files/{bank}", body, {"Content-Type": "application/xml"})


def test_a_report_comes_to_the_pay_outs_that_it_names_and_to_no_other(door: Door, executor: BankRoom) -> None:
    own = secrets.token_hex(3)
    paid, failed, silent = f"paid-{own}", f"failed-{own}", f"silent-{own}"
    executor.releases(paid, failed, silent)
    file_id = executor.delivers()
    told = report(file_id, "PART", {executor.call(paid): "ACSC", executor.call(failed): "RJCT AC04"})
    answer = tell(door, told)
    assert (answer.status, answer.json) == (202, {"file_id": file_id, "matched": 2, "unknown": 0})
    wait_for(lambda: executor.states() | {paid: "paid", failed: "failed"} == executor.states())
    assert executor.states()[silent] == "submitted"


def test_a_file_that_the_bank_rejects_fails_every_line_once_however_often_it_says_so(
    door: Door, executor: BankRoom
) -> None:
    own = secrets.token_hex(3)
    payouts = [f"one-{own}", f"two-{own}"]
    executor.releases(*payouts)
    file_id = executor.delivers()
    answer = tell(door, report(file_id, "RJCT"))
    assert (answer.json, answer.replayed) == ({"file_id": file_id, "matched": 2, "unknown": 0}, False)
    wait_for(lambda: [executor.states()[each] for each in payouts] == ["failed", "failed"])
    wait_for(lambda: executor.files()[file_id] == "rejected")
    again = tell(door, report(file_id, "RJCT"))
    assert (again.status, again.json, again.replayed) == (202, answer.json, True)
    assert len(reports(door, file_id)) == 1


def test_a_line_of_another_amount_or_not_ours_moves_nothing_and_is_shown(door: Door, executor: BankRoom) -> None:
    own = secrets.token_hex(3)
    doctored, paid = f"doctored-{own}", f"paid-{own}"
    executor.releases(doctored, paid)
    file_id = executor.delivers()
    call, nobody = executor.call(doctored), "ab" * 16
    told = report(file_id, "PART", {call: "ACSC", nobody: "ACSC", executor.call(paid): "ACSC"}, {call: "920.00"})
    assert tell(door, told).json == {"file_id": file_id, "matched": 1, "unknown": 2}
    wait_for(lambda: executor.states()[paid] == "paid")
    assert executor.states()[doctored] == "submitted"
    [shown] = reports(door, file_id)
    assert {each["end_to_end_id"]: each["why"] for each in shown["odd"]} == {call: "other_amount", nobody: "not_ours"}


@pytest.fixture
def folder(executor: BankRoom) -> Path:
    """Of the house bank's reports. At the first test it was away when the door was opened."""
    assert executor.bank.statuses is not None
    executor.bank.statuses.mkdir(exist_ok=True)
    return executor.bank.statuses


def put(folder: Path, name: str, body: bytes) -> None:
    """As banks' clients do."""
    hidden = folder / f".{name}.part"
    hidden.write_bytes(body)
    hidden.rename(folder / name)


def reports(door: Door, file_id: str) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = door.get(f"/v1/ops/bank-files/{file_id}").json["reports"]
    return told


def test_a_report_in_the_folder_counts_once_and_is_moved_to_done(door: Door, executor: BankRoom, folder: Path) -> None:
    own = secrets.token_hex(3)
    paid, silent = f"paid-{own}", f"silent-{own}"
    executor.releases(paid, silent)
    file_id = executor.delivers()
    told = report(file_id, "PART", {executor.call(paid): "ACSC"})
    put(folder, f"{own}.xml", told)
    wait_for((folder / "done" / f"{own}.xml").exists)
    wait_for(lambda: executor.states() | {paid: "paid"} == executor.states())
    assert executor.states()[silent] == "submitted"
    assert [(each["stored_by"], each["matched"]) for each in reports(door, file_id)] == [("watched folder", 1)]
    assert tell(door, told).replayed, "it is the same report, whichever way it comes"


def test_a_report_that_was_stored_before_it_could_be_moved_is_moved_and_says_nothing_new(
    door: Door, executor: BankRoom, folder: Path
) -> None:
    own = secrets.token_hex(3)
    executor.releases(f"again-{own}")
    file_id = executor.delivers()
    told = report(file_id, None, {executor.call(f"again-{own}"): "ACSC"})
    assert tell(door, told).status == 202
    before = reports(door, file_id)
    put(folder, f"{own}.xml", told)
    wait_for((folder / "done" / f"{own}.xml").exists)
    assert reports(door, file_id) == before
    assert len(before) == 1


def test_what_is_no_report_of_ours_is_moved_to_refused_beside_the_reason(
    door: Door, executor: BankRoom, folder: Path
) -> None:
    own = secrets.token_hex(3)
    bad = {
        "invalid_xml": b"<Document>",
        "unknown_file": report("ab" * 16, "RJCT"),
        "file_too_large": b" " * (BYTES_MAX + 1),
    }
    (folder / f"half-{own}.xml.part").write_bytes(b"<Document>")
    for code, body in bad.items():
        put(folder, f"{code}-{own}.xml", body)
    for code, body in bad.items():
        refused = folder / "refused" / f"{code}-{own}.xml"
        wait_for(refused.exists)
        assert refused.read_bytes() == body
        assert refused.with_name(refused.name + ".reason").read_text().startswith(f"{code}: ")
    assert (folder / f"half-{own}.xml.part").exists(), "it is written still"


@pytest.fixture
def commands(door: Door, environment: dict[str, str]) -> dict[str, str]:
    """What commands of a running stack with these banks see: `environment` is of this module's door."""
    home = Home(door.settings.home)
    write_json(home.state, {"api_url": f"http://127.0.0.1:{door.port}"})
    write_private(home.api_key, door.key + "\n")
    return environment | {"TALLY_HOME": str(home.path)}


def test_the_commands_show_a_file_its_lines_and_what_the_bank_has_told(
    door: Door, executor: BankRoom, commands: dict[str, str]
) -> None:
    own = secrets.token_hex(3)
    failed, silent = f"failed-{own}", f"silent-{own}"
    executor.releases(failed, silent)
    file_id = executor.delivers()
    call = executor.call(failed)
    assert tell(door, report(file_id, "PART", {call: "RJCT AC04", "ab" * 16: "ACSC"})).status == 202
    wait_for(lambda: executor.states()[failed] == "failed")
    [listed] = [
        one
        for one in json.loads(tally(commands, "payouts", "files", "--json").stdout)["files"]
        if one["file_id"] == file_id
    ]
    assert (listed["state"], listed["states"]) == ("delivered", {"failed": 1, "submitted": 1})
    assert file_id in tally(commands, "payouts", "files", "--state", "delivered").stdout
    assert file_id not in tally(commands, "payouts", "files", "--state", "rejected").stdout
    shown = json.loads(tally(commands, "payouts", "files", file_id, "--json").stdout)
    assert {line["payout_id"]: (line["state"], line["code"]) for line in shown["lines"]} == {
        failed: ("failed", "AC04"),
        silent: ("submitted", None),
    }
    said = tally(commands, "payouts", "files", file_id).stdout
    for part in (call, "failed (AC04)", "report PART", "2 named, 1 told on, 1 unknown", f"{'ab' * 16} ACSC: not_ours"):
        assert part in said
    way = json.loads(tally(commands, "show", file_id, "--json").stdout)
    assert [moment["what"] for moment in way["moments"] if moment["where"] == "executor"] == [
        "closed",
        "delivering",
        "delivered",
    ]
    assert [moment["what"] for moment in way["moments"] if moment["where"] == "doors"] == ["report PART"]
    assert "its lines: 1 failed, 1 submitted" in tally(commands, "show", file_id).stdout


def test_a_list_or_a_file_that_is_cut_says_so_and_one_that_is_not_there_exits_with_the_reason(
    executor: BankRoom, commands: dict[str, str]
) -> None:
    own = secrets.token_hex(3)
    executor.releases(f"one-{own}", f"two-{own}")
    file_id = executor.delivers()
    cut = tally(commands, "payouts", "files", file_id, "--limit", "1", "--json")
    assert [line["position"] for line in json.loads(cut.stdout)["lines"]] == [1]
    assert "only 1 are shown" in cut.stderr
    gone = tally(commands, "payouts", "files", "ab" * 16)
    assert (gone.returncode, gone.stdout) == (1, "")
    assert "There is no such thing" in gone.stderr or "Not found" in gone.stderr


# ── files that nobody knows to have been delivered ───────────────────────────────────────────────────────────────────

RESOLUTIONS = "/v1/ops/resolutions"
WHY = {"evidence": "the bank's portal, 3 March", "reason": "the writer died"}


@pytest.fixture(scope="module")
def anna(door: Door) -> str:
    return door.key_for("anna", "calls:resolve")


@pytest.fixture(scope="module")
def bert(door: Door) -> str:
    return door.key_for("bert", "calls:resolve")


def say(door: Door, key: str, path: str = "", **body: Any) -> Reply:
    return door.send("POST", RESOLUTIONS + path, json.dumps(body).encode(), key=key)


@pytest.mark.parametrize(
    ("outcome", "file_state", "payout_state"),
    [("delivered", "delivered", "submitted"), ("not_delivered", "not_delivered", "not_sent")],
)
def test_two_persons_say_whether_a_file_was_delivered(
    door: Door, executor: BankRoom, anna: str, bert: str, outcome: str, file_state: str, payout_state: str
) -> None:
    payout = f"po-{secrets.token_hex(3)}"
    executor.releases(payout)
    file_id = executor.loses_a_file()
    with connect_reader(executor.settings, "executor", name="test") as conn:
        [stuck_file] = [one for one in stuck(conn, StuckLimits(), CUT_OFF) if one.id == file_id]
    assert (stuck_file.psp, stuck_file.state) == (HOUSE_BANK, "file_unresolved")
    assert f"tally resolve {file_id} --outcome delivered" in stuck_file.next
    proposed = say(door, anna, call_id=file_id, outcome=outcome, **WHY)
    assert (proposed.status, proposed.json["amount"], proposed.json["psp"]) == (202, "120.00", HOUSE_BANK)
    path = f"/{proposed.json['proposal_id']}/approve"
    assert say(door, anna, path, reason="sure").json["code"] == "same_person"
    assert executor.files()[file_id] == "unresolved", "one person alone changes nothing"
    approved = say(door, bert, path, reason="seen too")
    assert (approved.status, approved.json["state"]) == (202, "approved")
    wait_for(lambda: executor.files()[file_id] == file_state)
    executor.sweep()
    assert executor.states()[payout] == payout_state
    listed = door.get(f"{RESOLUTIONS}?status=approved&limit=500", key=anna).json["resolutions"]
    [answer] = [each["answer"] for each in listed if each["call_id"] == file_id]
    assert answer == ("believed" if outcome == "not_delivered" else None)
    with Stores(door.settings) as stores, reader(door.settings) as records:
        found = faults(stores, records, CUT_OFF + timedelta(days=1))[1]
    assert [fault for fault in found if fault.startswith(proposed.json["proposal_id"])] == []
    again = say(door, anna, call_id=file_id, outcome=outcome, **WHY)
    assert (again.status, again.json["code"]) == (409, "not_waiting"), "what is known cannot be said again"


def test_a_file_that_is_known_or_a_wrong_outcome_is_no_proposal(door: Door, executor: BankRoom, anna: str) -> None:
    executor.releases(f"po-{secrets.token_hex(3)}")
    file_id = executor.delivers()
    assert say(door, anna, call_id=file_id, outcome="not_delivered", **WHY).json["code"] == "not_waiting"
    executor.releases(f"po-{secrets.token_hex(3)}")
    lost = executor.loses_a_file()
    for wrong in ({"outcome": "failed"}, {"outcome": "delivered", "psp_reference": "x"}):
        assert say(door, anna, call_id=lost, **WHY, **wrong).status in (400, 422)
    assert executor.files()[lost] == "unresolved"


def test_commands_say_that_a_file_was_delivered(door: Door, executor: BankRoom, environment: dict[str, str]) -> None:
    executor.releases(f"po-{secrets.token_hex(3)}")
    file_id = executor.loses_a_file()
    words = ("--outcome", "delivered", "--evidence", "the bank's portal", "--reason", "the writer died")
    made = tally(environment, "resolve", file_id, *words, "--as", "carl")
    assert f"bank file {file_id} was delivered to {HOUSE_BANK}, 120.00 EUR; waiting" in made.stdout, made.stderr
    done = tally(environment, "resolve", "approve", made.stdout.split(":")[0], "--reason", "seen", "--as", "dora")
    assert done.returncode == 0, done.stderr
    wait_for(lambda: executor.files()[file_id] == "delivered")


def audited(door: Door, file_id: str) -> list[str]:
    """What `bank_files_whole` finds of a file, at a second look, too."""
    with Stores(door.settings) as stores:
        page = Transfers(Run(door.settings, stores, None, {}, print, None, Patience()))  # type: ignore[arg-type]
        page.read_stores()
        suspects = {finding for finding in page.first_look() if finding.check == "bank_files_whole"}
        [examined] = [check.examined for check in page.counted() if check.name == "bank_files_whole"]
        assert examined > 0
        return [each.detail for each in page.look_again(suspects) & suspects if each.key == file_id]


def test_the_auditor_finds_a_bank_file_that_was_changed_in_its_folder(door: Door, executor: BankRoom) -> None:
    executor.releases(f"po-{secrets.token_hex(3)}", f"po-{secrets.token_hex(3)}")
    file_id = executor.delivers()
    assert audited(door, file_id) == []
    written = executor.bank.out / f"{file_id}.xml"
    written.write_bytes(written.read_bytes().replace(b"120.00", b"920.00"))
    assert audited(door, file_id) == [f"what lies in a folder of {HOUSE_BANK} is not what was written"]
