"""Reviews over HTTP and by command: what waits, who may decide it, and once."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from consumers.risk import importing
from consumers.risk.consumer import build
from consumers.risk.readers import read_list
from consumers.risk.settings import RiskLimits
from operations.stack.servers import Servers
from producers import ops_replies
from producers.keys import SCOPES, KeyRefused, create_key
from schemas.payouts import PayoutScreeningRequested, SealedDestination
from tests.commands import tally
from tests.contract.http.door import Door, Reply, asked, order, wait_for
from tests.contract.http.rooms import publish, running_rooms
from tests.sanctions import EU, SDN, ofac, one, screen_known
from topics.catalog import PAYOUT_SCREENINGS
from topics.runtime.dead_letters.acts import AuditNote

REVIEWS = "/v1/ops/reviews"


@pytest.fixture(scope="module", autouse=True)
def rooms(door: Door) -> Iterator[None]:
    """Whatever is above 1,000 yen waits for a person; no other test here pays in yen."""
    limits = RiskLimits(checkout_amount_review={"JPY": Decimal("1000")})
    with running_rooms(door.settings.model_copy(update={"risk": limits})):
        yield


@pytest.fixture(scope="module")
def anna(door: Door) -> str:
    return door.key_for("anna", "risk:review")


@pytest.fixture
def cart(door: Door) -> str:
    """A payment that waits for a person."""
    cart = f"rv-{secrets.token_hex(4)}"
    one = order(f"{cart}-1", amount="1001", currency="JPY", platform_fee="1")
    assert door.post(asked(cart, one, buyer_info={"buyer_account": cart})).status == 202
    wait_for(lambda: status(door, cart) == "in_review")
    return cart


def status(door: Door, cart: str) -> str:
    return str(door.get(f"/v1/payments/{cart}").json["status"])


def review(door: Door, key: str, cart: str, **body: Any) -> Reply:
    usual = {"screen_no": 1, "decision": "clear", "reason": "invoice seen"}
    return door.send("POST", f"{REVIEWS}/{cart}", json.dumps({**usual, **body}).encode(), key=key)


def held(door: Door, key: str, cart: str, which: str = "open") -> list[dict[str, Any]]:
    page = door.get(f"{REVIEWS}?status={which}&limit=500", key=key).json
    ops_replies.ReviewPage.model_validate_json(json.dumps(page))
    return [one for one in page["reviews"] if one["subject"] == cart]


def test_a_held_payment_is_listed_read_and_goes_on_once_a_person_clears_it(door: Door, anna: str, cart: str) -> None:
    [order_] = door.get(f"/v1/payments/{cart}").json["payment_orders"]
    assert (order_["payment_order_status"], order_["detail"]) == ("NOT_STARTED", "held")
    [waits] = held(door, anna, cart)
    assert (waits["rule"], waits["screen_no"], waits["decision"]) == ("amount_review", 1, None)
    reply = review(door, anna, cart)
    assert (reply.status, reply.replayed, reply.json["actor"]) == (202, False, "anna")
    wait_for(lambda: status(door, cart) == "executing")
    assert held(door, anna, cart) == []
    [decided] = held(door, anna, cart, "decided")
    assert (decided["decision"], decided["actor"], decided["reason"]) == ("clear", "anna", "invoice seen")


def test_the_same_review_again_is_a_replay_and_another_one_comes_too_late(door: Door, anna: str, cart: str) -> None:
    assert review(door, anna, cart, decision="refuse").status == 202
    wait_for(lambda: status(door, cart) == "refused")
    again = review(door, anna, cart, decision="refuse")
    assert (again.status, again.replayed) == (202, True)
    late = review(door, door.key_for("bert", "risk:review"), cart)
    assert (late.status, late.json["code"], late.json["detail"]) == (409, "not_waiting", "decided by anna: refuse")
    assert status(door, cart) == "refused"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"screen_no": 0}, "screen_no"),
        ({"screen_no": "1"}, "screen_no"),
        ({"screen_no": 2**31}, "screen_no"),
        ({"screen_no": None}, "screen_no"),
        ({"decision": "maybe"}, "decision"),
        ({"decision": True}, "decision"),
        ({"reason": ""}, "reason"),
        ({"reason": "  "}, "reason"),
        ({"reason": "a\u0000b"}, "reason"),
        ({"reason": "x" * 501}, "reason"),
        ({"about": "wallet"}, "about"),
        ({"actor": "eve"}, "actor"),
    ],
)
def test_a_broken_review_names_its_field_and_decides_nothing(
    door: Door, anna: str, cart: str, body: dict[str, Any], field: str
) -> None:
    reply = review(door, anna, cart, **body)
    assert (reply.status, reply.json["field"]) in ((400, field), (422, field))
    assert held(door, anna, cart)[0]["decision"] is None


@pytest.mark.parametrize("path", ["nobody", "%00", "rv-%E2%82%AC", "x" * 300])
def test_what_was_never_held_is_not_found(door: Door, anna: str, path: str) -> None:
    assert review(door, anna, path).status == 404


def test_another_screening_of_it_is_not_found(door: Door, anna: str, cart: str) -> None:
    assert review(door, anna, cart, screen_no=2).status == 404
    assert review(door, anna, cart, about="buyer").status == 404


def test_only_a_key_for_reviews_sees_or_decides(door: Door, cart: str) -> None:
    assert (door.get(REVIEWS).status, review(door, door.key, cart).status) == (403, 403)


@pytest.mark.parametrize("scope", [scope for scope in SCOPES if scope.endswith(":write")])
def test_no_key_both_asks_for_payments_and_decides_them(door: Door, scope: str) -> None:
    with pytest.raises(KeyRefused, match=scope):
        create_key(door.settings, "eve", ["risk:review", scope])


def test_the_commands_list_show_and_decide_once(door: Door, environment: dict[str, str], cart: str) -> None:
    assert cart in tally(environment, "risk", "list").stdout
    cleared = tally(environment, "risk", "clear", cart, "--reason", "known", "--actor", "carla")
    assert f"payment {cart}, screening 1 is cleared by carla" in cleared.stdout
    assert "clears payment" in cleared.stderr
    wait_for(lambda: status(door, cart) == "executing")
    again = tally(environment, "risk", "clear", cart, "--reason", "known", "--actor", "carla")
    assert (again.returncode, again.stderr) == (0, "")
    other = tally(environment, "risk", "refuse", cart, "--reason", "no", "--actor", "dora")
    assert (other.returncode, "was cleared by carla before" in other.stderr) == (1, True)
    shown = tally(environment, "risk", "show", cart).stdout
    assert "rule amount_review" in shown
    assert "cleared by carla" in shown
    assert "reviewed: clear" in tally(environment, "show", cart).stdout


def test_a_key_for_both_is_refused_by_the_command_too(environment: dict[str, str]) -> None:
    refused = tally(environment, "keys", "create", "eve", "--scope", "risk:review", "--scope", "payments:write")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "payments:write" in refused.stderr


def test_what_was_never_held_is_said_so_by_the_commands(environment: dict[str, str]) -> None:
    for command in (("show",), ("clear", "--reason", "x"), ("refuse", "--reason", "x")):
        said = tally(environment, "risk", command[0], "nothing-here", *command[1:])
        assert (said.returncode, "was ever held" in said.stderr) == (1, True)


def test_a_list_is_imported_by_command_once_and_a_broken_one_loads_nothing(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """The names in it are no other test's."""
    files = [str(file) for file in ofac(tmp_path)]
    planned = tally(environment, "risk", "lists", "import", *files, "--dry-run")
    assert ("3 added: 1001, 1002, 1004" in planned.stdout, "nothing was changed" in planned.stdout) == (True, True)
    loaded = tally(environment, "risk", "lists", "import", *files)
    assert (loaded.returncode, "ofac-sdn is at" in loaded.stdout) == (0, True)
    again = tally(environment, "risk", "lists", "import", *files)
    assert (again.returncode, "nothing to do" in again.stdout) == (0, True)
    ofac(tmp_path, sdn=SDN[:300])
    broken = tally(environment, "risk", "lists", "import", *files)
    assert (broken.returncode, broken.stdout, "nothing is loaded: sdn.csv, line" in broken.stderr) == (1, "", True)
    ofac(tmp_path, sdn="\n".join(line for line in SDN.split("\n") if not line.startswith("1004")), add="")
    shrunk = tally(environment, "risk", "lists", "import", *files)
    assert (shrunk.returncode, "more than a tenth" in shrunk.stderr) == (1, True)
    shown = tally(environment, "risk", "lists", "show").stdout
    assert (shown.count("ofac-sdn"), "current" in shown) == (1, True)


def test_a_held_pay_out_is_listed_shown_and_decided_as_a_pay_out(
    door: Door, anna: str, environment: dict[str, str]
) -> None:
    """Its destination cannot be opened, so that nobody knows who would be paid."""
    payout = f"po-{secrets.token_hex(4)}"
    unreadable = SealedDestination("iban", "DE", "DE89 … 3000", "9f86d081884c7d65", "AAAA")
    asked_ = PayoutScreeningRequested(
        payout_id=payout, owner="shop", seller_account="s-1", screen_no=1, destination=unreadable, currency="EUR"
    )
    publish(door.settings, PAYOUT_SCREENINGS, asked_)
    wait_for(lambda: held(door, anna, payout))
    [waits] = held(door, anna, payout)
    assert (waits["about"], waits["rule"], waits["seller_account"]) == ("payout", "no_name", "s-1")
    assert "seller s-1" in tally(environment, "risk", "show", payout, "--payout").stdout
    assert review(door, anna, payout).status == 404  # it is no payment's
    assert review(door, anna, payout, about="payout", decision="refuse").status == 202
    wait_for(lambda: held(door, anna, payout, "decided"))
    late = tally(environment, "risk", "clear", payout, "--payout", "--reason", "known", "--actor", "carla")
    assert (late.returncode, "was refused by anna before" in late.stderr) == (1, True)
    both = tally(environment, "risk", "show", payout, "--payout", "--buyer")
    assert (both.returncode, "one of --buyer, --payout and --seller" in both.stderr) == (1, True)


def test_screenings_of_one_moment_and_subject_are_all_listed_page_by_page(
    door: Door, anna: str, servers: Servers
) -> None:
    subject = f"rv-{secrets.token_hex(4)}"
    held_ = [("payout", 2), ("payout", 1), ("payment", 1), ("buyer", 1)]
    admin = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=door.settings.database)
    with psycopg.connect(admin, autocommit=True, options="-c search_path=risk") as conn:
        for about, number in held_:  # newer than all others
            conn.execute(
                "INSERT INTO holds (about, subject, screen_no, rule, list_version, score, buyer_account, held_at)"
                " VALUES (%s, %s, %s, 'near_hit', '1', 90, 'b', '9000-01-01Z')",
                [about, subject, number],
            )
        found, cursor = [], ""
        for _ in held_:
            page = door.get(f"{REVIEWS}?limit=1{cursor}", key=anna).json
            found += [(one["about"], one["screen_no"]) for one in page["reviews"] if one["subject"] == subject]
            cursor = f"&cursor={page['next_cursor']}"
        conn.execute("SET session_replication_role = replica")
        conn.execute("DELETE FROM holds WHERE subject = %s", [subject])
    assert found == held_


def test_a_known_buyer_whom_a_new_version_of_a_list_hits_is_shown_and_decided_as_a_buyer(
    door: Door, anna: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """Background screening runs here, in the test: the rooms' upkeep comes once a minute."""
    buyer, name = f"bought-{secrets.token_hex(4)}", "Kwabena Oduro Sarpongwa"
    importing.load(door.settings, read_list(one(tmp_path, EU)), AuditNote("anna", "the list of today"))
    info = {"buyer_account": buyer, "name": name}
    assert door.post(asked(buyer, order(f"{buyer}-1"), buyer_info=info)).status == 202
    wait_for(lambda: status(door, buyer) == "executing")
    listed = EU.replace("Mohammed Nasir Al-Khatiri", name)
    importing.load(door.settings, read_list(one(tmp_path, listed)), AuditNote("anna", "the list of today"))
    screen_known(door.settings, build(door.settings.model_copy(update={"risk": RiskLimits(), "risk_lists": ()})))
    [waits] = held(door, anna, buyer)
    assert (waits["about"], waits["rule"], waits["hits"][0]["listed_name"]) == ("buyer", "near_hit", name)
    assert buyer in tally(environment, "risk", "list").stdout
    assert f"near {name}, entry 13 of eu-consolidated" in tally(environment, "risk", "show", buyer, "--buyer").stdout
    assert review(door, anna, buyer).status == 404  # it is no payment's
    cleared = tally(environment, "risk", "clear", buyer, "--buyer", "--reason", "another one", "--actor", "carla")
    assert f"buyer {buyer}, screening 1 is cleared by carla" in cleared.stdout
    late = review(door, anna, buyer, about="buyer", decision="refuse")
    assert (late.status, late.json["detail"]) == (409, "decided by carla: clear")
    again = f"{buyer}-again"
    assert door.post(asked(again, order(f"{again}-1"), buyer_info=info)).status == 202
    wait_for(lambda: status(door, again) == "executing")
