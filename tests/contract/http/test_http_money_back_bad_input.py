"""Wrong captures, voids and refunds, disputes that are nobody's: a problem that names the field, and nothing is stored."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.events import OperationKind
from schemas.money import Money
from schemas.money_back import AuthorisationExpired, ChargebackOpened, PaymentAuthorised
from tests.contract.http.door import Door, Reply, wait_for
from tests.contract.http.orders import ask, detail, executing, paid, said, share
from tests.contract.http.rooms import captured, execute, running_rooms
from tests.contract.http.test_http_bad_input import refused
from topics.runtime.shape.store import Store

KINDS: tuple[OperationKind, ...] = ("capture", "void", "refund")
CARD = "4111 1111 1111 1111"


@pytest.fixture(scope="module")
def carts(door: Door) -> Iterator[dict[str, str]]:
    """Orders of 12.34 EUR, by what has become of them."""
    until, cart = datetime(2030, 1, 31, tzinfo=UTC), secrets.token_hex(4)
    made = {name: f"wb-{cart}-{name}" for name in ("paid", "manual", "closed", "failed", "charged-back", "anothers")}
    with running_rooms(door.settings):
        paid(door, made["paid"])
        for name in ("manual", "closed", "failed"):
            one = executing(door, made[name], capture="manual")
            execute(door.settings, said(one, made[name], PaymentAuthorised, expires_at=until))
            if name == "closed":
                execute(door.settings, captured(one, made[name]).model_copy(update={"final": True}))
            if name == "failed":
                released = Money(1234, "EUR")
                execute(door.settings, said(one, made[name], AuthorisationExpired, released=released))
        about = {"dispute_id": f"dp_{cart}", "reason": "fraudulent", "stage": 1}
        one = paid(door, made["charged-back"])
        execute(door.settings, said(one, made["charged-back"], ChargebackOpened, **about, share=share(1234)))
        executing(door, made["anothers"], door.key_for("another"))
        for name, ended in (("manual", "authorised"), ("failed", "expired"), ("charged-back", "charged_back")):
            wait_for(lambda name=name, ended=ended: detail(door, made[name])[1] == ended)  # type: ignore[misc]
        wait_for(lambda: detail(door, made["closed"])[0] == "SUCCESS")
        yield made


def stored(door: Door) -> int:
    """Ids that are claimed: an event is published with its claim, or not at all."""
    with closing(Store(door.settings, "doors")) as store, store.transaction() as conn:
        [row] = conn.execute("SELECT count(*) FROM operation_ids").fetchall()
        return int(row[0])


def body_of(kind: OperationKind, cart: str) -> dict[str, Any]:
    amount = {} if kind == "void" else {"amount": "1.00", "currency": "EUR"}
    return {f"{kind}_id": f"{cart}-w", "payment_order_id": f"{cart}-1", **amount}


def path_of(kind: OperationKind, cart: str) -> str:
    return "/v1/refunds" if kind == "refund" else f"/v1/payments/{cart}/{kind}s"


def send(door: Door, kind: OperationKind, cart: str, body: dict[str, Any] | bytes) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return door.send("POST", path_of(kind, cart), raw)


EACH: list[tuple[dict[str, object], str, str]] = [
    ({"more": 1}, "unknown_field", "more"),
    ({"own_id": "auto~x"}, "reserved_id", "own_id"),
    ({"own_id": "."}, "invalid_id", "own_id"),
    ({"own_id": ".."}, "invalid_id", "own_id"),
    ({"own_id": "x" * 200}, "invalid_id", "own_id"),
    ({"own_id": "a\0b"}, "invalid_id", "own_id"),
    ({"own_id": 7}, "invalid_id", "own_id"),
    ({"payment_order_id": "x" * 200}, "invalid_id", "payment_order_id"),
    ({"payment_order_id": "nobodys"}, "not_found", "payment_order_id"),
]
OF_AN_AMOUNT: list[tuple[dict[str, object], str, str]] = [
    ({"amount": "0.00"}, "not_positive", "amount"),
    ({"amount": "-1.00"}, "not_positive", "amount"),
    ({"amount": "1.0"}, "wrong_decimals", "amount"),
    ({"amount": 1}, "wrong_type", "amount"),
    ({"amount": "1e2"}, "invalid_amount", "amount"),
    ({"amount": "1" * 40 + ".00"}, "amount_too_large", "amount"),
    ({"currency": "USD"}, "wrong_currency", "currency"),
    ({"currency": "XXX"}, "unknown_currency", "currency"),
]
OF_A_REFUND: list[tuple[dict[str, object], str, str]] = [
    ({"amount": "12.35"}, "exceeds_refundable", "amount"),
    ({"reason": ""}, "invalid_text", "reason"),
    ({"reason": "\ud800"}, "invalid_text", "reason"),
    ({"reason": CARD}, "card_number", "reason"),
    ({"final": True}, "unknown_field", "final"),
]
OF_A_CAPTURE: list[tuple[dict[str, object], str, str]] = [
    ({"amount": "12.35"}, "exceeds_authorised", "amount"),
    ({"final": True, "amount": "0.00"}, "not_positive", "amount"),
    ({"final": "yes"}, "wrong_type", "final"),
]
WRONG: list[tuple[OperationKind, str, dict[str, object], str, str]] = [
    *[("capture", "manual", *case) for case in (*EACH, *OF_AN_AMOUNT, *OF_A_CAPTURE)],
    *[("void", "manual", *case) for case in (*EACH, ({"amount": "1.00"}, "unknown_field", "amount"))],
    *[("refund", "paid", *case) for case in (*EACH, *OF_AN_AMOUNT, *OF_A_REFUND)],
    # as things stand
    *[(kind, "anothers", {}, "not_found", "payment_order_id") for kind in KINDS],
    ("capture", "paid", {}, "not_authorised", "payment_order_id"),  # captured automatically
    ("capture", "failed", {}, "not_authorised", "payment_order_id"),
    ("capture", "closed", {}, "not_authorised", "payment_order_id"),
    ("void", "paid", {}, "nothing_to_void", "payment_order_id"),
    ("void", "closed", {}, "nothing_to_void", "payment_order_id"),
    ("void", "failed", {}, "not_authorised", "payment_order_id"),
    ("refund", "failed", {}, "not_captured", "payment_order_id"),
    ("refund", "charged-back", {}, "order_disputed", "payment_order_id"),
]


@pytest.mark.parametrize(
    ("kind", "of", "changed", "code", "field"), WRONG, ids=[f"{k} {of} {c} {f}" for k, of, _, c, f in WRONG]
)
def test_what_cannot_be_is_refused_by_its_field_and_claims_nothing(
    door: Door,
    carts: dict[str, str],
    kind: OperationKind,
    of: str,
    changed: dict[str, object],
    code: str,
    field: str,
) -> None:
    before, own = stored(door), f"{kind}_id"
    body = body_of(kind, carts[of]) | {name.replace("own_id", own): value for name, value in changed.items()}
    reply = send(door, kind, carts[of], body)
    refused(reply, 404 if code == "not_found" else 422, code, field.replace("own_id", own))
    assert CARD.encode() not in reply.body
    assert stored(door) == before


@pytest.mark.parametrize("kind", KINDS)
def test_members_that_are_missing_or_stand_twice_are_named(
    door: Door, carts: dict[str, str], kind: OperationKind
) -> None:
    cart, before = carts["paid" if kind == "refund" else "manual"], stored(door)
    body = body_of(kind, cart)
    for name in body:
        refused(send(door, kind, cart, {n: v for n, v in body.items() if n != name}), 422, "missing_field", name)
        twice = json.dumps(body).replace(f'"{name}":', f'"{name}": "1.00", "{name}":', 1)
        refused(send(door, kind, cart, twice.encode()), 422, "repeated_field", name)
    for nothing in (b"", b"{", b"[" * 50_000, b"null"):
        reply = send(door, kind, cart, nothing)
        assert (reply.status in (400, 422), reply.json["code"] in ("invalid_json", "wrong_type")) == (True, True)
    assert door.send("POST", path_of(kind, cart), b"{}", {"Content-Type": "text/plain"}).status == 415
    assert stored(door) == before


@pytest.mark.parametrize("kind", ["capture", "void"])
def test_the_path_of_another_checkout_is_not_that_of_the_order(
    door: Door, carts: dict[str, str], kind: OperationKind
) -> None:
    for path in (carts["paid"], "nobodys", "%00", "%C3%BC", "x" * 200):
        reply = ask(door, f"/v1/payments/{path}/{kind}s", **body_of(kind, carts["manual"]))
        refused(reply, 404, "not_found", "payment_order_id")


def test_the_same_id_with_other_contents_is_refused_for_each_kind(door: Door, carts: dict[str, str]) -> None:
    for kind, of, changed in (
        ("capture", "manual", {"amount": "1.01"}),
        ("capture", "manual", {"final": True}),
        ("void", "manual", {"payment_order_id": f"{carts['failed']}-1"}),
        ("refund", "paid", {"amount": "1.01"}),
        ("refund", "paid", {"reason": "other"}),
    ):
        own = {f"{kind}_id": f"{carts[of]}-{kind}-twice"}
        body = body_of(kind, carts[of]) | own  # type: ignore[arg-type]
        first = send(door, kind, carts[of], body)  # type: ignore[arg-type]
        assert first.status == 202, first.body
        before = stored(door)
        path = carts["failed"] if kind == "void" else carts[of]
        reply = send(door, kind, path, body | changed)  # type: ignore[arg-type]
        refused(reply, 422, "contents_conflict", next(iter(changed)))
        assert stored(door) == before


def test_what_is_nobodys_or_no_filter_reads_nothing(door: Door, carts: dict[str, str]) -> None:
    for path in ("disputes/dp_nobodys", "disputes/.", "disputes/%00", f"disputes/{'x' * 200}", "refunds/nobodys"):
        refused(door.get(f"/v1/{path}"), 404, "not_found")
    for of in ("disputes", "refunds"):
        for query, field in (
            ("status=lost_and_found", "status"),
            ("from=yesterday", "from"),
            ("limit=0", "limit"),
            ("limit=501", "limit"),
            ("limit=x", "limit"),
            ("payment_order_id=%00", "payment_order_id"),
            ("seller=s-1", "seller"),
        ):
            refused(door.get(f"/v1/{of}?{query}"), 400, "invalid_parameter", field)
        refused(door.get(f"/v1/{of}?cursor=x"), 400, "invalid_cursor")
        wrong = door.key_for("shop", "payments:write")
        refused(door.get(f"/v1/{of}", key=wrong), 403, "forbidden")
    stranger = door.key_for("stranger")
    cart = carts["charged-back"]
    assert door.get(f"/v1/disputes?payment_order_id={cart}-1", key=stranger).json["disputes"] == []
