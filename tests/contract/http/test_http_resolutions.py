"""What a PSP could not say of a call, over HTTP and by command: proposed by one person, approved by another, and heard once."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from operations.auditor.engine.records import reader
from operations.auditor.engine.stores import Stores
from operations.auditor.resolutions import faults
from operations.stack.servers import Servers
from producers import ops_replies
from producers.keys import KeyRefused, create_key
from psp.port import Captured, Declined, NotThere, Unknown
from psp.port import Reply as PspReply
from schemas.events import CallEnded, OrderPlaced
from tests.commands import tally
from tests.contract.calls_running import Desk, as_message, hear, psp_accounts
from tests.contract.http.door import Door, Reply, asked, wait_for
from tests.contract.http.door import order as request_of
from tests.contract.http.rooms import running_rooms
from tests.contract.http.test_http_notifications_heard import hearing, placed
from topics.runtime.shape.clock import Clock

ROOT = "/v1/ops/resolutions"
NO_ANSWER = Unknown("timeout")
WHY = {"evidence": "dashboard of northpay, 4 May, row 17", "reason": "no answer for two days"}


@pytest.fixture(scope="module")
def desk(door: Door) -> Iterator[Desk]:
    """The executor, which hears; nobody calls a PSP, the test gives the answers."""
    desk = Desk(door.settings.model_copy(update={"psps": psp_accounts("http://127.0.0.1:1")}))
    with hearing(desk.settings), running_rooms(door.settings):
        yield desk


@pytest.fixture(scope="module")
def anna(door: Door) -> str:
    return door.key_for("anna", "calls:resolve")


@pytest.fixture(scope="module")
def bert(door: Door) -> str:
    return door.key_for("bert", "calls:resolve")


@pytest.fixture
def order(desk: Desk) -> OrderPlaced:
    """An order whose charge is unresolved: sent, and asked about until the ladder ended."""
    order = placed(f"rs-{secrets.token_hex(4)}", "tok_visa")
    desk.place([order])
    never_answered(desk, order.key)
    return order


def never_answered(desk: Desk, order: str) -> None:
    answered(desk, order, "send")
    assert desk.states()[order] == "unknown"
    for number in range(7):
        answered(desk, order, "ask", number)
    assert desk.states()[order] == "unresolved"


def answered(
    desk: Desk, order: str, act: Any, number: int = 0, *, kind: str = "charge", reply: PspReply = NO_ANSWER
) -> None:
    """The PSP's answer to the last send or question, by default none."""
    [(call_id, act_no)] = desk.rows("SELECT id, act_no FROM calls WHERE subject = %s AND kind = %s", order, kind)
    ended = CallEnded(
        payment_order_id=order,
        call_id=str(call_id),
        act=act,
        act_no=int(str(act_no)),
        reply=reply.to_json(),
        ended_at=datetime.now(UTC),
    )
    hear(desk.settings, [as_message(ended, "calls", f"{order} {kind} {act} {number}")])


def is_asked_about(desk: Desk, order: str) -> bool:
    return bool(desk.rows("SELECT 1 FROM calls WHERE subject = %s AND kind = 'check'", order))


def nothing_there(desk: Desk, order: str) -> None:
    """The PSP's answer to the question about what two persons have said."""
    answered(desk, order, "ask", kind="check", reply=NotThere())


def answer_to(door: Door, key: str, id_: str) -> tuple[str | None, str | None]:
    [one] = [one for one in listed(door, key, "approved") if one["proposal_id"] == id_]
    return one["answer"], one["answer_code"]


def state(desk: Desk, order: OrderPlaced) -> str:
    return desk.states()[order.key]


def call_of(desk: Desk, order: OrderPlaced) -> str:
    [(call_id,)] = desk.rows("SELECT call_id FROM attempts WHERE payment_order_id = %s", order.key)
    return str(call_id)


def post(door: Door, key: str, path: str = "", **body: Any) -> Reply:
    return door.send("POST", ROOT + path, json.dumps(body).encode(), key=key)


def propose(door: Door, key: str, desk: Desk, order: OrderPlaced, outcome: str = "failed", **more: Any) -> Reply:
    return post(door, key, **{"call_id": call_of(desk, order), "outcome": outcome, **WHY, **more})


def listed(door: Door, key: str, status: str = "waiting") -> list[dict[str, Any]]:
    page = door.get(f"{ROOT}?status={status}&limit=500", key=key).json
    ops_replies.ResolutionPage.model_validate_json(json.dumps(page))
    return list(page["resolutions"])


def test_an_unresolved_charge_is_captured_by_two_persons(
    door: Door, desk: Desk, order: OrderPlaced, anna: str, bert: str
) -> None:
    made = propose(door, anna, desk, order, "succeeded", psp_reference="np_1")
    assert (made.status, made.json["state"], made.json["proposed_by"]) == (202, "waiting", "anna")
    assert (made.json["amount"], made.json["currency"], made.json["kind"]) == ("12.34", "EUR", "charge")
    id_ = made.json["proposal_id"]
    assert [one["proposal_id"] for one in listed(door, bert) if one["subject"] == order.key] == [id_]
    assert state(desk, order) == "unresolved", "one person changes nothing"
    approved = post(door, bert, f"/{id_}/approve", reason="seen the same row")
    assert (approved.status, approved.json["state"], approved.json["decided_by"]) == (202, "approved", "bert")
    wait_for(lambda: state(desk, order) == "captured")
    caused = desk.rows("SELECT psp_reference, outcome_event_id FROM attempts WHERE payment_order_id = %s", order.key)
    assert caused == [("np_1", approved.json["event_id"])]
    assert order.key not in [one["subject"] for one in listed(door, anna)]


def test_the_books_follow_what_two_persons_have_said_of_a_payment(door: Door, desk: Desk, anna: str, bert: str) -> None:
    cart = f"rs-{secrets.token_hex(4)}"
    done, gone = f"{cart}-1", f"{cart}-2"
    orders = [request_of(each, seller_account=each) for each in (done, gone)]
    assert door.post(asked(cart, *orders, buyer_info={"buyer_account": cart})).status == 202
    wait_for(lambda: {done, gone} <= desk.states().keys())
    for order, outcome in (
        (done, {"outcome": "succeeded", "psp_reference": f"np-{cart}"}),
        (gone, {"outcome": "failed"}),
    ):
        never_answered(desk, order)
        [(call_id,)] = desk.rows("SELECT call_id FROM attempts WHERE payment_order_id = %s", order)
        id_ = post(door, anna, call_id=call_id, **WHY, **outcome).json["proposal_id"]
        assert post(door, bert, f"/{id_}/approve", reason="seen").status == 202
    wait_for(lambda: is_asked_about(desk, gone))
    nothing_there(desk, gone)
    wait_for(lambda: door.get(f"/v1/payments/{cart}").json["is_payment_done"])
    shown = door.get(f"/v1/payments/{cart}").json["payment_orders"]
    assert [(one["payment_order_status"], one["wallet_updated"], one["ledger_updated"]) for one in shown] == [
        ("SUCCESS", True, True),
        ("FAILED", False, False),
    ]
    assert shown[1]["decline_code"] == "resolved_by_operators"
    assert door.get(f"/v1/wallets/{done}").json["balances"][0]["available"] == "11.34"
    assert door.get(f"/v1/wallets/{gone}").status == 404


def test_the_books_follow_what_two_persons_set_aside(door: Door, desk: Desk, anna: str, bert: str) -> None:
    """A declined charge was captured, and then it has failed after all: each word needs both of them."""
    cart = f"rs-{secrets.token_hex(4)}"
    order = f"{cart}-1"
    request = asked(cart, request_of(order, seller_account=order), buyer_info={"buyer_account": cart})
    assert door.post(request).status == 202
    wait_for(lambda: order in desk.states())
    answered(desk, order, "send", reply=Declined("stolen_card", f"np-{cart}"))
    wait_for(lambda: door.get(f"/v1/payments/{cart}").json["is_payment_done"])
    [(call_id,)] = desk.rows("SELECT call_id FROM attempts WHERE payment_order_id = %s", order)
    assert post(door, anna, call_id=call_id, **WHY, outcome="succeeded", psp_reference="np_1").status == 409
    assert post(door, anna, call_id=call_id, **WHY, outcome="declare_failed").status == 409

    def declare(outcome: str) -> None:
        id_ = post(door, anna, call_id=call_id, **WHY, outcome=outcome).json["proposal_id"]
        assert post(door, anna, f"/{id_}/approve", reason="seen").json["code"] == "same_person"
        assert post(door, bert, f"/{id_}/approve", reason="seen").status == 202

    def shown() -> tuple[object, ...]:
        one = door.get(f"/v1/payments/{cart}").json["payment_orders"][0]
        return one["payment_order_status"], one["wallet_updated"], one["ledger_updated"]

    declare("declare_captured")
    wait_for(lambda: shown() == ("SUCCESS", True, True))
    wait_for(lambda: door.get(f"/v1/wallets/{order}").json["balances"][0]["available"] == "11.34")
    declare("declare_failed")
    wait_for(lambda: door.get(f"/v1/wallets/{order}").json["balances"][0]["available"] == "0.00")


def test_an_unresolved_charge_fails_by_two_persons_and_its_proposal_cannot_be_used_again(
    door: Door, desk: Desk, order: OrderPlaced, anna: str, bert: str
) -> None:
    id_ = propose(door, anna, desk, order).json["proposal_id"]
    assert post(door, bert, f"/{id_}/approve", reason="nothing there").status == 202
    wait_for(lambda: answer_to(door, anna, id_) == ("asked", None))
    assert state(desk, order) == "unresolved", "the PSP is asked first"
    nothing_there(desk, order.key)
    assert (state(desk, order), answer_to(door, anna, id_)) == ("declined", ("believed", None))
    again = post(door, bert, f"/{id_}/approve", reason="nothing there")
    assert (again.status, again.replayed) == (202, True)
    late = post(door, door.key_for("carl", "calls:resolve"), f"/{id_}/reject", reason="no")
    assert (late.status, late.json["code"], late.json["detail"]) == (409, "not_waiting", "approved by bert")
    ended = propose(door, anna, desk, order)
    assert (ended.status, ended.json["code"]) == (409, "not_waiting")


def test_the_proposer_cannot_approve_whatever_the_case_of_the_name(
    door: Door, desk: Desk, order: OrderPlaced, anna: str
) -> None:
    id_ = propose(door, anna, desk, order).json["proposal_id"]
    for key in (anna, door.key_for("ANNA", "calls:resolve")):
        reply = post(door, key, f"/{id_}/approve", reason="I am sure")
        assert (reply.status, reply.json["code"]) == (403, "same_person")
    assert state(desk, order) == "unresolved"


def test_one_proposal_waits_for_a_call_at_a_time_and_its_proposer_may_take_it_back(
    door: Door, desk: Desk, order: OrderPlaced, anna: str, bert: str
) -> None:
    first = propose(door, anna, desk, order)
    again = propose(door, anna, desk, order)
    assert (again.replayed, again.json["proposal_id"]) == (True, first.json["proposal_id"])
    other = propose(door, bert, desk, order, "succeeded", psp_reference="np_2")
    assert (other.status, other.json["code"]) == (422, "contents_conflict")
    id_ = first.json["proposal_id"]
    assert post(door, anna, f"/{id_}/reject", reason="wrong row").json["state"] == "rejected"
    gone = post(door, bert, f"/{id_}/approve", reason="ok")
    assert (gone.status, gone.json["detail"]) == (409, "rejected by anna")
    assert propose(door, bert, desk, order, "succeeded", psp_reference="np_2").status == 202


def test_what_is_still_asked_about_may_have_succeeded_and_has_not_failed(
    door: Door, desk: Desk, anna: str, bert: str
) -> None:
    order = placed(f"rs-{secrets.token_hex(4)}", "tok_visa")
    desk.place([order])
    early = propose(door, anna, desk, order)
    assert (early.status, early.json["code"]) == (409, "not_waiting")
    answered(desk, order.key, "send")
    assert propose(door, anna, desk, order).status == 409
    id_ = propose(door, anna, desk, order, "succeeded", psp_reference="np_3").json["proposal_id"]
    assert post(door, bert, f"/{id_}/approve", reason="seen").status == 202
    wait_for(lambda: state(desk, order) == "captured")


def test_a_proposal_that_nobody_decides_for_a_week_expires(
    door: Door, desk: Desk, order: OrderPlaced, anna: str, bert: str
) -> None:
    id_ = propose(door, anna, desk, order).json["proposal_id"]
    with psycopg.connect(door.settings.dsn("tally_doors"), options="-c search_path=doors") as conn:
        past = Clock(door.settings.clock_file).now() - timedelta(seconds=1)
        conn.execute("UPDATE proposals SET expires_at = %s WHERE proposal_id = %s", [past, id_])
    late = post(door, bert, f"/{id_}/approve", reason="seen")
    assert (late.status, late.json["code"]) == (409, "not_waiting")
    assert id_ in [one["proposal_id"] for one in listed(door, anna, "expired")]
    assert id_ not in [one["proposal_id"] for one in listed(door, anna)]
    assert propose(door, bert, desk, order).status == 202, "it makes room for the next"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"outcome": "perhaps"}, "outcome"),
        ({"outcome": "submitted"}, "outcome"),
        ({"outcome": "succeeded"}, "psp_reference"),
        ({"psp_reference": "a b"}, "psp_reference"),
        ({"evidence": ""}, "evidence"),
        ({"evidence": "\u0000"}, "evidence"),
        ({"reason": " "}, "reason"),
        ({"reason": "x" * 501}, "reason"),
        ({"call_id": "A" * 32}, "call_id"),
        ({"expires_at": "2030-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"proposed_by": "eve"}, "proposed_by"),
    ],
)
def test_a_broken_proposal_names_its_field_and_nothing_waits(
    door: Door, desk: Desk, order: OrderPlaced, anna: str, body: dict[str, Any], field: str
) -> None:
    reply = propose(door, anna, desk, order, **body)
    assert (reply.status in (400, 422), reply.json["field"]) == (True, field)
    assert order.key not in [one["subject"] for one in listed(door, anna)]


def test_what_is_not_there_is_not_found_and_only_such_a_key_may_ask(door: Door, desk: Desk, anna: str) -> None:
    assert post(door, anna, call_id="0" * 32, outcome="failed", **WHY).status == 404
    assert post(door, anna, "/rs-0/approve", reason="x").status == 404
    assert (door.get(ROOT).status, post(door, door.key, call_id="0" * 32, outcome="failed", **WHY).status) == (403, 403)
    with pytest.raises(KeyRefused):
        create_key(door.settings, "eve", ["calls:resolve", "payments:write"])


def test_the_auditor_finds_what_one_person_or_nobody_has_approved(
    door: Door, desk: Desk, order: OrderPlaced, anna: str, bert: str, servers: Servers
) -> None:
    id_ = propose(door, anna, desk, order).json["proposal_id"]
    event_id = post(door, bert, f"/{id_}/approve", reason="nothing there").json["event_id"]
    wait_for(lambda: is_asked_about(desk, order.key))
    assert about(door, event_id, id_, later=timedelta(days=1)) == [], "it is taken, and its PSP is asked"
    nothing_there(desk, order.key)
    assert about(door, event_id, id_) == []
    dsn = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=door.settings.database)
    with psycopg.connect(dsn, autocommit=True, options="-c search_path=doors") as conn:
        conn.execute("ALTER TABLE proposals DROP CONSTRAINT two_persons")
        conn.execute("UPDATE proposals SET decided_by = 'Anna' WHERE proposal_id = %s", [id_])
        assert about(door, event_id, id_) == [f"{id_}: anna alone has approved it"]
        conn.execute(
            "UPDATE proposals SET decided_by = 'bert', call_id = %s WHERE proposal_id = %s", [unresolved(desk), id_]
        )
        assert about(door, event_id, id_, later=timedelta(days=1)) == [
            f"{id_}: call {unresolved(desk)} is still unresolved"
        ]
        conn.execute(
            "UPDATE proposals SET event = jsonb_set(event, '{status}', '\"succeeded\"') WHERE proposal_id = %s", [id_]
        )
        [fault] = about(door, event_id, id_)
        assert fault == f"{event_id}: it says other things than {id_}, which was approved"
        conn.execute("UPDATE proposals SET state = 'rejected', event_id = NULL WHERE proposal_id = %s", [id_])
        [fault] = about(door, event_id, id_)
        assert (
            fault == f"{event_id}: an operator's notification about {call_of(desk, order)}, and nobody has approved it"
        )


def unresolved(desk: Desk) -> str:
    """Any call that is still unresolved, and of which nobody has said anything."""
    [(call_id,)] = desk.rows("SELECT call_id FROM attempts WHERE state = 'unresolved' AND operations = 0 LIMIT 1")
    return str(call_id)


def about(door: Door, *ids: str, later: timedelta = timedelta(0)) -> list[str]:
    """The auditor's findings about these."""
    with Stores(door.settings) as stores, reader(door.settings) as reading:
        return [fault for fault in faults(stores, reading, datetime.now(UTC) + later)[1] if fault.startswith(ids)]


def test_commands_propose_and_approve_and_refuse_the_proposer(
    door: Door, desk: Desk, order: OrderPlaced, environment: dict[str, str]
) -> None:
    call = call_of(desk, order)
    words = ("--outcome", "failed", "--evidence", "row 17", "--reason", "silent")
    made = tally(environment, "resolve", call, *words, "--as", "anna", "--json")
    assert made.returncode == 0, made.stderr
    id_ = json.loads(made.stdout)["proposal_id"]
    assert id_ in tally(environment, "resolve", "list").stdout
    same = tally(environment, "resolve", "approve", id_, "--as", "Anna", "--reason", "sure")
    assert (same.returncode, "cannot approve" in same.stderr) == (1, True)
    done = tally(environment, "resolve", "approve", id_, "--as", "bert", "--reason", "sure")
    assert (done.returncode, "approved by bert" in done.stdout) == (0, True)
    wait_for(lambda: answer_by_command(environment, id_) == "asked")
    assert tally(environment, "resolve", "0" * 32, *words).returncode == 1
    assert id_ in tally(environment, "resolve", "list", "--all").stdout


def answer_by_command(environment: dict[str, str], id_: str) -> str:
    listed = json.loads(tally(environment, "resolve", "list", "--all", "--json").stdout)["resolutions"]
    [answer] = [one["answer"] for one in listed if one["proposal_id"] == id_]
    return str(answer)


def test_a_charge_that_its_psp_has_taken_is_captured_and_the_persons_are_told_so(
    door: Door, desk: Desk, order: OrderPlaced, anna: str, bert: str
) -> None:
    id_ = propose(door, anna, desk, order).json["proposal_id"]
    assert post(door, bert, f"/{id_}/approve", reason="nothing there").status == 202
    wait_for(lambda: is_asked_about(desk, order.key))
    taken = Captured("np_1", "visa", order.gross)
    answered(desk, order.key, "ask", kind="check", reply=taken)
    assert (state(desk, order), answer_to(door, anna, id_)) == ("captured", ("refused", "captured"))
