"""A file that is held, over HTTP and by command: released by two persons, or discarded, and heard once."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from producers import recon_replies
from schemas.settlements import SettlementFileDiscarded, SettlementFileReleased
from tests.commands import tally
from tests.contract.http.door import Door, Reply, wait_for
from tests.contract.running import heard
from topics.catalog import SETTLEMENT_FILES
from topics.settings import Settings

ROOT = "/v1/settlement-files/northpay-main"
REFUSAL = {"code": "bad_total", "detail": "10.00 is claimed, 9.00 add up", "line": 7, "column": "Net", "excerpt": "x;9"}


@pytest.fixture(scope="module")
def anna(door: Door) -> str:
    return door.key_for("anna", "recon:read", "recon:write")


@pytest.fixture(scope="module")
def bert(door: Door) -> str:
    return door.key_for("bert", "recon:read", "recon:write")


@dataclass
class HeldFile:
    """A stored file, in reconciliation's store as the test says."""

    door: Door
    key: str
    file_id: str = ""
    body: bytes = b""

    def __post_init__(self) -> None:
        self.body = secrets.token_hex(20).encode()
        reply = self.door.send("POST", ROOT + "?name=batch.csv", self.body, {"Content-Type": "text/csv"}, self.key)
        self.file_id = reply.json["file_id"]

    def become(self, state: str, why: str | None = None, refusal: dict[str, Any] | None = None) -> HeldFile:
        with psycopg.connect(
            self.door.settings.dsn("tally_reconciliation"), options="-c search_path=reconciliation"
        ) as conn:
            conn.execute(
                "INSERT INTO files (source, file_id, upload_id, name, size, received_at, state, why, refusal, changed_at)"
                " VALUES ('northpay-main', %s, 'up', 'batch.csv', 40, %s, %s, %s, %s, %s)"
                " ON CONFLICT (source, file_id) DO UPDATE SET state = excluded.state, why = excluded.why,"
                " refusal = excluded.refusal, changed_at = excluded.changed_at",
                [
                    self.file_id,
                    datetime.now(UTC),
                    state,
                    why,
                    json.dumps(refusal) if refusal else None,
                    datetime.now(UTC),
                ],
            )
        return self

    def ask(self, act: str, key: str, reason: str = "the PSP confirms it") -> Reply:
        return self.door.send("POST", f"{ROOT}/{self.file_id}/{act}", json.dumps({"reason": reason}).encode(), key=key)

    def shown(self) -> dict[str, Any]:
        told = self.door.get(f"{ROOT}/{self.file_id}", key=self.key).json
        recon_replies.SettlementFileShown.model_validate_json(json.dumps(told))
        return dict(told)


@pytest.fixture
def held(door: Door, anna: str) -> HeldFile:
    return HeldFile(door, anna).become("quarantined", "bad_total", REFUSAL)


def said(settings: Settings, file_id: str) -> list[dict[str, Any]]:
    """The decisions about the file that reconciliation hears."""
    values = [json.loads(message.value() or b"{}") for message in heard(settings, SETTLEMENT_FILES.name)]
    return [value for value in values if value["file_id"] == file_id and "reason" in value]


def test_a_file_of_a_wrong_total_is_released_by_two_persons(held: HeldFile, anna: str, bert: str) -> None:
    told = held.shown()
    assert (told["state"], told["why"], told["refusal"]) == ("quarantined", "bad_total", REFUSAL)
    proposed = held.ask("release", anna)
    assert (proposed.status, proposed.json["decision"]) == (202, "release_proposed"), proposed.body
    assert held.ask("release", anna).replayed
    alone = held.ask("release", anna, "I am sure")
    assert (alone.status, alone.json["code"]) == (403, "same_person")
    alone = held.ask("release", held.door.key_for("ANNA", "recon:write"))
    assert (alone.status, alone.json["code"]) == (403, "same_person")
    released = held.ask("release", bert, "seen the mail")
    assert (released.status, released.json["decision"], released.replayed) == (202, "released", False)
    assert held.ask("release", bert, "seen the mail").replayed
    late = held.ask("release", anna)
    assert (late.status, late.json["code"]) == (409, "not_waiting"), "reconciliation has not heard of it yet"
    wait_for(lambda: said(held.door.settings, held.file_id))
    [event] = said(held.door.settings, held.file_id)
    heard_as = SettlementFileReleased.model_validate_json(json.dumps(event))
    assert (heard_as.proposed_by[:5], heard_as.released_by[:5], heard_as.reason) == ("anna ", "bert ", "seen the mail")
    assert [one["decision"] for one in held.shown()["decisions"]] == ["release_proposed", "released"]
    held.become("folding")
    assert held.ask("release", bert, "seen the mail").replayed
    assert held.ask("release", anna).json["detail"].startswith("The file is folding")


def test_a_file_that_is_held_anew_needs_two_persons_again(held: HeldFile, anna: str, bert: str) -> None:
    assert held.ask("release", anna).json["decision"] == "release_proposed"
    held.become("held", "fees")
    assert held.ask("release", bert).json["decision"] == "release_proposed", "the first one has seen something else"
    assert held.ask("release", anna).json["decision"] == "released"
    held.become("held", "amounts")
    assert held.ask("release", anna).json["decision"] == "release_proposed"


@pytest.mark.parametrize(
    ("state", "why", "code"),
    [
        ("quarantined", "wrong_account", "refused"),
        ("quarantined", "truncated", "refused"),
        ("folded", None, "not_waiting"),
    ],
)
def test_what_no_person_can_answer_for_is_not_released(
    held: HeldFile, anna: str, state: str, why: str | None, code: str
) -> None:
    reply = held.become(state, why).ask("release", anna)
    assert (reply.status, reply.json["code"]) == (409, code)
    assert held.shown()["decisions"] == []


def test_a_file_that_reconciliation_has_not_read_cannot_be_decided(door: Door, anna: str) -> None:
    file = HeldFile(door, anna)
    assert file.shown()["state"] == "received"
    assert [file.ask(act, anna).json["code"] for act in ("release", "discard")] == ["not_waiting"] * 2
    assert door.send("POST", f"{ROOT}/{'0' * 64}/discard", b'{"reason": "x"}', key=anna).status == 404


def test_a_held_file_is_discarded_by_one_person_once(held: HeldFile, anna: str, bert: str) -> None:
    held.ask("release", anna)
    done = held.ask("discard", bert, "sent by mistake")
    assert (done.status, done.json["decision"]) == (202, "discarded")
    assert held.ask("discard", bert, "sent by mistake").replayed
    assert held.ask("release", anna).status == 409
    wait_for(lambda: said(held.door.settings, held.file_id))
    [event] = said(held.door.settings, held.file_id)
    assert SettlementFileDiscarded.model_validate_json(json.dumps(event)).reason == "sent by mistake"


def test_a_file_that_counts_is_discarded_by_two_persons(held: HeldFile, anna: str, bert: str) -> None:
    held.become("folded")
    assert held.ask("discard", anna, "of another account").json["decision"] == "discard_proposed"
    assert held.ask("discard", anna, "of another account").replayed
    assert held.ask("discard", anna, "quickly").json["code"] == "same_person"
    assert said(held.door.settings, held.file_id) == []
    held.become("superseded")
    assert held.ask("discard", bert, "yes").json["code"] == "not_waiting"
    held.become("folded")
    anew = held.ask("discard", anna, "of another account")
    assert (anew.json["decision"], anew.replayed) == ("discard_proposed", False), "it counts since a moment ago"
    assert held.ask("discard", bert, "yes").json["decision"] == "discarded"
    assert held.ask("discard", bert, "yes").replayed
    assert held.ask("discard", anna, "late").json["code"] == "not_waiting"
    wait_for(lambda: said(held.door.settings, held.file_id))
    [event] = said(held.door.settings, held.file_id)
    assert SettlementFileDiscarded.model_validate_json(json.dumps(event)).discarded_by.startswith("bert ")
    assert [one["decision"] for one in held.shown()["decisions"]] == ["discard_proposed"] * 2 + ["discarded"]


def test_commands_list_show_release_and_discard_files(
    held: HeldFile, environment: dict[str, str], tmp_path: Path
) -> None:
    def run(*words: str) -> Any:
        done = tally(environment, "settlement", *words)
        assert done.returncode == 0, done.stderr
        return done

    listed = json.loads(run("files", "--source", "northpay-main", "--json").stdout)["files"]
    assert [(one["state"], one["why"]) for one in listed if one["file_id"] == held.file_id] == [
        ("quarantined", "bad_total")
    ]
    assert held.file_id[:12] in run("files").stdout
    short = held.file_id[:20]
    shown = run("show", short).stdout
    assert "bad_total at line 7, column Net: 10.00 is claimed, 9.00 add up\nx;9\n" in shown
    run("release", short, "--reason", "mail of the PSP", "--as", "carl")
    alone = tally(environment, "settlement", "release", short, "--reason", "yes", "--as", "Carl")
    assert (alone.returncode, "cannot agree" in alone.stderr) == (1, True)
    assert "released by operator dora" in run("release", short, "--reason", "yes", "--as", "dora").stdout
    decisions = json.loads(run("show", short, "--json").stdout)["decisions"]
    assert [one["decided_by"] for one in decisions] == ["operator carl", "operator dora"]
    held.become("held", "fees")
    assert "discarded by operator dora" in run("discard", short, "--reason", "no", "--as", "dora").stdout
    held.become("discarded")
    (tmp_path / "again.csv").write_bytes(held.body)
    again = run("ingest", str(tmp_path / "again.csv"), "--source", "northpay-main").stdout
    assert f"it was discarded, and nothing of it counts (`tally settlement show {held.file_id[:12]}` says why)" in again
    none = tally(environment, "settlement", "show", "0" * 64)
    assert (none.returncode, "there is no file" in none.stderr) == (1, True)
