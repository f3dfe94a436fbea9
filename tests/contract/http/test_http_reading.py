"""What is read back: the rooms' own views, from acceptance to money in wallet and ledger."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg
import pytest

from consumers.wallet.consumer import build as build_wallet
from operations.stack.servers import Servers
from producers import replies
from producers.client import UpstreamClient
from producers.reading import Reader, Row
from schemas.money import Money
from schemas.requests import PaymentRequest
from schemas.times import instant
from tests.commands import tally
from tests.contract.http.door import Door, asked, order, wait_for
from tests.contract.http.rooms import captured, declined, execute, running_rooms
from tests.contract.http.test_http_sellers import put
from tests.payouts import placed
from tests.store.hearing import Hearing


@pytest.fixture(scope="module")
def rooms(door: Door) -> Iterator[None]:
    with running_rooms(door.settings):
        yield


@pytest.fixture
def seller() -> str:
    return f"s-{secrets.token_hex(4)}"


def status(door: Door, checkout_id: str, key: str | None = None) -> str:
    found = door.get(f"/v1/payments/{checkout_id}", key=key)
    return str(found.json["status"]) if found.status == 200 else "none"


def paid(
    door: Door, checkout_id: str, *orders: dict[str, Any], refused: tuple[str, ...] = (), **held: Any
) -> dict[str, Any]:
    """A payment whose orders are captured, but for those that are refused; as it reads once it is done."""
    assert door.post(asked(checkout_id, *orders)).status == 202
    wait_for(lambda: status(door, checkout_id) == "executing")
    said = [
        declined(one, checkout_id)
        if one["payment_order_id"] in refused
        else captured(one, checkout_id).model_copy(update=held)
        for one in orders
    ]
    execute(door.settings, *said)
    wait_for(lambda: door.get(f"/v1/payments/{checkout_id}").json["is_payment_done"])
    found: dict[str, Any] = door.get(f"/v1/payments/{checkout_id}").json
    return found


@pytest.mark.usefixtures("rooms")
def test_a_payment_is_followed_to_wallet_and_ledger(door: Door, seller: str) -> None:
    checkout_id = f"full-{seller}"
    orders = [
        order(f"{checkout_id}-1", seller_account=seller),
        order(f"{checkout_id}-2", seller_account=seller, currency="JPY", amount="500", platform_fee="20"),
        order(f"{checkout_id}-3", seller_account=seller),
    ]
    payment = paid(door, checkout_id, *orders, refused=(f"{checkout_id}-3",))
    replies.Payment.model_validate(payment)
    assert payment["status"] == "partially_succeeded"
    assert [
        (o["payment_order_status"], o["detail"], o["wallet_updated"], o["ledger_updated"])
        for o in payment["payment_orders"]
    ] == [("SUCCESS", "", True, True), ("SUCCESS", "", True, True), ("FAILED", "declined", False, False)]

    assert [o["decline_code"] for o in payment["payment_orders"]] == [None, None, "do_not_honour"]
    assert door.get(f"/v1/payment-orders/{checkout_id}-3").json["decline_code"] == "do_not_honour"
    of_order = door.get(f"/v1/payment-orders/{checkout_id}-2").json
    replies.OrderOfPayment.model_validate(of_order)
    assert (of_order["amount"], of_order["psp"], of_order["scheme"]) == ("500", "northpay", "visa")

    wallet = door.get(f"/v1/wallets/{seller}").json
    replies.Wallet.model_validate(wallet)
    assert [(b["currency"], b["available"], b["pending"], b["reserved"]) for b in wallet["balances"]] == [
        ("EUR", "11.34", "0.00", "0.00"),
        ("JPY", "480", "0", "0"),
    ]

    account = door.get(f"/v1/ledger/accounts/seller:{seller}:payable").json
    replies.Account.model_validate(account)
    assert [(b["currency"], b["credits"], b["balance"]) for b in account["balances"]] == [
        ("EUR", "11.34", "-11.34"),
        ("JPY", "480", "-480"),
    ]
    page = door.get(f"/v1/ledger/accounts/seller:{seller}:payable/entries").json
    replies.EntryPage.model_validate(page)
    assert {(e["payment_order_id"], e["direction"], e["amount"]) for e in page["entries"]} == {
        (f"{checkout_id}-1", "credit", "11.34"),
        (f"{checkout_id}-2", "credit", "480"),
    }

    balance = door.get("/v1/ledger/trial-balance").json
    replies.TrialBalance.model_validate(balance)
    assert balance["balanced"]
    assert {"EUR", "JPY"} <= {line["currency"] for line in balance["currencies"]}

    buyer = door.get("/v1/buyers/b-1").json
    replies.Buyer.model_validate(buyer)
    assert {total["currency"] for total in buyer["totals"]} >= {"EUR", "JPY"}


@pytest.mark.usefixtures("rooms")
def test_entries_are_read_page_by_page(door: Door, seller: str) -> None:
    checkout_id = f"pages-{seller}"
    paid(door, checkout_id, *(order(f"{checkout_id}-{i}", seller_account=seller) for i in range(5)))
    path = f"/v1/ledger/accounts/seller:{seller}:payable/entries?limit=2"
    seen: list[str] = []
    page = door.get(path).json
    while True:
        seen += [entry["payment_order_id"] for entry in page["entries"]]
        if page["next_cursor"] is None:
            break
        page = door.get(f"{path}&cursor={page['next_cursor']}").json
    assert len(seen) == 5
    assert set(seen) == {f"{checkout_id}-{i}" for i in range(5)}
    assert door.get(path.replace("limit=2", "limit=5")).json["next_cursor"] is None, "all of them: there is no more"


@pytest.mark.usefixtures("rooms")
def test_revenue_is_summed_by_what_is_asked(door: Door, seller: str) -> None:
    checkout_id = f"revenue-{seller}"
    paid(door, checkout_id, *(order(f"{checkout_id}-{i}", seller_account=seller) for i in range(3)))
    today = datetime.now(UTC).date().isoformat()
    report = door.get(f"/v1/reports/revenue?seller_account={seller}&from={today}&to={today}").json
    replies.Revenue.model_validate(report)
    (line,) = report["lines"]
    assert line == {
        "day": today,
        "currency": "EUR",
        "seller_account": seller,
        "psp": "northpay",
        "orders": 3,
        "gross": "37.02",
        "fee": "3.00",
        "net": "34.02",
        "refunded": "0.00",
        "charged_back": "0.00",
        "fee_returned": "0.00",
    }
    (by_psp,) = door.get(f"/v1/reports/revenue?seller_account={seller}&by=psp").json["lines"]
    assert (by_psp["day"], by_psp["seller_account"], by_psp["gross"]) == (None, None, "37.02")
    assert door.get(f"/v1/reports/revenue?seller_account={seller}&to=2020-01-01").json["lines"] == []

    other = door.key_for("other-shop", "reports:read")
    assert door.get(f"/v1/reports/revenue?seller_account={seller}", key=other).json["lines"] == []
    finance = door.key_for("finance", "reports:read", "ops:read")
    assert door.get(f"/v1/reports/revenue?seller_account={seller}", key=finance).json["lines"]


@pytest.mark.parametrize("no_time", ["2030", "20300101", "1893456000", "-1", "2030-01-31T12:00:00"])
@pytest.mark.parametrize(
    "path", ["payments", "reports/revenue", "ops/letters", "ops/letters/groups", "ops/letters/export"]
)
def test_a_route_that_reads_by_time_takes_no_number_for_one(door: Door, path: str, no_time: str) -> None:
    for end in ("from", "to"):
        refused = door.get(f"/v1/{path}?{end}={no_time}")
        assert (refused.status, refused.json["code"], refused.json["field"]) == (400, "invalid_parameter", end)
        assert door.get(f"/v1/{path}?{end}=2030-01-31").status == 200
        assert door.get(f"/v1/{path}?{end}=2030-01-31t00:00:00.000000000z").status == 200


@pytest.mark.usefixtures("rooms")
def test_payments_are_listed_newest_first_and_by_filter(door: Door, seller: str) -> None:
    owner = f"lister-{seller}"
    key = door.key_for(owner)
    ids = [f"list-{seller}-{i}" for i in range(7)]
    for checkout_id in ids:
        door.post(asked(checkout_id, order(f"{checkout_id}-o", seller_account=seller)), key=key)
        wait_for(lambda checkout_id=checkout_id: status(door, checkout_id, key) == "executing")

    def listed(query: str) -> list[str]:
        page = door.get(f"/v1/payments?{query}", key=key).json
        replies.PaymentPage.model_validate(page)
        return [payment["checkout_id"] for payment in page["payments"]]

    assert listed("") == ids[::-1]
    assert listed("status=executing&limit=2") == ids[:4:-1]
    assert listed(f"seller_account={seller}&is_payment_done=false") == ids[::-1]
    assert listed(f"seller_account={seller}&status=executing&limit=2") == ids[:4:-1]
    assert listed("is_payment_done=true") == listed(f"seller_account={seller}&status=failed") == []
    assert listed("status=failed") == listed("seller_account=nobody") == listed("from=2100-01-01T00:00:00Z") == []
    assert listed("to=2100-01-01T00:00:00Z&buyer_account=b-1") == ids[::-1]

    assert door.get("/v1/payments?limit=7", key=key).json["next_cursor"] is None
    seen: list[str] = []
    page = door.get("/v1/payments?limit=3", key=key).json
    while page["next_cursor"]:
        seen += [payment["checkout_id"] for payment in page["payments"]]
        page = door.get(f"/v1/payments?limit=3&cursor={page['next_cursor']}", key=key).json
    seen += [payment["checkout_id"] for payment in page["payments"]]
    assert seen == ids[::-1]
    assert not {payment["checkout_id"] for payment in door.get("/v1/payments?limit=500").json["payments"]} & set(ids)


@pytest.mark.usefixtures("rooms")
def test_what_is_accepted_reads_the_same_before_and_after_the_room_has_it(door: Door, seller: str) -> None:
    checkout_id = f"same-{seller}"
    request = asked(checkout_id, description="a lamp", metadata={"basket": "17"}, deadline="2100-01-31T12:00:00Z")
    before = door.post(request).json
    wait_for(lambda: status(door, checkout_id) == "executing")
    after = door.get(f"/v1/payments/{checkout_id}").json
    assert after.keys() == before.keys()
    fields = ("checkout_id", "buyer_account", "description", "metadata", "deadline", "links", "is_payment_done")
    for name in (*fields, "received_at"):
        assert after[name] == before[name]
    (listed,) = [p for p in door.get("/v1/payments").json["payments"] if p["checkout_id"] == checkout_id]
    assert listed["received_at"] == door.post(request).json["received_at"] == before["received_at"]
    fixed = ("payment_order_id", "seller_account", "amount", "currency", "platform_fee")
    assert [[o[name] for name in fixed] for o in after["payment_orders"]] == [
        [o[name] for name in fixed] for o in before["payment_orders"]
    ]


@pytest.mark.usefixtures("rooms")
def test_an_upstream_on_kafka_owns_what_it_asked_for(door: Door, seller: str) -> None:
    checkout_id = f"kafka-{seller}"
    request = PaymentRequest.model_validate_json(
        PaymentRequest.model_validate(asked_strictly(checkout_id)).model_dump_json()
    )
    with UpstreamClient(door.settings.kafka, "partner", door.settings.topic_prefix) as client:
        client.send(request)
        client.send(request)
    partner = door.key_for("partner")
    wait_for(lambda: status(door, checkout_id, partner) == "executing")
    assert door.get(f"/v1/payments/{checkout_id}").status == 404


@pytest.mark.usefixtures("rooms")
def test_who_loses_an_id_to_kafka_reads_why(door: Door, seller: str) -> None:
    """The door claims among its own; payments has the last word."""
    checkout_id = f"lost-{seller}"
    with UpstreamClient(door.settings.kafka, "partner", door.settings.topic_prefix) as client:
        client.send(PaymentRequest.model_validate(asked_strictly(checkout_id)))
    partner = door.key_for("partner")
    wait_for(lambda: status(door, checkout_id, partner) == "executing")
    accepted = door.post(asked(checkout_id))
    assert accepted.status == 202
    wait_for(lambda: status(door, checkout_id) == "refused")
    found = door.get(f"/v1/payments/{checkout_id}").json
    replies.Payment.model_validate(found)
    assert found["received_at"] == accepted.json["received_at"]
    assert found["refused"]["code"] == "id_taken"
    own_order, _ = asked(checkout_id)["payment_orders"]
    order = door.get(f"/v1/payment-orders/{own_order['payment_order_id']}").json
    assert (order["payment_order_status"], order["detail"]) == ("FAILED", "refused")


def asked_strictly(checkout_id: str) -> dict[str, Any]:
    """As Python values: a tuple of orders."""
    request = asked(checkout_id)
    return request | {"payment_orders": tuple(request["payment_orders"])}


@pytest.mark.usefixtures("rooms")
def test_a_column_that_a_view_gets_costs_nobody_an_answer(door: Door, seller: str, servers: Servers) -> None:
    """An upgrade changes views under warm connections, each of which has its statements prepared."""
    checkout_id = f"view-{seller}"
    door.post(asked(checkout_id, order(f"{checkout_id}-1", seller_account=seller)))
    wait_for(lambda: status(door, checkout_id) == "executing")
    admin = psycopg.conninfo.make_conninfo(servers.postgres_admin, dbname=door.settings.database)
    reader = Reader(door.settings, "payments")

    async def read_across_a_change() -> list[list[Row]]:
        statement: LiteralString = "SELECT * FROM grown_view WHERE checkout_id = %s"
        before = [await reader.rows(statement, [checkout_id]) for _ in range(8)]  # the sixth is prepared
        await asyncio.to_thread(
            change, "CREATE OR REPLACE VIEW grown_view AS SELECT checkout_id, 1 AS more FROM payments"
        )
        after = [await reader.rows(statement, [checkout_id]) for _ in range(8)]
        await reader.close()
        return before + after

    def change(statement: LiteralString) -> None:
        with psycopg.connect(admin, options="-c search_path=payments") as conn:
            conn.execute(statement)

    change("CREATE VIEW grown_view AS SELECT checkout_id FROM payments; GRANT SELECT ON grown_view TO PUBLIC")
    try:
        found = asyncio.run(read_across_a_change())
    finally:
        change("DROP VIEW grown_view")
    old, new = [{"checkout_id": checkout_id}], [{"checkout_id": checkout_id, "more": 1}]
    assert found == [old] * 8 + [new] * 8


@pytest.mark.usefixtures("rooms")
def test_a_wallet_shows_what_is_pending_and_when_it_becomes_available(
    door: Door, environment: dict[str, str], seller: str
) -> None:
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) + timedelta(days=2)
    for number, after in enumerate((timedelta(0), timedelta(seconds=1), timedelta(minutes=1))):
        checkout_id = f"held-{seller}-{number}"
        held = {"hold_days": 2, "available_on": noon + after}
        paid(door, checkout_id, order(f"{checkout_id}-1", seller_account=seller), **held)
    (balance,) = door.get(f"/v1/wallets/{seller}").json["balances"]
    replies.Wallet.model_validate({"seller_account": seller, "balances": [balance]})
    assert (balance["available"], balance["pending"]) == ("0.00", "34.02")
    dates = [(instant(each["at"]), each["amount"]) for each in balance["becomes_available"]]
    assert dates == [(noon, "11.34"), (noon + timedelta(hours=1), "22.68")]
    told = json.loads(tally(environment, "wallet", seller, "--pending", "--json").stdout)
    assert [(each["share"], each["captures"], each["amount"]) for each in told["pending"]] == [
        ("net", 1, "11.34"),
        ("net", 2, "22.68"),
    ]
    assert "hold days" in tally(environment, "wallet", seller, "--pending").stdout
    assert balance["reserved_for"] == []
    negative = json.loads(tally(environment, "wallet", "--negative", "--json").stdout)["wallets"]
    assert seller not in {each["seller_account"] for each in negative}
    assert tally(environment, "wallet").returncode == 2


def test_who_has_no_wallet_or_account_is_not_found(door: Door) -> None:
    for path in ("/v1/wallets/nobody", "/v1/buyers/nobody", "/v1/ledger/accounts/nobody", "/v1/wallets/%FF"):
        assert door.get(path).status == 404
    assert door.get("/v1/ledger/accounts/nobody/entries").status == 404


def test_the_documentation_describes_the_contract(door: Door) -> None:
    described = door.get("/openapi.json", key="").json
    posted = described["paths"]["/v1/payments"]["post"]
    assert posted["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/PaymentRequest")
    assert posted["responses"]["202"]["content"]["application/json"]["schema"]["$ref"].endswith("/Payment")
    for path in (
        "/v1/payments/{checkout_id}",
        "/v1/payment-orders/{payment_order_id}",
        "/v1/wallets/{seller_account}",
        "/v1/buyers/{buyer_account}",
        "/v1/ledger/accounts/{account}",
        "/v1/ledger/accounts/{account}/entries",
        "/v1/ledger/trial-balance",
        "/v1/reports/revenue",
    ):
        answer = described["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert answer["$ref"].rpartition("/")[2] in described["components"]["schemas"]
    assert described["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
    assert door.get("/docs", key="").status == 200


@pytest.mark.usefixtures("rooms")
def test_a_wallet_shows_for_which_pay_outs_money_is_reserved(door: Door, seller: str) -> None:
    checkout_id = f"funds-{seller}"
    paid(door, checkout_id, order(f"{checkout_id}-1", seller_account=seller))
    with closing(Hearing(door.settings, build_wallet(door.settings), seller)) as wallet:
        for number in (1, 2):
            wallet.hears(placed(Money(500, "EUR"), payout_id=f"{seller}-{number}", seller_account=seller))
    owner, finance = door.key_for("shop", "wallets:read"), door.key_for("finance", "wallets:read", "ledger:read")
    for key in (owner, finance):
        (balance,) = door.get(f"/v1/wallets/{seller}", key=key).json["balances"]
        replies.Wallet.model_validate({"seller_account": seller, "balances": [balance]})
        assert (balance["available"], balance["reserved"]) == ("1.34", "10.00")
        assert [(each["payout_id"], each["amount"]) for each in balance["reserved_for"]] == [
            (f"{seller}-1", "5.00"),
            (f"{seller}-2", "5.00"),
        ]
    (balance,) = door.get(f"/v1/wallets/{seller}", key=door.key_for("rival")).json["balances"]
    assert (balance["reserved"], balance["reserved_for"]) == ("10.00", []), "of another owner's pay-outs"


@pytest.mark.usefixtures("rooms")
def test_the_money_of_a_seller_that_nobody_registered_is_shown_to_whoever_alone_sells_for_it(
    door: Door, seller: str
) -> None:
    checkout_id, rival = f"money-{seller}", door.key_for("rival")
    paid(door, checkout_id, order(f"{checkout_id}-1", seller_account=seller))
    paths = [f"/v1/sellers/{seller}/{what}" for what in ("statement?currency=EUR", "payability")]
    assert [door.get(path).status for path in paths] == [200, 200]
    [line] = door.get(paths[1]).json["currencies"][0]["lines"]
    assert (line["reason"], line["amount"], line["whose_turn"]) == ("not_registered", "11.34", "platform")
    assert [door.get(path, key=rival).status for path in paths] == [404, 404]
    door.post(asked(f"{checkout_id}-2", order(f"{checkout_id}-2", seller_account=seller)), rival)
    wait_for(lambda: status(door, f"{checkout_id}-2", rival) == "executing")
    for key in (door.key, rival):
        assert [door.get(path, key=key).status for path in paths] == [404, 404], "it is not one owner's"


@pytest.mark.usefixtures("rooms")
def test_a_seller_that_an_owner_has_registered_shows_its_money_to_no_other_owner(door: Door, seller: str) -> None:
    checkout_id = f"own-{seller}"
    assert put(door, seller).status == 201
    paid(door, checkout_id, order(f"{checkout_id}-1", seller_account=seller))
    paths = (
        f"/v1/sellers/{seller}/statement?currency=EUR",
        f"/v1/sellers/{seller}/payability",
        f"/v1/wallets/{seller}",
    )
    owner, rival = door.key_for("shop"), door.key_for("rival")
    assert [door.get(path, key=owner).status for path in paths] == [200, 200, 200]
    assert [door.get(path, key=rival).status for path in paths] == [404, 404, 404]
    finance = door.key_for("finance", "wallets:read", "ledger:read")
    assert [door.get(path, key=finance).status for path in paths] == [404, 404, 200]
