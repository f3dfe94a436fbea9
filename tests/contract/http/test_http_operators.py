"""Operators over HTTP: who may look may not act; a replay, an edit by two, a room that goes on; all in the audit."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from consumers.payments.consumer import build
from consumers.wallet.consumer import build as build_wallet
from operations.stack.servers import Servers
from tests.captures import capture, record
from tests.contract.http.door import Door, Reply
from tests.journey.letters import cleared, cleared_value, draining, requested
from topics.runtime.dead_letters import listing as dead_letters
from topics.runtime.dead_letters.store import write_stop
from topics.runtime.delivery.apply import apply
from topics.runtime.delivery.drain import drain
from topics.runtime.shape.store import Store
from topics.settings import Settings

LATER = datetime(2150, 1, 1, tzinfo=UTC)
WHY = {"reason": "the payment was missing"}


@pytest.fixture
def store(http_stack: Settings) -> Iterator[Store]:
    store = Store(http_stack.model_copy(update={"stop_at_least": 1000}), "payments")
    yield store
    store.close()


def die(store: Store, http_stack: Settings, value: bytes | None = None) -> dead_letters.Letter:
    """A dead letter with a key of its own."""
    key = f"c{secrets.token_hex(5)}"
    list(
        apply(
            store, build(http_stack), [cleared(key, value=value and value.replace(b"KEY", key.encode()))], None, LATER
        )
    )
    (letter,) = dead_letters.list_letters(http_stack, "payments", wanted=dead_letters.Filter(key=key))
    return letter


def act(door: Door, path: str, body: dict[str, Any], key: str | None = None, method: str = "POST") -> Reply:
    return door.send(method, path, json.dumps(body).encode(), key=key)


def test_a_list_that_was_cut_says_so_and_begins_with_the_oldest_of_all_rooms(
    door: Door, http_stack: Settings, store: Store
) -> None:
    wallet = Store(http_stack.model_copy(update={"stop_at_least": 1000}), "wallet")
    key = secrets.token_hex(5)
    garbage = record(capture(), secrets.token_hex(5))._replace(value=b"not JSON", key=key.encode())
    list(apply(wallet, build_wallet(http_stack), [garbage], None, LATER - timedelta(days=1)))
    wallet.close()
    letters = [die(store, http_stack), die(store, http_stack)]
    looks = door.key_for("carol", "ops:read")
    cut = door.get("/v1/ops/letters?limit=1", looks).json
    assert (len(cut["letters"]), cut["truncated"]) == (1, True)
    whole = door.get("/v1/ops/letters?limit=1000", looks).json
    assert whole["truncated"] is False
    assert {letter.letter_id for letter in letters} <= {letter["letter_id"] for letter in whole["letters"]}
    rooms = [letter["room"] for letter in whole["letters"]]
    assert rooms.index("wallet") < len(rooms) - 1 - rooms[::-1].index("payments"), "though payments are asked first"
    parked = [letter["parked_at"] for letter in whole["letters"]]
    assert parked == sorted(parked)
    [old] = [letter["letter_id"] for letter in whole["letters"] if letter["key"] == key]
    assert act(door, "/v1/ops/discards", {"room": "wallet", "letters": [old], **WHY}).json["changed"] == [old]


def test_who_may_look_may_not_act_and_who_may_act_must_be_allowed_to_look(
    door: Door, http_stack: Settings, store: Store
) -> None:
    letter = die(store, http_stack)
    looks, acts = door.key_for("carol", "ops:read"), door.key_for("dan", "ops:act")
    assert door.get(f"/v1/ops/letters/payments/{letter.letter_id}", looks).json["key"] == letter.key
    wanted = {"room": "payments", "letters": [letter.letter_id], **WHY}
    assert act(door, "/v1/ops/replays", wanted, looks).json["code"] == "forbidden"
    assert door.get("/v1/ops/letters", acts).json["code"] == "forbidden"
    assert door.get("/v1/ops/letters", key="").status == 401


def test_a_dry_run_needs_no_reason_and_an_empty_key_is_a_key(door: Door, http_stack: Settings, store: Store) -> None:
    list(apply(store, build(http_stack), [cleared(secrets.token_hex(5))._replace(key=b"", value=b"{}")], None, LATER))
    (letter,) = dead_letters.list_letters(http_stack, "payments", wanted=dead_letters.Filter(key=""))
    wanted: dict[str, Any] = {"room": "payments", "letters": [letter.letter_id]}
    for path in ("/v1/ops/replays", "/v1/ops/discards"):
        planned = act(door, path, {**wanted, "dry_run": True})
        assert (planned.status, planned.json["planned"][0]["key"]) == (200, "")
        refused = act(door, path, wanted)
        assert (refused.status, refused.json["errors"][0]["field"]) == (422, "reason")
    assert door.get(f"/v1/ops/letters/payments/{letter.letter_id}").json["key"] == ""
    assert act(door, "/v1/ops/discards", {**wanted, **WHY}).json["changed"] == [letter.letter_id]


def test_a_letter_is_replayed_once_in_the_name_of_the_keys_owner(
    door: Door, http_stack: Settings, store: Store
) -> None:
    letter = die(store, http_stack)
    wanted = {"room": "payments", "filter": {"key": letter.key}, **WHY}
    planned = act(door, "/v1/ops/replays", {**wanted, "dry_run": True}).json["planned"]
    assert [(each["letter_id"], each["does"]) for each in planned] == [(letter.letter_id, "run")]
    done = act(door, "/v1/ops/replays", wanted)
    assert (done.status, done.json) == (200, {"changed": [letter.letter_id], "unchanged": {}, "left": 0})
    again = act(door, "/v1/ops/replays", {"room": "payments", "letters": [letter.letter_id[:8]], **WHY})
    assert again.json == {"changed": [], "unchanged": {letter.letter_id: "parked"}, "left": 0}
    newest = door.get("/v1/ops/rooms/payments/audit?limit=1").json["acts"][0]
    assert (newest["actor"], newest["action"], newest["filter"]["letters"]) == ("shop", "replay", [letter.letter_id])
    list(apply(store, build(http_stack), [requested(str(letter.key))], None, datetime.now(UTC)))
    drain(store, build(http_stack), LATER)
    assert door.get(f"/v1/ops/letters/payments/{letter.letter_id}").json["effect_stands"] is True


def test_the_audit_of_a_room_says_when_it_is_cut(door: Door, http_stack: Settings, store: Store) -> None:
    for _ in range(2):
        letter = die(store, http_stack, b"no json")
        assert act(door, "/v1/ops/discards", {"room": "payments", "letters": [letter.letter_id], **WHY}).status == 200
    where = "/v1/ops/rooms/payments/audit"
    cut = door.get(f"{where}?limit=1").json
    assert (len(cut["acts"]), cut["truncated"]) == (1, True)
    whole = door.get(f"{where}?limit=1000").json
    assert whole["truncated"] is False
    assert door.get(f"{where}?limit={len(whole['acts'])}").json == whole, "all of them: there is no more"


def test_an_edit_needs_the_key_of_another_owner(door: Door, http_stack: Settings, store: Store) -> None:
    letter = die(store, http_stack, b'{"checkout_id": "KEY"}')
    where = f"/v1/ops/letters/payments/{letter.letter_id}"
    value = json.loads(cleared_value(str(letter.key)))
    for wrong in ({}, {"number": 1 << 80}):
        assert act(door, f"{where}/edit", {"value": wrong, **WHY}, method="PUT").json["code"] == "refused"
    proposed = act(door, f"{where}/edit", {"value": value, **WHY}, method="PUT").json
    approval = {"sha256": proposed["sha256"], **WHY}
    assert act(door, f"{where}/approval", approval).json["code"] == "refused"
    second = door.key_for("erin", "ops:act")
    assert act(door, f"{where}/approval", {**approval, "sha256": "0" * 64}, second).json["code"] == "refused"
    assert act(door, f"{where}/approval", approval, second).json["approved_by"] == "erin"
    assert door.get(where).json["state"] == "parked"


def test_discards_groups_and_export_are_there_too(door: Door, http_stack: Settings, store: Store) -> None:
    letter = die(store, http_stack)
    groups = door.get("/v1/ops/letters/groups?room=payments&code=unknown_payment").json["groups"]
    assert sum(group["dead"] for group in groups) >= 1
    (line,) = door.get(f"/v1/ops/letters/export?key={letter.key}").body.splitlines()
    assert json.loads(line)["letter_id"] == letter.letter_id
    gone = act(door, "/v1/ops/discards", {"room": "payments", "letters": [letter.letter_id], **WHY})
    assert gone.json["changed"] == [letter.letter_id]
    assert door.get(f"/v1/ops/letters?key={letter.key}").json == {"letters": [], "truncated": False}


def test_a_stopped_room_says_why_and_goes_on(door: Door, http_stack: Settings, store: Store, servers: Servers) -> None:
    with store.transaction() as conn:
        write_stop(conn, "too_many_faults", "of a test")
    said = {each["room"]: each["stopped"] for each in door.get("/v1/ops/rooms").json["rooms"]}
    assert (said["payments"]["reason"], said["wallet"]) == ("of a test", None)
    why = {"reason": f"mended {secrets.token_hex(5)}"}
    assert act(door, "/v1/ops/rooms/payments/resume", why).json["stopped"]["code"] == "too_many_faults"
    assert act(door, "/v1/ops/rooms/payments/resume", why).json["stopped"] is None
    with psycopg.connect(http_stack.dsn("tally_ops")) as conn:
        done = "SELECT actor FROM payments.ops_audit WHERE action = 'resume' AND reason = %s"
        acts = conn.execute(done, [why["reason"]]).fetchall()
    assert acts == [("shop",)]


def test_a_stop_with_several_ways_out_names_them_and_takes_one(door: Door, store: Store) -> None:
    with store.transaction() as conn:
        write_stop(conn, "topic_replaced", "of a test", about={"topic": "payments.v1", "topic_id": "new"})
    refused = act(door, "/v1/ops/rooms/payments/resume", WHY)
    assert (refused.status, refused.json["code"]) == (409, "refused")
    assert "begin=start" in refused.json["detail"]
    lifted = act(door, "/v1/ops/rooms/payments/resume", {**WHY, "begin": "start"})
    assert lifted.json["stopped"]["code"] == "topic_replaced"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"room": "payments", "letters": ["deadbeef"], "reason": " "}, 409),
        ({"room": "payments", "letters": ["deadbeef"], "reason": "a\x1b"}, 400),
        ({"room": "payments", "letters": ["deadbeef"]}, 422),
        ({"room": "payments", **WHY}, 409),
        ({"room": "payments", "letters": [], **WHY}, 400),
        ({"room": "payments", "letters": ["deadbeef"], **WHY}, 404),
        ({"room": "payments", "letters": ["wallet/deadbeef"], **WHY}, 404),
        ({"room": "nowhere", "letters": ["deadbeef"], **WHY}, 404),
        ({"room": "payments", "filter": {"from": "yesterday"}, **WHY}, 422),
        ({"room": "payments", "filter": {"from": "2030"}, **WHY}, 422),
        ({"room": "payments", "filter": {"to": 20300101}, **WHY}, 422),
        ({"room": "payments", "filter": {}, "max": 0, **WHY}, 400),
        ({"room": "payments", "filter": {}, "max": True, **WHY}, 422),
        ({"room": "payments", "filter": {}, "max": "5", **WHY}, 422),
        ({"room": "payments", "filter": {}, "dry_run": "no", **WHY}, 422),
        ({"room": "payments", "filter": {}, "dry_run": 0, **WHY}, 422),
        ({"room": "payments", "filter": {"colour": "red"}, **WHY}, 422),
    ],
)
def test_what_makes_no_sense_is_refused(body: dict[str, Any], status: int, door: Door) -> None:
    for route in ("replays", "discards"):
        refused = act(door, f"/v1/ops/{route}", body)
        assert (refused.status, refused.headers["content-type"]) == (status, "application/problem+json"), refused.body


def test_a_refusal_is_in_words_of_ours(door: Door) -> None:
    refused = act(door, "/v1/ops/replays", {"room": "payments", "filter": {"code": "a\x1b"}, **WHY})
    assert refused.json["detail"] == "filter.code: it holds control characters"


@pytest.mark.parametrize("no_time", ["2030", 20300101, 1893456000, "1893456000", 1e9, True, "2030-01-31T12:00:00"])
def test_what_is_no_time_matches_no_letter_and_is_named(
    door: Door, http_stack: Settings, store: Store, no_time: object
) -> None:
    letter = die(store, http_stack)
    for route in ("replays", "discards"):
        for end in ("from", "to"):
            refused = act(door, f"/v1/ops/{route}", {"room": "payments", "filter": {end: no_time}, **WHY})
            assert (refused.status, refused.json["code"]) == (422, "invalid_time")
            assert refused.json["field"] == f"filter.{end}"
    assert door.get(f"/v1/ops/letters/payments/{letter.letter_id}").json["state"] == "dead"


def test_a_filter_by_day_is_a_filter_by_its_first_moment(door: Door, http_stack: Settings, store: Store) -> None:
    letter = die(store, http_stack)

    def planned(**ends: str) -> list[str]:
        wanted = {"room": "payments", "filter": {"key": letter.key, **ends}, "dry_run": True, **WHY}
        return [each["letter_id"] for each in act(door, "/v1/ops/discards", wanted).json["planned"]]

    for first, after in (("2150-01-01", "2150-01-02"), ("2149-12-31t23:59:60.0z", "2150-01-01T00:00:00.000001000Z")):
        assert planned(**{"from": first, "to": after}) == [letter.letter_id]
        assert planned(to=first) == planned(**{"from": after}) == []


def test_a_replay_at_a_rate_does_them_all_no_faster_and_says_so(door: Door, http_stack: Settings, store: Store) -> None:
    letters = [die(store, http_stack).letter_id for _ in range(3)]
    began = time.monotonic()
    done = act(door, "/v1/ops/replays", {"room": "payments", "letters": letters, "rate": 2, **WHY})
    assert time.monotonic() - began >= 1  # the third is due a second after the first
    assert (sorted(done.json["changed"]), done.json["left"], done.json["stopped"]) == (sorted(letters), 0, None)
    again = act(door, "/v1/ops/replays", {"room": "payments", "letters": letters, "rate": 1000, **WHY})
    assert (again.json["changed"], set(again.json["unchanged"].values())) == ([], {"parked"})


def test_a_replay_that_stops_on_error_leaves_what_comes_after(door: Door, http_stack: Settings, store: Store) -> None:
    letters = [die(store, http_stack).letter_id for _ in range(3)]
    wanted = {"room": "payments", "letters": letters, "stop_on_error": True, **WHY}
    with draining(http_stack, LATER):
        stopped = act(door, "/v1/ops/replays", wanted)
    assert (stopped.json["changed"], stopped.json["left"]) == (letters[:1], 2)
    assert letters[0] in stopped.json["stopped"]
    states = {
        each["letter_id"]: each["state"]
        for each in door.get("/v1/ops/letters?room=payments&limit=1000").json["letters"]
    }
    assert [states[letter] for letter in letters[1:]] == ["dead", "dead"]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"rate": 0}, "invalid_parameter"),
        ({"rate": 10**9}, "invalid_parameter"),
        ({"rate": "fast"}, "wrong_type"),
        ({"stop_on_error": 7}, "wrong_type"),
    ],
)
def test_a_rate_that_is_none_is_refused(door: Door, wrong: dict[str, object], code: str) -> None:
    refused = act(door, "/v1/ops/replays", {"room": "payments", "filter": {}, **wrong, **WHY})
    assert (refused.status // 100, refused.json["code"]) == (4, code)
