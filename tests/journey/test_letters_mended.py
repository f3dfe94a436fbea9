"""One letter in full, its edit by two persons, its export, its way back from the dead-letter topic."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from consumers.payments.consumer import build
from operations.cli.letters.rebuilding import rebuild_from_topic
from operations.stack.servers import Servers
from tests.journey.letters import (
    NOW,
    Tally,
    audit,
    cleared,
    cleared_value,
    give_up_on,
    letters_database,
    requested,
    stack,
    store,
    tally,
)
from topics.catalog import PAYMENTS_ROOM, RISK_DECISIONS
from topics.runtime.dead_letters import acts as operators
from topics.runtime.dead_letters import index as letter_index
from topics.runtime.dead_letters import listing as dead_letters
from topics.runtime.dead_letters.acts import ActRefused, AuditNote
from topics.runtime.delivery.apply import apply
from topics.runtime.delivery.drain import drain
from topics.runtime.outbox.outbox import OutboxRecord, Publisher, lowest_rows, records_of
from topics.runtime.shape.consumer import Message
from topics.runtime.shape.store import Store
from topics.settings import Settings

__all__ = ["letters_database", "stack", "store", "tally"]
LATER = datetime(2100, 1, 1, tzinfo=UTC)
ANN, BEN = AuditNote("ann", "the rule was missing"), AuditNote("ben", "looked at it")


def copies(store: Store) -> list[OutboxRecord]:
    with store.transaction() as conn:
        return [record for record in records_of(lowest_rows(conn, 2**62)) if record.topic == "payments.dlq.v1"]


def as_records(unsaid: Sequence[OutboxRecord]) -> list[Message]:
    return [Message(r.topic, 0, n, r.key, r.value, tuple(r.headers), 1) for n, r in enumerate(unsaid)]


# ── look ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_letters_are_grouped_by_consumer_code_and_age_with_the_newest_of_each(stack: Settings, store: Store) -> None:
    give_up_on(stack, store, [cleared("a"), cleared("a", 2), cleared("b"), cleared("m", value=b"{")])
    list(apply(store, build(stack), [cleared("c")], None, NOW + timedelta(hours=3)))
    found = dead_letters.group_letters(stack, NOW + timedelta(hours=3, minutes=1))
    assert {(g.room, g.code, g.age): (g.dead, g.parked, g.behind) for g in found} == {
        ("payments", "unknown_payment", "1 h to 1 d"): (2, 0, 1),
        ("payments", "unknown_payment", "under 1 h"): (1, 0, 0),
        ("payments", "malformed", "1 h to 1 d"): (1, 0, 0),
    }
    newest = {g.age: g.newest for g in found if g.code == "unknown_payment"}
    keys = {letter.letter_id: letter.key for letter in dead_letters.list_letters(stack)}
    assert (keys[newest["under 1 h"]], keys[newest["1 h to 1 d"]]) == ("c", "b")


def test_one_letter_in_full(stack: Settings, store: Store, tally: Tally) -> None:
    (letter,) = give_up_on(stack, store, [cleared("ghost"), cleared("ghost", 2)])
    operators.replay(stack, "payments", [letter.letter_id], BEN, NOW)
    drain(store, build(stack), NOW + timedelta(hours=1))
    found = dead_letters.details(stack, "payments", letter.letter_id)
    assert [(each["code"], each["replays"]) for each in found.tried] == [("unknown_payment", 0), ("unknown_payment", 1)]
    assert (len(found.waiting), found.effect_stands, found.value) == (1, False, cleared_value("ghost"))
    assert [(act["actor"], act["action"]) for act in found.acts] == [("ben", "replay")]
    page = tally("dlq", "show", letter.letter_id[:8]).stdout
    for said in (
        "unknown_payment",
        '"checkout_id": "ghost"',
        "ce_type: tallystick.RiskCleared.v1",
        "1 behind it",
        "ben",
    ):
        assert said in page
    assert json.loads(tally("dlq", "show", letter.letter_id, "--json").stdout)["tried"] == found.tried
    behind = dead_letters.details(stack, "payments", found.waiting[0]["letter_id"])
    assert behind.ahead == letter.letter_id


def test_a_key_that_commands_terminals_is_shown_and_obeyed_by_no_command(
    stack: Settings, store: Store, tally: Tally
) -> None:
    key = "\x1b]52;c;cm0=\x07\u202e\u200b\nforged"
    (letter,) = give_up_on(stack, store, [cleared(key, value=b'{"rule": "\x1b[2J"}')])
    seen = r"\x1b]52;c;cm0=\x07\u202e\u200b\nforged"
    for words in (["list"], ["list", "--each"], ["show", letter.letter_id], ["export"]):
        told = tally("dlq", *words)
        assert told.exit_code == 0
        assert (told.stdout + told.stderr).replace("\n", "").isprintable(), words
        assert "\nforged" not in told.stdout
    assert f"key {seen}" in tally("dlq", "show", letter.letter_id).stdout
    assert json.loads(tally("dlq", "list", "--each", "--json").stdout)[0]["key"] == key


def test_whether_the_effect_stands_is_read_from_the_rooms_own_rows(stack: Settings, store: Store) -> None:
    list(apply(store, build(stack), [requested("c")], None, NOW))
    with store.transaction() as conn:
        (claim,) = conn.execute("SELECT id::text FROM inbox").fetchone() or ("",)
    unheard = "00000000-0000-8000-8000-000000000000"
    assert dead_letters.effects(stack, "payments", [claim, unheard]) == {claim}


def test_an_export_is_one_line_of_json_for_each_letter(stack: Settings, store: Store, tally: Tally) -> None:
    give_up_on(stack, store, [cleared("a"), cleared("b", value=b"\xff")])
    lines = [json.loads(line) for line in tally("dlq", "export").stdout.splitlines()]
    assert [(line["key"], line["code"]) for line in lines] == [("a", "unknown_payment"), ("b", "malformed")]
    assert (json.loads(lines[0]["value"])["checkout_id"], lines[1]["value_base64"]) == ("a", "/w==")
    assert tally("dlq", "export", "--code", "malformed").stdout.count("\n") == 1


# ── an edit needs two persons ────────────────────────────────────────────────────────────────────────────────────────


def test_an_edit_takes_effect_once_a_second_person_approves_it(stack: Settings, store: Store, tally: Tally) -> None:
    list(apply(store, build(stack), [requested("c")], None, NOW))
    (letter,) = give_up_on(stack, store, [cleared("c", value=b'{"checkout_id": "c"}')])
    assert letter.code == "malformed"
    corrected = cleared_value("c")
    shown = tally("dlq", "edit", letter.letter_id, "--reason", "rule missing", "--actor", "ann", stdin=corrected)
    assert (shown.exit_code, '+  "rule": "none"' in shown.stdout) == (0, True)
    approve = ("dlq", "approve", letter.letter_id, "--reason", "right", "--yes", "--actor")
    alone = tally(*approve, "Ann")
    assert (alone.exit_code, "second person" in alone.stderr) == (1, True)
    assert tally(*approve, "ben").exit_code == 0
    drain(store, build(stack), LATER.replace(year=2150))
    found = dead_letters.details(stack, "payments", letter.letter_id)
    assert (found.letter.state, found.value, found.edit) == ("done", b'{"checkout_id": "c"}', corrected)
    assert [(actor, action) for actor, action, _ in audit(stack)] == [("ann", "edit"), ("ben", "approve")]
    again = tally(*approve, "carl")
    assert (again.exit_code, "is done, not dead" in again.stderr or "approved by ben" in again.stderr) == (1, True)
    said = [copy for copy in copies(store) if copy.value == corrected]
    assert said == [], "an edit is not published"


def test_an_edited_letter_that_dies_again_is_copied_as_it_came(stack: Settings, store: Store) -> None:
    (letter,) = give_up_on(stack, store, [cleared("ghost", value=b'{"checkout_id": "ghost"}')])
    edit = operators.propose(stack, "payments", letter.letter_id, cleared_value("ghost"), ANN, NOW)
    operators.approve(stack, "payments", letter.letter_id, edit.sha256, BEN, NOW)
    drain(store, build(stack), LATER)
    (again,) = dead_letters.list_letters(stack, "payments")
    assert (again.state, again.code, again.attempts, again.holds) == ("dead", "unknown_payment", 2, True)
    assert [copy.value for copy in copies(store)] == [b'{"checkout_id": "ghost"}'] * 2


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"{", "could not read it"),
        (cleared_value("other"), "key"),
        (b'{"checkout_id": "c"}', "changes nothing"),
        (b"\xff\xfe", "could not read it"),
        (b" " * 1_000_001, "bytes"),
    ],
)
def test_an_edit_that_could_not_take_effect_is_refused(value: bytes, why: str, stack: Settings, store: Store) -> None:
    (letter,) = give_up_on(stack, store, [cleared("c", value=b'{"checkout_id": "c"}')])
    with pytest.raises(ActRefused, match=why):
        operators.propose(stack, "payments", letter.letter_id, value, ANN, NOW)
    with pytest.raises(ActRefused, match="no edit"):
        operators.proposed_edit(stack, "payments", letter.letter_id)


def test_an_edit_that_changed_since_it_was_looked_at_is_not_approved(stack: Settings, store: Store) -> None:
    (letter,) = give_up_on(stack, store, [cleared("c", value=b'{"checkout_id": "c"}')])
    seen = operators.propose(stack, "payments", letter.letter_id, cleared_value("c"), ANN, NOW)
    operators.propose(stack, "payments", letter.letter_id, cleared_value("c", "another"), ANN, NOW)
    with pytest.raises(ActRefused, match="look again"):
        operators.approve(stack, "payments", letter.letter_id, seen.sha256, BEN, NOW)


def test_the_store_itself_wants_two_persons(stack: Settings, store: Store) -> None:
    (letter,) = give_up_on(stack, store, [cleared("c", value=b'{"checkout_id": "c"}')])
    operators.propose(stack, "payments", letter.letter_id, cleared_value("c"), ANN, NOW)
    with psycopg.connect(stack.dsn("tally_ops")) as conn, pytest.raises(psycopg.errors.CheckViolation):
        conn.execute("UPDATE payments.parked SET approved_by = edited_by")


# ── the index, from the dead-letter topic ────────────────────────────────────────────────────────────────────────────


def lose(stack: Settings, servers: Servers) -> None:
    """The index is gone, and with it the claims of what is in it."""
    dsn = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=stack.database)
    with psycopg.connect(dsn) as conn:
        conn.execute("DELETE FROM payments.inbox USING payments.parked WHERE inbox.id = event_id::uuid")
        conn.execute("DELETE FROM payments.parked")


def test_a_rebuilt_index_knows_what_was_settled(stack: Settings, servers: Servers, store: Store) -> None:
    """One is dead, one discarded, one replayed and done, one replayed and dead again."""
    give_up_on(stack, store, [cleared(name) for name in ("dead", "gone", "done", "again")])
    ids = {str(letter.key): letter.letter_id for letter in dead_letters.list_letters(stack)}
    operators.discard(stack, "payments", [ids["gone"]], ANN, NOW)
    list(apply(store, build(stack), [requested("done")], None, NOW))
    operators.replay(stack, "payments", [ids["done"], ids["again"]], ANN, NOW)
    drain(store, build(stack), NOW)
    before = {name: dead_letters.letter_states(stack, "payments", [id_])[id_] for name, id_ in ids.items()}
    records = as_records(copies(store))
    lose(stack, servers)
    rebuilt = letter_index.rebuild(stack, PAYMENTS_ROOM, records, ANN, NOW)
    after = {name: dead_letters.letter_states(stack, "payments", [id_])[id_] for name, id_ in ids.items()}
    assert {name: state for name, (state, _) in after.items()} == {name: state for name, (state, _) in before.items()}
    assert rebuilt.counts["dead"] == 2
    again = letter_index.rebuild(stack, PAYMENTS_ROOM, records, ANN, NOW)
    assert again.counts == {"known": 4}
    list(apply(store, build(stack), [cleared("dead")], None, NOW))
    assert len(dead_letters.list_letters(stack)) == 2, "a redelivery is a duplicate, not a second letter"


def test_a_letter_whose_effect_stands_comes_back_as_done(stack: Settings, servers: Servers, store: Store) -> None:
    """Revived by a Kafka tool, so no act is in ops_audit; its effect says it."""
    (letter,) = give_up_on(stack, store, [cleared("c")])
    records = as_records(copies(store))
    list(apply(store, build(stack), [requested("c"), copied_back(records[0])], None, NOW))
    drain(store, build(stack), NOW)
    assert dead_letters.letter_states(stack, "payments", [letter.letter_id])[letter.letter_id][0] == "done"
    lose(stack, servers)
    rebuilt = letter_index.rebuild(stack, PAYMENTS_ROOM, records, ANN, NOW)
    assert rebuilt.counts == {"effect stands": 1}


def copied_back(record: Message) -> Message:
    """A record of the dead-letter topic, where it came from once more."""
    return record._replace(topic=RISK_DECISIONS.name, offset=99)


def test_records_that_are_no_letters_are_named_and_left_alone(stack: Settings, store: Store) -> None:
    give_up_on(stack, store, [cleared("c")])
    (record,) = as_records(copies(store))
    forged = tuple((name, b"wallet" if name == "tally_topic" else value) for name, value in record.headers)
    strangers = [
        Message(record.topic, 1, 7, b"k", b"garbage", (), 1),
        Message(record.topic, 1, 8, record.key, record.value, forged, 1),
    ]
    rebuilt = letter_index.rebuild(stack, PAYMENTS_ROOM, strangers, ANN, NOW)
    assert rebuilt.foreign == ["payments.dlq.v1[1]@7", "payments.dlq.v1[1]@8"]
    assert audit(stack) == []


def test_the_index_comes_back_from_kafka(make_stack: Callable[..., Settings], servers: Servers) -> None:
    settings = make_stack()
    store, publisher = Store(settings, "payments"), Publisher(settings)
    (letter,) = give_up_on(settings, store, [cleared("ghost")])
    for copy in copies(store):
        publisher.produce(*copy)
    publisher.flush(20)
    lose(settings, servers)
    assert rebuild_from_topic(settings, "payments", ANN).counts == {"dead": 1}
    (back,) = dead_letters.list_letters(settings)
    assert (back.letter_id, back.event_id, back.code, back.holds) == (
        letter.letter_id,
        letter.event_id,
        letter.code,
        True,
    )
    store.close()


# ── what an operator may type ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("dlq", "replay", "deadbeef", "--reason", " "), 2),
        (("dlq", "replay", "deadbeef", "--reason", "a\x1b[2J"), 2),
        (("dlq", "replay", "deadbeef", "--reason", "r" * 501), 2),
        (("dlq", "replay", "deadbeef", "--reason", "r", "--actor", ""), 2),
        (("dlq", "replay", "deadbeef", "--reason", "r", "--rate", "0"), 2),
        (("dlq", "replay", "deadbeef", "--reason", "r", "--rate", "fast"), 2),
        (("dlq", "replay", "deadbeef", "--reason", "r", "--max", "-1"), 2),
        (("dlq", "replay", "deadbeef", "--reason", "r", "--all"), 2),
        (("dlq", "replay", "--reason", "r"), 2),
        (("dlq", "replay", "--all", "--reason", "r"), 2),
        (("dlq", "replay", "--room", "payments", "--code", "a\0", "--reason", "r"), 2),
        (("dlq", "list", "--from", "yesterday"), 2),
        (("dlq", "list", "--from", "2026-01-31T12:00:00"), 2),
        (("dlq", "list", "--from", "2026-02-01", "--to", "2026-01-01"), 2),
        (("dlq", "list", "--key", "k" * 257), 2),
        (("dlq", "show", "a\0b"), 2),
        (("dlq", "export", "--room", "nowhere"), 1),
        (("dlq", "edit", "deadbeef", "--reason", "r"), 1),
        (("dlq", "approve", "deadbeef", "--reason", "r"), 1),
        (("dlq", "rebuild", "--room", "nowhere", "--reason", "r"), 1),
        (("resume", "payments", "--reason", "\n"), 2),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_done(
    words: tuple[str, ...], code: int, stack: Settings, tally: Tally
) -> None:
    refused = tally(*words)
    assert (refused.exit_code, bool(refused.stderr.strip())) == (code, True)
    assert audit(stack) == []


def test_a_wrong_id_names_the_nearest(stack: Settings, store: Store, tally: Tally) -> None:
    (letter,) = give_up_on(stack, store, [cleared("c")])
    wrong = letter.letter_id[:7] + ("0" if letter.letter_id[7] != "0" else "1")
    refused = tally("dlq", "show", wrong)
    assert (refused.exit_code, f"payments/{letter.letter_id}" in refused.stderr) == (1, True)
    assert len(refused.stderr.splitlines()) == 1
