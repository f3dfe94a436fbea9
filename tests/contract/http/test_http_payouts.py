"""Pay-outs over HTTP and by command: taken once, refused with the field at fault, cancelled, approved, read back."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson
import pytest

from consumers.payouts import consumer as payouts
from consumers.wallet import consumer as wallet
from producers import payout_replies
from producers.client import UpstreamClient
from producers.doors.commits import Commits
from producers.doors.payouts import ApprovalSubmission, claim_approvals
from producers.keys import KeyRefused, create_key
from schemas.money import Money
from schemas.payouts import (
    PayoutPaid,
    PayoutRequest,
    PayoutRiskCleared,
    PayoutSubmitted,
    PayoutUnknown,
    PayoutUnresolved,
)
from tests.commands import tally
from tests.contract.http.door import Door, Reply, order, wait_for
from tests.contract.http.rooms import captured, execute
from tests.contract.http.test_http_bad_input import refused
from tests.contract.http.test_http_sellers import put
from topics.catalog import PAYOUT_EXECUTIONS, PAYOUT_RISK_DECISIONS
from topics.payout_accounts import PayoutProviderAccount
from topics.runtime.process.kafka_loop import RoomLoop
from topics.settings import Settings

ROOT, OPS = "/v1/payouts", "/v1/ops/payouts"
IBAN = {"type": "iban", "iban": "DE89370400440532013000", "holder": "Anna Beispiel"}
ABROAD = {**IBAN, "iban": "GB29NWBK60161331926819", "address": {"town": "London", "country": "GB"}}
HARBOUR = PayoutProviderAccount(
    name="harbour",
    adapter="harbour",
    url="http://127.0.0.1:1",
    api_key="key",
    bank_account="main",
    countries=frozenset({"DE"}),
)


@pytest.fixture(scope="module", autouse=True)
def rooms(http_stack: Settings) -> Iterator[None]:
    """payouts and the wallet. Risk's answer is given by the test; nothing is sent."""
    stop = threading.Event()
    settings = http_stack.model_copy(update={"payout_providers": (HARBOUR,)})
    loops = [RoomLoop(settings, room.build(settings), stop) for room in (payouts, wallet)]
    threads = [threading.Thread(target=loop.run) for loop in loops]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join()


@pytest.fixture(scope="module")
def anna(door: Door) -> str:
    return door.key_for("Anna", "payouts:approve")


@pytest.fixture
def seller(door: Door) -> str:
    """A seller with a destination, and 100.00 EUR available."""
    account = f"po-{secrets.token_hex(4)}"
    assert put(door, account, destination=IBAN).status == 201
    one = order(f"{account}-order", seller_account=account, amount="100.00", platform_fee="0.00")
    execute(door.settings, captured(one, f"{account}-cart"))
    wait_for(lambda: door.get(f"/v1/wallets/{account}").status == 200)
    return account


@pytest.fixture
def waiting(door: Door, seller: str) -> str:
    """A pay-out of all that the seller has, which waits for a person."""
    assert ask(door, seller, amount="all").status == 202
    wait_for(lambda: status(door, f"{seller}-1") == "screening")
    clear(door, f"{seller}-1")
    wait_for(lambda: status(door, f"{seller}-1") == "awaiting_approval")
    return f"{seller}-1"


def ask(door: Door, seller: str, key: str | None = None, **changed: Any) -> Reply:
    body = {"payout_id": f"{seller}-1", "seller_account": seller, "amount": "12.00", "currency": "EUR"} | changed
    return door.send("POST", ROOT, json.dumps(body).encode(), key=key)


def clear(door: Door, payout_id: str) -> None:
    """What risk would have said."""
    said = PayoutRiskCleared(
        payout_id=payout_id, screen_no=1, rule="none", list_version="1", score=0, decided_at=datetime.now(UTC)
    )
    execute(door.settings, said, topic=PAYOUT_RISK_DECISIONS)


def status(door: Door, payout_id: str) -> str:
    return str(door.get(f"{ROOT}/{payout_id}").json["status"])


def cancel(door: Door, payout_id: str, key: str | None = None) -> Reply:
    return door.send("POST", f"{ROOT}/{payout_id}/cancel", key=key)


def listed(door: Door, anna: str, payout_id: str, which: str = "awaiting_approval") -> dict[str, Any]:
    page = door.get(f"{OPS}?status={which}&limit=500", key=anna)
    payout_replies.PayoutsToApprove.model_validate_json(page.body)
    [found] = [one for one in page.json["payouts"] if one["payout_id"] == payout_id]
    return dict(found)


def decide(door: Door, key: str, payout_id: str, **changed: Any) -> Reply:
    body = {"decision": "approved", "reason": "invoice 88 seen"} | changed
    return door.send("POST", f"{OPS}/{payout_id}/approvals", json.dumps(body).encode(), key=key)


# ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_pay_out_is_taken_once_and_the_same_again_gets_the_same_answer(door: Door, seller: str) -> None:
    first = ask(door, seller, description="May")
    assert (first.status, first.replayed, first.headers["location"]) == (202, False, f"{ROOT}/{seller}-1")
    payout_replies.Payout.model_validate_json(first.body)
    put(door, seller, state="closed")
    again = ask(door, seller, description="May")
    assert (again.status, again.replayed, again.body) == (202, True, first.body)
    refused(ask(door, seller, description="June"), 422, "contents_conflict", "description")
    refused(ask(door, seller, door.key_for("rival"), description="May"), 409, "id_taken", "payout_id")


def test_another_owners_seller_and_nobodys_are_alike(door: Door, seller: str) -> None:
    rival = door.key_for("rival")
    for account in (seller, f"{seller}-that-is-not-there"):
        refused(ask(door, account, rival), 404, "unknown_seller", "seller_account")


def test_what_cannot_be_paid_out_is_refused_and_its_id_stays_free(door: Door, seller: str) -> None:
    refused(ask(door, seller, amount="100.01"), 422, "insufficient_funds", "amount")
    refused(ask(door, seller, amount="all", currency="USD"), 422, "insufficient_funds", "amount")
    put(door, seller)
    refused(ask(door, seller), 422, "no_destination", "seller_account")
    put(door, seller, state="closed", destination=IBAN)
    refused(ask(door, seller), 422, "seller_closed", "seller_account")
    put(door, seller, state="frozen", destination=IBAN)
    assert ask(door, seller, amount="all").status == 202, "a frozen seller's waits"


def test_what_cannot_be_converted_is_refused_and_its_currency_is_a_part_of_the_request(door: Door, seller: str) -> None:
    refused(ask(door, seller, payout_currency="GBP"), 422, "no_rate", "payout_currency")
    refused(ask(door, seller, amount="1.00", payout_currency="BHD"), 422, "amount_too_small", "amount")
    first = ask(door, seller, payout_currency="EUR")
    assert (first.status, first.json["payout_currency"]) == (202, None), "nothing is converted"
    assert ask(door, seller).body == first.body
    refused(ask(door, seller, payout_currency="USD"), 422, "contents_conflict", "payout_currency")


@pytest.mark.parametrize(
    ("changed", "field", "code"),
    [
        ({"payout_currency": "usd"}, "payout_currency", "unknown_currency"),
        ({"payout_currency": "XXX"}, "payout_currency", "unknown_currency"),
        ({"payout_currency": 840}, "payout_currency", "wrong_type"),
        ({"amount": "0.00"}, "amount", "not_positive"),
        ({"amount": "-1.00"}, "amount", "not_positive"),
        ({"amount": "1.5"}, "amount", "wrong_decimals"),
        ({"amount": "ALL"}, "amount", "invalid_amount"),
        ({"amount": 12}, "amount", "wrong_type"),
        ({"amount": "all", "currency": "XXX"}, "currency", "unknown_currency"),
        ({"currency": "eur"}, "currency", "unknown_currency"),
        ({"payout_id": "auto~1"}, "payout_id", "reserved_id"),
        ({"payout_id": ".."}, "payout_id", "invalid_id"),
        ({"payout_id": "p" * 65}, "payout_id", "invalid_id"),
        ({"description": "x" * 141}, "description", "invalid_text"),
        ({"description": "a\0b"}, "description", "invalid_text"),
        ({"description": "4111 1111 1111 1111"}, "description", "card_number"),
        ({"destination": IBAN}, "destination", "unknown_field"),
        ({"owner": "rival"}, "owner", "unknown_field"),
        ({"requested_by": "Anna"}, "requested_by", "unknown_field"),
    ],
)
def test_a_request_that_breaks_the_contract_is_told_the_field(
    changed: dict[str, Any], field: str, code: str, door: Door
) -> None:
    refused(ask(door, "po-nobody", **changed), 422, code, field)
    assert door.get(f"{ROOT}/po-nobody-1").status == 404, "nothing is stored"


# ── following ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_pay_out_is_read_back_with_its_history_and_its_destination_masked(door: Door, waiting: str) -> None:
    read = door.get(f"{ROOT}/{waiting}")
    payout_replies.PayoutWithHistory.model_validate_json(read.body)
    assert (read.json["amount"], read.json["code"]) == ("100.00", None)
    assert read.json["destination"].items() >= {"country": "DE", "masked": "DE89 … 3000"}.items()
    assert (read.json["approvals_needed"], read.json["approvals_given"]) == (2, 0), "the destination is new"
    assert [one["status"] for one in read.json["history"]][-3:] == ["screening", "reserving", "awaiting_approval"]
    assert b"Beispiel" not in read.body
    for path in (f"{ROOT}/{waiting}", f"{ROOT}/nobodys", f"{ROOT}/%00"):
        assert door.get(path, key=door.key_for("rival")).status == 404


def test_a_list_has_the_owners_pay_outs_page_by_page(door: Door, seller: str) -> None:
    for number in range(3):
        assert ask(door, seller, payout_id=f"{seller}-{number}").status == 202
        wait_for(lambda number=number: len(of_seller(door, seller)["payouts"]) == number + 1)
    first = of_seller(door, seller, "&limit=2")
    second = of_seller(door, seller, f"&limit=2&cursor={first['next_cursor']}")
    payout_replies.PayoutPage.model_validate(json.loads(json.dumps(first)), strict=False)
    assert [one["payout_id"] for page in (first, second) for one in page["payouts"]] == [
        f"{seller}-{number}" for number in (2, 1, 0)
    ]
    assert second["next_cursor"] is None
    assert of_seller(door, seller, "&status=paid&from=2020-01-01")["payouts"] == []


def of_seller(door: Door, seller: str, more: str = "") -> Any:
    return door.get(f"{ROOT}?seller_account={seller}{more}").json


def test_what_the_room_refuses_is_shown_as_refused(door: Door, seller: str) -> None:
    put(door, seller, destination=ABROAD)
    assert ask(door, seller).status == 202
    wait_for(lambda: status(door, f"{seller}-1") == "refused")
    assert door.get(f"{ROOT}/{seller}-1").json["code"] == "no_provider"


def test_an_upstream_asks_and_cancels_on_a_topic_of_its_own(door: Door) -> None:
    key, seller = door.key_for("partner"), f"po-{secrets.token_hex(4)}"
    put(door, seller, key, destination=IBAN)
    wait_for(lambda: refused_for_funds(door, seller, key))
    dollars = {"currency": "EUR", "payout_currency": "USD"}
    wanted = PayoutRequest(payout_id=f"{seller}-1", seller_account=seller, amount="all", **dollars)
    with UpstreamClient(door.settings.kafka, "partner", door.settings.topic_prefix) as client:
        client.send_payout(wanted)
        client.send_payout(wanted)
        client.flush()
        wait_for(lambda: door.get(f"{ROOT}/{seller}-1", key=key).status == 200)
        client.cancel_payout(f"{seller}-1")
    wait_for(lambda: door.get(f"{ROOT}/{seller}-1", key=key).json["status"] == "cancelled")
    assert door.get(f"{ROOT}/{seller}-1", key=key).json["payout_currency"] == "USD"
    assert door.get(f"{ROOT}/{seller}-1").status == 404, "another owner's"
    refused(ask(door, seller, key, payout_id=f"{seller}-1", amount="12.00"), 422, "insufficient_funds", "amount")


def test_who_loses_an_id_to_kafka_reads_why_and_nothing_of_the_winners(door: Door, seller: str) -> None:
    key, other = door.key_for("partner"), f"{seller}-p"
    put(door, other, key, destination=IBAN)
    wait_for(lambda: refused_for_funds(door, other, key))
    wanted = PayoutRequest(payout_id=f"{seller}-1", seller_account=other, amount="all", currency="EUR")
    with UpstreamClient(door.settings.kafka, "partner", door.settings.topic_prefix) as client:
        client.send_payout(wanted)
    wait_for(lambda: door.get(f"{ROOT}/{seller}-1", key=key).status == 200)
    assert ask(door, seller).status == 202
    wait_for(lambda: status(door, f"{seller}-1") == "refused")
    found = door.get(f"{ROOT}/{seller}-1").json
    assert (found["code"], found["history"]) == ("id_taken", [])


def refused_for_funds(door: Door, seller: str, key: str) -> bool:
    """Once payouts has heard of the seller nothing but its empty wallet is in the way."""
    reply = ask(door, seller, key)
    return bool(reply.json["code"] == "insufficient_funds")


# ── cancelling ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_pay_out_that_waits_is_cancelled_once(door: Door, waiting: str) -> None:
    refused(cancel(door, waiting, door.key_for("rival")), 404, "not_found")
    first = cancel(door, waiting)
    assert (first.status, first.replayed) == (202, False)
    payout_replies.Cancellation.model_validate_json(first.body)
    wait_for(lambda: status(door, waiting) == "cancelled")
    again = cancel(door, waiting)
    assert (again.status, again.replayed, again.body) == (202, True, first.body)
    seller = waiting.removesuffix("-1")
    wait_for(lambda: ask(door, seller, payout_id=f"{seller}-2", amount="100.00").status == 202)


def test_a_pay_out_that_was_rejected_is_not_cancelled_any_more(door: Door, anna: str, waiting: str) -> None:
    shown = listed(door, anna, waiting)
    assert decide(door, anna, waiting, sha256=shown["sha256"], decision="rejected").status == 202
    wait_for(lambda: status(door, waiting) == "rejected")
    refused(cancel(door, waiting), 409, "too_late")


# ── approving ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_two_persons_let_a_pay_out_go_and_neither_is_its_maker(door: Door, anna: str, waiting: str) -> None:
    hash_ = listed(door, anna, waiting)["sha256"]
    refused(decide(door, anna, waiting, sha256="0" * 64), 409, "approval_stale")
    refused(decide(door, door.key_for("SHOP", "payouts:approve"), waiting, sha256=hash_), 403, "same_person")
    first = decide(door, anna, waiting, sha256=hash_)
    assert (first.status, first.replayed, first.json["approver"]) == (202, False, "Anna")
    payout_replies.Decided.model_validate_json(first.body)
    wait_for(lambda: len(listed(door, anna, waiting)["approvals"]) == 1)
    assert decide(door, anna, waiting, sha256=hash_).replayed
    refused(decide(door, anna, waiting, sha256=hash_, reason="once more"), 409, "not_waiting")
    assert decide(door, door.key_for("bert", "payouts:approve"), waiting, sha256=hash_).status == 202
    wait_for(lambda: status(door, waiting) == "processing")
    late = decide(door, door.key_for("cleo", "payouts:approve"), waiting, sha256=hash_, decision="rejected")
    refused(late, 409, "not_waiting")
    said = listed(door, anna, waiting, "processing")["approvals"]
    assert [(one["approver"], one["why_not"]) for one in said] == [("Anna", None), ("bert", None)]


def test_a_decision_that_did_not_count_counts_when_it_is_made_again_later(
    door: Door, anna: str, seller: str, environment: dict[str, str]
) -> None:
    payout_id = f"{seller}-1"
    assert ask(door, seller, amount="all").status == 202
    wait_for(lambda: status(door, payout_id) == "screening")
    shown = listed(door, anna, payout_id, "screening")
    facts = {"payout_id": payout_id, "owner": "shop", "seller_account": seller, "amount": "100.00", "currency": "EUR"}
    facts["destination"] = shown["destination"]["fingerprint"]
    hash_ = sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).hexdigest()
    with closing(Commits(door.settings, claim_approvals)) as commits:
        for person in ("Anna", "bert"):  # as if the door had seen it reserved
            at = datetime.fromisoformat(shown["received_at"])
            early = ApprovalSubmission(payout_id, "approved", person, hash_, "invoice 88 seen", requested_at=at)
            commits.take_alone(early)
    wait_for(lambda: len(listed(door, anna, payout_id, "screening")["approvals"]) == 2)
    clear(door, payout_id)
    wait_for(lambda: status(door, payout_id) == "awaiting_approval")
    first = decide(door, anna, payout_id, sha256=hash_)
    assert (first.status, first.replayed) == (202, False)
    wait_for(lambda: listed(door, anna, payout_id)["approvals_given"] == 1)
    assert decide(door, anna, payout_id, sha256=hash_).replayed, "now it counts"
    done = tally(environment, "payouts", "approve", payout_id, "--actor", "bert", "--reason", "invoice 88 seen")
    assert (done.returncode, done.stdout) == (0, f"{payout_id} is approved by bert; it is processing\n")
    said = listed(door, anna, payout_id, "processing")["approvals"]
    assert [one["why_not"] for one in said] == ["not_waiting", "not_waiting", None, None]


def test_nothing_is_approved_before_its_amount_is_reserved(door: Door, anna: str, seller: str) -> None:
    assert ask(door, seller).status == 202
    wait_for(lambda: status(door, f"{seller}-1") == "screening")
    refused(decide(door, anna, f"{seller}-1", sha256="0" * 64), 409, "not_waiting")
    refused(decide(door, anna, "nobodys", sha256="0" * 64), 404, "not_found")


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"decision": "maybe"}, "decision"),
        ({"sha256": "0" * 63}, "sha256"),
        ({"sha256": "G" * 64}, "sha256"),
        ({"reason": " "}, "reason"),
        ({"reason": "a\0b"}, "reason"),
        ({"reason": "x" * 501}, "reason"),
        ({"approver": "eve"}, "approver"),
    ],
)
def test_a_decision_that_breaks_the_contract_is_told_the_field(
    changed: dict[str, Any], field: str, door: Door, anna: str
) -> None:
    reply = decide(door, anna, "po-any", **{"sha256": "0" * 64, **changed})
    assert (reply.status in {400, 422}, reply.json["field"]) == (True, field)


def test_who_approves_cannot_ask(door: Door, anna: str, seller: str) -> None:
    refused(ask(door, seller, anna), 403, "forbidden")
    refused(decide(door, door.key, "po-any", sha256="0" * 64), 403, "forbidden")
    with pytest.raises(KeyRefused, match="payouts:approve"):
        create_key(door.settings, "anna", ["payouts:approve", "payouts:write"])


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_commands_ask_show_approve_and_cancel_and_can_be_run_again(
    door: Door, seller: str, environment: dict[str, str]
) -> None:
    first, second = f"{seller}-1", f"{seller}-2"
    for _ in range(2):
        asked = tally(environment, "payouts", "request", seller, "--amount", "40.00", "--id", first)
        assert (asked.returncode, asked.stdout) == (0, f"{first}\n")
    wait_for(lambda: status(door, first) == "screening")
    clear(door, first)
    wait_for(lambda: status(door, first) == "awaiting_approval")
    listed = tally(environment, "payouts", "list", "--seller", seller)
    assert "DE89 … 3000" in listed.stdout
    for _ in range(2):
        done = tally(environment, "payouts", "approve", first, "--actor", "ann", "--reason", "seen")
        assert (done.returncode, done.stdout) == (0, f"{first} is approved by ann; it is awaiting_approval\n")
    maker = tally(environment, "payouts", "approve", first, "--actor", "Shop", "--reason", "mine")
    assert (maker.returncode, "same_person" in maker.stderr) == (1, True)
    shown = json.loads(tally(environment, "payouts", "show", first, "--json").stdout)
    assert [(one["approver"], one["why_not"]) for one in shown["approvals"]] == [("ann", None), ("Shop", "same_person")]
    assert tally(environment, "payouts", "reject", first, "--actor", "bo", "--reason", "no").returncode == 0
    wait_for(lambda: status(door, first) == "rejected")
    tally(environment, "payouts", "request", seller, "--id", second)
    wait_for(lambda: status(door, second) == "screening")
    for _ in range(2):
        done = tally(environment, "payouts", "cancel", second, "--actor", "ann")
        assert (done.returncode, done.stdout) == (0, f"{second} is cancelled\n")
    late = tally(environment, "payouts", "cancel", first)
    assert (late.returncode, late.stderr) == (1, f"tally: {first} is rejected\n")


def test_a_pay_out_in_dollars_tells_its_target_and_rate_once_it_is_released(
    door: Door, seller: str, environment: dict[str, str]
) -> None:
    id_ = f"{seller}-1"
    asked = tally(environment, "payouts", "request", seller, "--to", "USD", "--id", id_)
    assert asked.returncode == 0, asked.stderr
    wait_for(lambda: status(door, id_) == "screening")
    clear(door, id_)
    wait_for(lambda: status(door, id_) == "awaiting_approval")
    waiting = door.get(f"{ROOT}/{id_}").json
    assert (waiting["payout_currency"], waiting["target"], waiting["rate"]) == ("USD", None, None)
    assert "100.00 EUR → ? USD" in tally(environment, "payouts", "show", id_).stdout
    for actor in ("ann", "bert"):
        approved = tally(environment, "payouts", "approve", id_, "--actor", actor, "--reason", "seen")
        assert f"approves {id_}: 100.00 EUR, in USD, of {seller} to DE89" in approved.stderr
    wait_for(lambda: status(door, id_) == "processing")
    released = door.get(f"{ROOT}/{id_}").json
    payout_replies.PayoutWithHistory.model_validate_json(orjson.dumps(released))
    assert (released["amount"], released["target"], released["rate"]) == ("100.00", "107.70", "1.0825")
    shown = tally(environment, "payouts", "show", id_).stdout
    assert "100.00 EUR → 107.70 USD" in shown
    assert "release 1 to harbour, 107.70 USD at 1.0825: 99.50 EUR, and 0.50 EUR are kept" in shown
    statement = door.get(f"{ROOT}/{id_}/statement").json
    assert (statement["payout"], statement["target"], statement["payout_currency"]) == ("100.00", "107.70", "USD")
    assert (
        f",payout,,{id_},107.70 USD at 1.0825,-100.00,EUR,0.00"
        in tally(environment, "payouts", "statement", id_, "--csv").stdout
    )


# ── what is shown, and whose turn it is ──────────────────────────────────────────────────────────────────────────────


def shown(environment: dict[str, str], payout_id: str) -> tuple[set[tuple[str, str]], str]:
    """→ what `tally show` tells of it, by room, and whose turn it is: the last line, and in the JSON."""
    told = json.loads(tally(environment, "show", payout_id, "--json").stdout)
    lines = tally(environment, "show", payout_id).stdout.splitlines()
    assert (f"pay-out {payout_id}" in lines[0], lines[-1]) == (True, told["turn"])
    assert f"{told['turn']}" in tally(environment, "payouts", "show", payout_id).stdout
    return {(moment["where"], moment["what"]) for moment in told["moments"]}, told["turn"]


def execution(door: Door, payout_id: str, **more: Any) -> dict[str, Any]:
    """The terms of an event of the executor about its first release."""
    amount = Money.parse(door.get(f"{ROOT}/{payout_id}").json["amount"], "EUR")
    terms = {"payout_id": payout_id, "owner": "shop", "seller_account": payout_id.removesuffix("-1"), "amount": amount}
    return terms | {"release_no": 1, "provider": "harbour", "bank_account": "main", "call_id": "0" * 32} | more


def test_a_pay_out_that_waits_names_who_may_let_it_go_until_it_is_paid(
    door: Door, waiting: str, environment: dict[str, str]
) -> None:
    moments, turn = shown(environment, waiting)
    assert {("doors", "request accepted"), ("payouts", "awaiting_approval"), ("wallet", "reserved")} <= moments
    assert turn == "waits for 2 more approvals, not by shop"
    tally(environment, "payouts", "approve", waiting, "--actor", "Ann", "--reason", "seen")
    assert shown(environment, waiting)[1] == "waits for 1 more approval, not by shop or ann"
    tally(environment, "payouts", "approve", waiting, "--actor", "bert", "--reason", "seen")
    moments, turn = shown(environment, waiting)
    assert ({("payouts", "approved"), ("payouts", "released (1)")} <= moments, turn) == (
        True,
        "waits for the provider's answer",
    )
    told = execution(door, waiting, provider_reference="tr-1")
    execute(door.settings, PayoutSubmitted(**told), PayoutPaid(**told), topic=PAYOUT_EXECUTIONS)
    wait_for(lambda: status(door, waiting) == "paid")
    moments, turn = shown(environment, waiting)
    assert ({("payouts", "paid"), ("wallet", "settled")} <= moments, turn) == (True, "paid, nothing to do")


def test_a_pay_out_of_which_nobody_knows_the_outcome_waits_for_two_persons(
    door: Door, waiting: str, environment: dict[str, str]
) -> None:
    for name in ("ann", "bert"):
        tally(environment, "payouts", "approve", waiting, "--actor", name, "--reason", "seen")
    for said, code, turn in (
        (PayoutUnknown, "unknown", "the provider is asked until it says whether it has it: nothing to do"),
        (PayoutUnresolved, "unresolved", "waits for two persons who say what the provider did with it (tally resolve)"),
    ):
        execute(door.settings, said(**execution(door, waiting, reason="timeout")), topic=PAYOUT_EXECUTIONS)
        wait_for(lambda code=code: door.get(f"{ROOT}/{waiting}").json["code"] == code)
        assert shown(environment, waiting)[1].startswith(turn)


def test_a_pay_out_that_is_refused_says_why_and_that_nothing_is_to_do(
    door: Door, seller: str, environment: dict[str, str]
) -> None:
    """By the wallet, which has kept all for another one; or by payouts, which stores none."""
    for number in (1, 2):
        assert ask(door, seller, payout_id=f"{seller}-{number}", amount="100.00").status == 202
    for number, becomes in ((1, "awaiting_approval"), (2, "refused")):
        wait_for(lambda number=number: status(door, f"{seller}-{number}") == "screening")
        clear(door, f"{seller}-{number}")
        wait_for(lambda number=number, becomes=becomes: status(door, f"{seller}-{number}") == becomes)
    moments, turn = shown(environment, f"{seller}-2")
    assert ({("wallet", "not reserved"), ("payouts", "refused")} <= moments, turn) == (
        True,
        "refused: insufficient_funds, nothing to do",
    )
    put(door, seller, destination=ABROAD)
    cancel(door, f"{seller}-1")
    wait_for(lambda: status(door, f"{seller}-1") == "cancelled")
    assert shown(environment, f"{seller}-1")[1] == "cancelled, nothing to do"
    wait_for(lambda: ask(door, seller, payout_id=f"{seller}-3").status == 202)
    wait_for(lambda: status(door, f"{seller}-3") == "refused")
    told = json.loads(tally(environment, "show", f"{seller}-3", "--json").stdout)
    assert ("refused: no_provider" in [moment["what"] for moment in told["moments"]], told["turn"]) == (
        True,
        "refused: no_provider, nothing to do",
    )
