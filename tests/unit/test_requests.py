"""The request contract: what is taken, and for each way to break it one code and the field at fault."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.money import Money
from schemas.requests import CheckoutSessionRequest, PaymentRequest, differences, field_errors, repeated_field

CARD = "4111 1111 1111 1111"


def asked(**changed: Any) -> dict[str, Any]:
    request = {
        "checkout_id": "c-1",
        "buyer_info": {"buyer_account": "b-1", "name": "Ann Lee", "email": "ann@example.com", "country": "DE"},
        "payment_method": {"token": "tok_visa"},
        "payment_orders": [
            order("o-1"),
            order("o-2", currency="JPY", amount="500", platform_fee="0"),
            order("o-3", currency="BHD", amount="1.234", platform_fee=None),
        ],
        "description": "three things",
        "metadata": {"basket": "17"},
        "deadline": "2026-01-31T13:00:00+01:00",
    }
    return request | changed


def order(order_id: str, **changed: Any) -> dict[str, Any]:
    return {
        "payment_order_id": order_id,
        "seller_account": "s-1",
        "amount": "12.34",
        "currency": "EUR",
        "platform_fee": "1.00",
    } | changed


def read(request: dict[str, Any]) -> PaymentRequest:
    return PaymentRequest.model_validate_json(json.dumps(request))


def refusals(body: bytes) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as refused:
        PaymentRequest.model_validate_json(body)
    return [(error.field, error.code) for error in field_errors(refused.value, body)]


def test_a_request_reads_into_money() -> None:
    request = read(asked())
    assert [o.gross for o in request.payment_orders] == [Money(1234, "EUR"), Money(500, "JPY"), Money(1234, "BHD")]
    assert [o.fee for o in request.payment_orders] == [Money(100, "EUR"), Money(0, "JPY"), Money(0, "BHD")]
    assert request.deadline == datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_a_request_survives_the_wire() -> None:
    request = read(asked())
    assert PaymentRequest.model_validate_json(request.model_dump_json()) == request


def test_what_is_optional_may_be_left_out() -> None:
    request = asked(buyer_info={"buyer_account": "b"}, payment_orders=[order("o")])
    for optional in ("description", "metadata", "deadline"):
        del request[optional]
    assert read(request).metadata == {}


def test_a_hundred_orders_are_taken() -> None:
    assert len(read(asked(payment_orders=[order(f"o{i}") for i in range(100)])).payment_orders) == 100


ORDER = "payment_orders[0]"


HOSTED = {"type": "hosted", "return_url": "https://shop.example/thanks?cart=1"}
AT_URL = "payment_method.return_url"


@pytest.mark.parametrize(
    ("method", "field", "code"),
    [
        ({"type": "hosted"}, AT_URL, "missing_field"),
        ({"return_url": "https://shop.example/"}, "payment_method.type", "missing_field"),
        ({**HOSTED, "token": "tok_visa"}, "payment_method.token", "unknown_field"),
        ({"token": "tok_visa", "return_url": "https://shop.example/"}, "payment_method.token", "unknown_field"),
        ({**HOSTED, "type": "card"}, "payment_method.type", "invalid_parameter"),
        ({**HOSTED, "type": None}, "payment_method.type", "missing_field"),
        *[
            ({"type": "hosted", "return_url": url}, AT_URL, "invalid_url")
            for url in (
                "http://shop.example/",
                "http://127.0.0.1.shop.example/",
                "javascript:alert(1)",
                "data:text/html,x",
                "//shop.example/",
                "/thanks",
                "",
                "https://",
                "https://ann:secret@shop.example/",
                "https://ann@shop.example/",
                "https://shop.example/#session",
                "https://shop.example/a b",
                "https://shop.example/\u00e9",
                "https://shop.example/\n",
                "https://evil.example\\@shop.example/",
                "https://shop.example:0/",
                "https://shop.example/" + "a" * 2000,
            )
        ],
        ({"type": "hosted", "return_url": f"https://shop.example/?c={CARD.replace(' ', '')}"}, AT_URL, "card_number"),
        ({"type": "hosted", "return_url": 5}, AT_URL, "wrong_type"),
    ],
)
def test_a_page_has_a_return_url_that_a_browser_may_be_sent_to(method: dict[str, Any], field: str, code: str) -> None:
    body = asked(payment_method=method, payment_orders=[order("o")])
    assert refusals(json.dumps(body).encode()) == [(field, code)]


@pytest.mark.parametrize(
    "url", [HOSTED["return_url"], "https://127.0.0.1/", "http://localhost:3000/a", "http://[::1]:3/"]
)
def test_a_page_may_send_the_buyer_back_there(url: str) -> None:
    body = asked(payment_method={"type": "hosted", "return_url": url}, payment_orders=[order("o")])
    assert PaymentRequest.model_validate_json(json.dumps(body)).payment_method.return_url == url


def test_a_page_is_for_one_order() -> None:
    body = asked(payment_method=HOSTED, payment_orders=[order("o"), order("p")])
    assert refusals(json.dumps(body).encode()) == [("payment_orders", "hosted_one_order")]


def test_a_session_asks_for_the_same_as_a_payment_on_a_page() -> None:
    body = asked(payment_method=HOSTED, payment_orders=[order("o")])
    session = {name: value for name, value in body.items() if name != "payment_method"}
    opened = CheckoutSessionRequest.model_validate_json(json.dumps({**session, "return_url": HOSTED["return_url"]}))
    assert opened.payment() == PaymentRequest.model_validate_json(json.dumps(body))


@pytest.mark.parametrize(
    ("changed", "field", "code"),
    [
        ({"tip": "1"}, "tip", "unknown_field"),
        ({CARD: "1"}, "…", "unknown_field"),
        ({"checkout_id": ""}, "checkout_id", "invalid_id"),
        ({"checkout_id": " "}, "checkout_id", "invalid_id"),
        ({"checkout_id": "c\n"}, "checkout_id", "invalid_id"),
        ({"checkout_id": "c" * 65}, "checkout_id", "invalid_id"),
        ({"checkout_id": "é"}, "checkout_id", "invalid_id"),
        ({"checkout_id": "c\0"}, "checkout_id", "invalid_id"),
        ({"checkout_id": 5}, "checkout_id", "invalid_id"),
        ({"buyer_info": {}}, "buyer_info.buyer_account", "missing_field"),
        ({"buyer_info": None}, "buyer_info", "wrong_type"),
        ({"buyer_info": {"buyer_account": "b", "age": 5}}, "buyer_info.age", "unknown_field"),
        ({"buyer_info": {"buyer_account": "b", "name": "\0"}}, "buyer_info.name", "invalid_text"),
        ({"buyer_info": {"buyer_account": "b", "name": "x\0"}}, "buyer_info.name", "invalid_text"),
        ({"buyer_info": {"buyer_account": "b", "name": " "}}, "buyer_info.name", "invalid_text"),
        ({"buyer_info": {"buyer_account": "b", "name": "n" * 201}}, "buyer_info.name", "invalid_text"),
        ({"buyer_info": {"buyer_account": "b", "name": CARD}}, "buyer_info.name", "card_number"),
        ({"buyer_info": {"buyer_account": "b", "name": "\ud800"}}, "buyer_info.name", "invalid_text"),
        ({"buyer_info": {"buyer_account": "b", "email": "ann"}}, "buyer_info.email", "invalid_email"),
        ({"buyer_info": {"buyer_account": "b", "country": "Germany"}}, "buyer_info.country", "invalid_country"),
        ({"buyer_info": {"buyer_account": "b", "country": "ZZ"}}, "buyer_info.country", "invalid_country"),
        ({"payment_method": {"token": ""}}, "payment_method.token", "invalid_token"),
        ({"payment_method": {"token": "a b"}}, "payment_method.token", "invalid_token"),
        ({"payment_method": {"token": CARD.replace(" ", "")}}, "payment_method.token", "card_number"),
        ({"payment_method": {"number": "1"}}, "payment_method.number", "unknown_field"),
        ({"payment_method": {}}, "payment_method.token", "missing_field"),
        ({"payment_orders": []}, "payment_orders", "no_orders"),
        ({"payment_orders": [order(f"o{i}") for i in range(101)]}, "payment_orders", "too_many_orders"),
        (
            {"payment_orders": [order("o"), order("p"), order("o")]},
            "payment_orders[2].payment_order_id",
            "repeated_order_id",
        ),
        ({"payment_orders": [order("o", tip="1")]}, f"{ORDER}.tip", "unknown_field"),
        ({"payment_orders": [order("o", amount="12.3")]}, f"{ORDER}.amount", "wrong_decimals"),
        ({"payment_orders": [order("o", amount="12.34", currency="JPY")]}, f"{ORDER}.amount", "wrong_decimals"),
        ({"payment_orders": [order("o", currency="EUX")]}, f"{ORDER}.currency", "unknown_currency"),
        ({"payment_orders": [order("o", amount="0.00")]}, f"{ORDER}.amount", "not_positive"),
        ({"payment_orders": [order("o", amount="-1.00")]}, f"{ORDER}.amount", "not_positive"),
        ({"payment_orders": [order("o", amount="1e2")]}, f"{ORDER}.amount", "invalid_amount"),
        ({"payment_orders": [order("o", amount="NaN")]}, f"{ORDER}.amount", "invalid_amount"),
        ({"payment_orders": [order("o", amount="1" * 40 + ".00")]}, f"{ORDER}.amount", "amount_too_large"),
        ({"payment_orders": [order("o", amount=12.34)]}, f"{ORDER}.amount", "wrong_type"),
        ({"payment_orders": [order("o", platform_fee="12.35")]}, f"{ORDER}.platform_fee", "fee_above_amount"),
        ({"payment_orders": [order("o", platform_fee="-0.01")]}, f"{ORDER}.platform_fee", "negative_amount"),
        ({"payment_orders": [order("o", platform_fee="1")]}, f"{ORDER}.platform_fee", "wrong_decimals"),
        ({"checkout_id": "."}, "checkout_id", "invalid_id"),
        ({"checkout_id": ".."}, "checkout_id", "invalid_id"),
        ({"checkout_id": "." * 65}, "checkout_id", "invalid_id"),
        ({"payment_orders": [order("..")]}, "payment_orders[0].payment_order_id", "invalid_id"),
        ({"payment_orders": [order("o", seller_account=".")]}, "payment_orders[0].seller_account", "invalid_id"),
        ({"buyer_info": {"buyer_account": ".."}}, "buyer_info.buyer_account", "invalid_id"),
        ({"deadline": "tomorrow"}, "deadline", "invalid_time"),
        ({"deadline": "2026-01-31T12:00:00"}, "deadline", "invalid_time"),
        ({"deadline": "2026-02-31T12:00:00Z"}, "deadline", "invalid_time"),
        ({"deadline": "0001-01-01T00:00:00+14:00"}, "deadline", "invalid_time"),
        ({"deadline": 1790000000}, "deadline", "invalid_time"),
        ({"deadline": "1790000000"}, "deadline", "invalid_time"),
        ({"deadline": "2026-01-31"}, "deadline", "invalid_time"),
        ({"description": CARD}, "description", "card_number"),
        ({"description": "d" * 501}, "description", "invalid_text"),
        ({"metadata": {"card": CARD}}, "metadata.card", "card_number"),
        ({"metadata": {CARD: "card"}}, "metadata.…", "card_number"),
        ({"metadata": {"n": 5}}, "metadata.n", "invalid_text"),
        ({"metadata": {f"k{i}": "v" for i in range(21)}}, "metadata", "too_much_metadata"),
    ],
)
def test_each_broken_rule_has_one_code_and_names_the_field(changed: dict[str, Any], field: str, code: str) -> None:
    assert (field, code) in refusals(json.dumps(asked(**changed)).encode())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"[" * 100_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        "{}".encode("utf-16"),
        b"\xff\xfe\x00",
        json.dumps(asked()).encode() + b"}",
    ],
)
def test_what_is_not_json_is_said_to_be_none(body: bytes) -> None:
    assert refusals(body) == [("", "invalid_json")]


def test_broken_utf_8_names_its_field() -> None:
    body = json.dumps(asked(description="PLACE")).encode().replace(b"PLACE", b"\xff\xfe")
    assert refusals(body) == [("description", "invalid_text")]


@pytest.mark.parametrize("body", [b"null", b"[]", b'"text"', b"5"])
def test_json_that_is_no_object_is_the_wrong_type(body: bytes) -> None:
    assert refusals(body) == [("", "wrong_type")]


def test_no_refusal_repeats_what_was_sent() -> None:
    body = json.dumps(asked(description=CARD, metadata={CARD: CARD}, **{CARD: CARD})).encode()
    with pytest.raises(ValidationError) as refused:
        PaymentRequest.model_validate_json(body)
    assert CARD not in repr(field_errors(refused.value, body))
    assert "Ann Lee" not in str(refused.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(sorted(asked())), json_values)
def test_anything_in_any_field_is_taken_or_refused_with_words_of_ours(field: str, value: object) -> None:
    body = json.dumps(asked(**{field: value})).encode()
    try:
        PaymentRequest.model_validate_json(body)
    except ValidationError as refused:
        for error in field_errors(refused, body):
            assert error.code.replace("_", "").isalpha()
            assert error.detail


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_words_of_ours(body: bytes) -> None:
    assert refusals(body)


# ── the same again? ──────────────────────────────────────────────────────────────────────────────────────────────────


def changed(*path: str | int, to: object) -> PaymentRequest:
    request = deepcopy(asked())
    inner: Any = request
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = to
    return read(request)


@pytest.mark.parametrize(
    ("path", "to", "named"),
    [
        (("checkout_id",), "c-2", "checkout_id"),
        (("buyer_info", "buyer_account"), "b-2", "buyer_info.buyer_account"),
        (("buyer_info", "name"), None, "buyer_info.name"),
        (("buyer_info", "email"), "ann@example.org", "buyer_info.email"),
        (("buyer_info", "country"), "AT", "buyer_info.country"),
        (("payment_method", "token"), "tok_amex", "payment_method.token"),
        (("payment_orders", 0, "amount"), "12.35", "payment_orders[o-1].amount"),
        (("payment_orders", 0, "currency"), "USD", "payment_orders[o-1].currency"),
        (("payment_orders", 0, "seller_account"), "s-2", "payment_orders[o-1].seller_account"),
        (("payment_orders", 0, "platform_fee"), None, "payment_orders[o-1].platform_fee"),
        (("deadline",), "2026-01-31T13:00:00Z", "deadline"),
        (("description",), "other", "description"),
        (("metadata", "basket"), "18", "metadata.basket"),
    ],
)
def test_each_field_that_differs_is_named(path: tuple[str | int, ...], to: object, named: str) -> None:
    assert differences(read(asked()), changed(*path, to=to)) == [named]


def test_the_same_said_otherwise_does_not_differ() -> None:
    original = asked()
    otherwise = asked(
        payment_orders=[*reversed(original["payment_orders"][:1] + original["payment_orders"][1:])],
        deadline="2026-01-31t12:00:00.000000000z",
    )
    otherwise["payment_orders"][1] = order("o-2", currency="JPY", amount="500", platform_fee=None)
    assert differences(read(original), read(otherwise)) == []


def test_an_order_left_out_is_a_difference() -> None:
    fewer = asked(payment_orders=asked()["payment_orders"][:2])
    assert all("o-3" in name for name in differences(read(asked()), read(fewer)))
    assert differences(read(asked()), read(fewer))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


@given(JSON, st.booleans(), st.booleans())
def test_what_stands_once_is_found_twice_by_nobody(value: Any, ascii_only: bool, spaced: bool) -> None:
    separators = (", ", ": ") if spaced else (",", ":")
    try:
        body = json.dumps(value, ensure_ascii=ascii_only, separators=separators).encode()
        repeated = repeated_field(body)
    except (UnicodeEncodeError, ValueError):
        return  # half a character: pydantic reads no such body
    assert repeated is None
    twice = b'{"a":[{"b":%b,"\\u0062":1}]}' % body
    found = repeated_field(twice)
    assert found is not None
    assert (found.field, found.code) == ("b", "repeated_field")
