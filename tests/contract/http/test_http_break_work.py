"""What persons do about breaks, over HTTP and by command: asked for once, said to reconciliation, answered."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from producers import recon_replies
from producers.keys import KeyRefused
from schemas.break_work import BreakWorked
from tests.commands import tally
from tests.contract.http.door import Door, Reply, wait_for
from tests.contract.running import heard
from tests.reconciling import Room
from topics.catalog import OPERATOR_ACTIONS
from topics.settings import Settings

ROOT = "/v1/recon/breaks"


@dataclass
class Case:
    """A late capture and its break, in reconciliation's store."""

    door: Door
    minor: int = 500

    def __post_init__(self) -> None:
        self.id, self.key = secrets.token_hex(16), secrets.token_hex(16)
        self.psp = f"p{secrets.token_hex(4)}"
        self.item = f"{self.psp}|c|{self.key}"
        with psycopg.connect(
            self.door.settings.dsn("tally_reconciliation"), options="-c search_path=reconciliation"
        ) as conn:
            conn.execute(
                "INSERT INTO breaks (break_id, code, subject, class, state, source, psp, currency, amount, items, detail,"
                " opened_at, changed_at, revision) VALUES (%s, 'MISSING_AT_PSP', %s, 'A', 'open', 's', %s, 'EUR', %s, 1, '{}',"
                " now(), now(), 1)",
                [self.id, self.item, self.psp, self.minor],
            )
            conn.execute(
                "INSERT INTO break_items (item, break_id, amount, currency, detail, opened_at)"
                " VALUES (%s, %s, %s, 'EUR', '{}', now())",
                [self.item, self.id, self.minor],
            )
            conn.execute(
                "INSERT INTO tallies (key, kind, currency, psp, expected, facts, due, made_at)"
                " VALUES (%s, 'c', 'EUR', %s, %s, '{1}', now()::date, now())",
                [self.key, self.psp, self.minor],
            )

    def ask(self, action: str, key: str, query: str = "", **body: Any) -> Reply:
        body = {"operation_id": f"w-{secrets.token_hex(8)}", "reason": "as they say"} | body
        body = {name: value for name, value in body.items() if value is not None}
        return self.door.send("POST", f"{ROOT}/{self.id}/work/{action}{query}", json.dumps(body).encode(), key=key)

    def said(self) -> list[BreakWorked]:
        values = [message.value() or b"{}" for message in heard(self.door.settings, OPERATOR_ACTIONS.name)]
        return [BreakWorked.model_validate_json(each) for each in values if json.loads(each)["subject"] == self.id]


@pytest.fixture(scope="module")
def anna(door: Door) -> str:
    return door.key_for("anna", "recon:read", "recon:act")


@pytest.fixture(scope="module")
def bert(door: Door) -> str:
    return door.key_for("bert", "recon:read", "recon:act")


@pytest.fixture
def answering(door: Door) -> Iterator[None]:
    """Reconciliation's decisions on what doors have taken, while the test runs."""
    room, stop = Room(door.settings, name=secrets.token_hex(8)), threading.Event()

    def run() -> None:
        while not stop.wait(0.05):
            for event in _unanswered(door.settings):
                room.hear(event)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    stop.set()
    thread.join()
    with room.store.transaction() as conn:
        dead = conn.execute("SELECT code, error FROM parked").fetchall()
    room.close()
    assert dead == []


def _unanswered(settings: Settings) -> list[BreakWorked]:
    with psycopg.connect(settings.dsn("tally_doors")) as conn:
        asked = conn.execute("SELECT operation_id, asked::text FROM doors.break_work ORDER BY asked_at").fetchall()
    with psycopg.connect(settings.dsn("tally_reconciliation")) as conn:
        rows = conn.execute("SELECT operation_id FROM reconciliation.break_actions WHERE operation_id IS NOT NULL")
        done = {row[0] for row in rows.fetchall()}
    return [BreakWorked.model_validate_json(text) for id_, text in asked if id_ not in done]


def test_an_action_is_taken_once_said_and_answered(door: Door, anna: str, bert: str) -> None:
    case = Case(door)
    body = {"operation_id": f"w-{secrets.token_hex(8)}", "account": "bank:fees"}
    first = case.ask("write-off", anna, **body)
    recon_replies.BreakWork.model_validate_json(first.body)
    assert (first.status, first.json["outcome"], first.replayed) == (202, "waiting", False), first.body
    assert case.ask("write-off", anna, **body).replayed
    assert case.ask("write-off", door.key_for("ANNA", "recon:act"), **body).replayed, "another key of hers"
    other = case.ask("write-off", anna, **body | {"account": "platform:losses"})
    assert (other.status, other.json["code"]) == (422, "contents_conflict")
    assert case.ask("write-off", bert, **body).json["code"] == "id_taken"
    wait_for(case.said)
    [event] = case.said()
    assert (event.action, event.account, event.actor[:5]) == ("write_off", "bank:fees", "anna ")
    at = f"{ROOT}/{case.id}/work/{body['operation_id']}"
    assert door.get(at, key=anna).json["outcome"] == "waiting"
    assert [
        door.get(f"{ROOT}/{'0' * 32}/work/{body['operation_id']}", key=anna).status,
        door.get(at + "x", key=anna).status,
    ] == [
        404,
        404,
    ]


def test_a_dry_run_says_what_would_be_done_and_does_nothing(door: Door, anna: str) -> None:
    case = Case(door, 20_000)
    told = case.ask("write-off", anna, "?dry_run=true")
    assert told.status == 200, told.body
    shown = recon_replies.BreakWorkPreview.model_validate_json(told.body)
    assert shown.second_person
    assert shown.does == [
        "debit platform:losses 200.00 EUR",
        f"credit psp:{case.psp}:receivable 200.00 EUR",
        f"of {case.item} 200.00 EUR less is expected",
    ]
    assert case.ask("assign", anna, "?dry_run=true", assignee="ann").json["does"] == []
    refused = case.ask("write-off", anna, "?dry_run=true", account="bank:main")
    assert (refused.status, refused.json["code"], "account_not_allowed" in refused.json["detail"]) == (
        409,
        "refused",
        True,
    )
    assert case.said() == []


ENTRIES = [
    {"account": "platform:losses", "direction": "debit", "amount": {"amount": "1.00", "currency": "EUR"}},
    {"account": "platform:fees", "direction": "credit", "amount": {"amount": "1.00", "currency": "EUR"}},
]
BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "no reason": ("note", {"reason": None}, "reason"),
    "an empty reason": ("note", {"reason": ""}, "reason"),
    "a blank reason": ("note", {"reason": "  "}, "reason"),
    "a card number": ("note", {"reason": "card 4111 1111 1111 1111"}, "reason"),
    "a card number as a name": ("assign", {"assignee": "4111111111111111"}, "assignee"),
    "no operation id": ("note", {"operation_id": None}, "operation_id"),
    "an id with a blank": ("note", {"operation_id": "a b"}, "operation_id"),
    "an unknown field": ("note", {"acount": "x"}, "acount"),
    "a hash that is none": ("approve", {"sha256": "x"}, "sha256"),
    "a correction that is none": ("undo", {"correction_id": "x"}, "correction_id"),
    "one entry": ("propose", {"entries": ENTRIES[:1]}, "entries"),
    "a number as an amount": (
        "propose",
        {"entries": [ENTRIES[0] | {"amount": {"amount": 1.0, "currency": "EUR"}}, ENTRIES[1]]},
        "entries[0].amount",
    ),
    "an unknown currency": (
        "propose",
        {"entries": [ENTRIES[0] | {"amount": {"amount": "1.00", "currency": "EUX"}}, ENTRIES[1]]},
        "entries[0].amount",
    ),
    "no items": ("write-off", {"items": []}, "items"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_names_its_field_and_nothing_is_said(what: str, door: Door, anna: str) -> None:
    action, body, field = BAD[what]
    case = Case(door)
    reply = case.ask(action, anna, **body)
    assert reply.status in (400, 422), reply.body
    assert any(str(each["field"]).startswith(field) for each in reply.json["errors"]), reply.body
    assert b"4111" not in reply.body
    assert case.said() == []


def test_unknown_breaks_actions_and_sellers_are_refused(door: Door, anna: str) -> None:
    case = Case(door)
    assert case.ask("explode", anna).status in (404, 400, 422)
    body = json.dumps({"operation_id": "w-1", "reason": "x"}).encode()
    for id_ in ("0" * 32, "x"):
        assert door.send("POST", f"{ROOT}/{id_}/work/note", body, key=anna).status == 404
    seller = ENTRIES[0] | {"account": "seller:nobody-we-know:payable"}
    unknown = case.ask("propose", anna, entries=[seller, ENTRIES[1]])
    assert (unknown.status, unknown.json["code"]) == (404, "unknown_seller")
    assert case.said() == []


def test_acting_needs_a_scope_of_its_own(door: Door) -> None:
    case = Case(door)
    for scopes in (("recon:read", "recon:write"), ("payments:write",)):
        assert case.ask("note", door.key_for("else", *scopes)).status == 403
    with pytest.raises(KeyRefused):
        door.key_for("both", "recon:act", "recon:write")


def test_a_repair_by_two_persons_over_http(door: Door, anna: str, bert: str, answering: None) -> None:
    case = Case(door, 20_000)

    def outcome(reply: Reply, key: str = anna) -> dict[str, Any]:
        at = f"{ROOT}/{case.id}/work/{reply.json['operation_id']}"
        wait_for(lambda: door.get(at, key=key).json["outcome"] != "waiting")
        return dict(door.get(at, key=key).json)

    proposed = outcome(case.ask("write-off", anna))
    assert proposed["outcome"] == "proposed", proposed
    shown = door.get(f"{ROOT}/{case.id}", key=anna)
    recon_replies.BreakShown.model_validate_json(shown.body)
    assert (shown.json["work"], shown.json["proposal"]["sha256"]) == ("proposed", proposed["detail"]["sha256"])
    alone = outcome(case.ask("approve", anna, sha256=proposed["detail"]["sha256"]))
    assert (alone["outcome"], alone["code"]) == ("refused", "same_person")
    stale = outcome(case.ask("approve", bert, sha256="0" * 64))
    assert (stale["outcome"], stale["code"]) == ("refused", "approval_stale")
    done = outcome(case.ask("approve", bert, sha256=proposed["detail"]["sha256"]))
    assert (done["outcome"], len(done["detail"]["correction_id"])) == ("done", 32)


def test_breaks_are_listed_by_whose_they_are_and_by_when(door: Door, anna: str, answering: None) -> None:
    case, other = Case(door), Case(door)
    reply = case.ask("assign", anna, assignee="Anna")
    wait_for(lambda: door.get(reply.headers["location"], key=anna).json["outcome"] == "done")

    def listed(query: str) -> set[str]:
        page = door.get(f"{ROOT}?limit=500&{query}", key=anna).json["breaks"]
        return {one["break_id"] for one in page} & {case.id, other.id}

    assert (listed("mine=true"), listed("unassigned=true"), listed("overdue=true")) == ({case.id}, {other.id}, set())
    with psycopg.connect(door.settings.dsn("tally_reconciliation"), options="-c search_path=reconciliation") as conn:
        conn.execute("UPDATE breaks SET opened_at = now() - interval '8 days' WHERE break_id = %s", [other.id])
    assert listed("overdue=true") == {other.id}
    assert door.get(f"{ROOT}?overdue=perhaps", key=anna).status == 400


def test_commands_show_what_they_do_and_what_came_of_it(
    door: Door, environment: dict[str, str], answering: None
) -> None:
    case = Case(door, 20_000)

    def run(*words: str, code: int = 0) -> Any:
        done = tally(environment, "recon", "breaks", *words)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    short = case.id[:12]
    dry = run("write-off", short, "--reason", "they keep it", "--as", "ann", "--dry-run")
    assert "debit platform:losses 200.00 EUR" in dry.stdout
    run("assign", short, "--to", "ann", "--reason", "her PSP", "--as", "ben")
    listed = json.loads(run("list", "--mine", "--as", "Ann", "--json", "--limit", "1000").stdout)["breaks"]
    assert case.id in [one["break_id"] for one in listed]
    assert case.id not in run("list", "--unassigned", "--json", "--limit", "1000").stdout
    proposed = run("write-off", short, "--reason", "they keep it", "--as", "ann", "--operation-id", f"op-{short}")
    assert "proposed" in proposed.stdout
    again = run("write-off", short, "--reason", "they keep it", "--as", "ann", "--operation-id", f"op-{short}")
    assert "as before" in again.stdout
    alone = run("approve", short, "--reason", "yes", "--as", "Ann", code=1)
    assert "same_person" in alone.stderr
    told = run("show", short).stdout
    assert "proposed by operator ann (they keep it)" in told
    assert "approve by operator Ann: yes; refused, same_person" in told
    done = json.loads(run("approve", short, "--reason", "seen the letter", "--as", "ben", "--json").stdout)
    assert done["outcome"] == "done"
    assert f"correction {done['detail']['correction_id']}" in run("show", short).stdout


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("note", "--reason", ""), 2, "reason"),
        (("note", "--reason", "card 4111 1111 1111 1111"), 2, "card number"),
        (("write-off", "--reason", "x", "--account", "bank:main"), 1, "account_not_allowed"),
        (("propose", "--reason", "x", "--entry", "debit platform:losses 1.00 EUR"), 2, "two lines"),
        (("propose", "--reason", "x", "--entry", "debit a 1 EUR", "--entry", "credit b 1 EUR"), 2, "--entry"),
        (("approve", "--reason", "x"), 1, "nothing_proposed"),
    ],
)
def test_commands_refuse_what_cannot_be_done(
    door: Door, environment: dict[str, str], words: tuple[str, ...], code: int, says: str
) -> None:
    case = Case(door)
    done = tally(environment, "recon", "breaks", words[0], case.id, *words[1:])
    assert (done.returncode, says in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr
    assert "4111" not in done.stdout
