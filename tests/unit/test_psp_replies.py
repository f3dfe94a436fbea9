"""What each answer of a PSP means: the table of docs/psp.md, and whatever else a network can deliver."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import psp as psp_package
from psp.northpay import Northpay
from psp.port import (
    Captured,
    Charge,
    Declined,
    Kind,
    ListingError,
    NothingHappened,
    NotThere,
    Operation,
    Pending,
    Psp,
    Reference,
    Reply,
    Unknown,
    reply_from_json,
)
from psp.registry import adapters, make_psps
from psp.southpay import Southpay
from schemas.money import Money
from tests.northpay import charge
from topics.runtime.shape.consumer import CallKind
from topics.settings import PspAccount

NORTHPAY = Northpay("northpay", "http://psp.test/northpay", "secret-key")
SOUTHPAY = Southpay("southpay", "http://psp.test/southpay", "secret-key")
CHARGE = Charge("0f" * 16, "order-1", Money(1234, "EUR"), "tok_visa")

NORTH_OK: dict[str, Any] = charge(CHARGE.call_id)
SOUTH_OK: dict[str, Any] = {
    "pspReference": "8AB1",
    "resultCode": "Authorised",
    "amount": {"value": 1234, "currency": "EUR"},
    "merchantReference": CHARGE.call_id,
    "merchantOrderReference": "order-1",
    "paymentMethod": {"type": "scheme", "brand": "mc"},
    "creationDate": "2026-01-02T03:04:05.678Z",
}


def north_error(kind: str, code: str) -> dict[str, Any]:
    return {"error": {"type": kind, "code": code, "message": "…"}}


def south_error(status: int, code: str) -> dict[str, Any]:
    return {"status": status, "errorCode": code, "errorType": "…", "message": "…"}


NORTH_NO = NORTH_OK | {"status": "declined", "decline_code": "insufficient_funds"}
SOUTH_NO = SOUTH_OK | {"resultCode": "Refused", "refusalReasonCode": "insufficient_funds"}
NORTH_PENDING = NORTH_OK | {"status": "pending", "pending_reason": "3ds"}
SOUTH_PENDING = SOUTH_OK | {"resultCode": "Pending", "pendingReasonCode": "review"}
Case = tuple[Psp, int, dict[str, Any], Reply]

CHARGE_TABLE: dict[str, Case] = {
    "north pending": (NORTHPAY, 200, NORTH_PENDING, Pending("ch_1", "3ds")),
    "south pending": (SOUTHPAY, 200, SOUTH_PENDING, Pending("8AB1", "review")),
    "north yes": (NORTHPAY, 200, NORTH_OK, Captured("ch_1", "visa", CHARGE.amount)),
    "south yes": (SOUTHPAY, 200, SOUTH_OK, Captured("8AB1", "mastercard", CHARGE.amount)),
    "north no": (NORTHPAY, 200, NORTH_NO, Declined("insufficient_funds", "ch_1", "visa")),
    "south no": (SOUTHPAY, 200, SOUTH_NO, Declined("insufficient_funds", "8AB1", "mastercard")),
    "north no, odd code": (NORTHPAY, 200, NORTH_NO | {"decline_code": "\0"}, Declined("unspecified", "ch_1", "visa")),
    "south no, no code": (
        SOUTHPAY,
        200,
        SOUTH_NO | {"refusalReasonCode": None},
        Declined("unspecified", "8AB1", "mastercard"),
    ),
    "new scheme": (NORTHPAY, 200, NORTH_OK | {"network": "jcb"}, Captured("ch_1", "other", CHARGE.amount)),
    "added field": (NORTHPAY, 200, NORTH_OK | {"risk": {}}, Captured("ch_1", "visa", CHARGE.amount)),
    "north rejected": (
        NORTHPAY,
        400,
        north_error("invalid_request_error", "parameter_invalid"),
        Declined("psp_rejected_request"),
    ),
    "south rejected": (SOUTHPAY, 422, south_error(422, "702"), Declined("psp_rejected_request")),
    "north key": (
        NORTHPAY,
        401,
        north_error("authentication_error", "api_key_invalid"),
        NothingHappened("unauthorised"),
    ),
    "south key": (SOUTHPAY, 401, south_error(401, "000"), NothingHappened("unauthorised")),
    "north conflict": (
        NORTHPAY,
        409,
        north_error("idempotency_error", "idempotency_key_in_use"),
        Unknown("key_conflict"),
    ),
    "south conflict": (SOUTHPAY, 422, south_error(422, "704"), Unknown("key_conflict")),
    "429": (NORTHPAY, 429, {}, NothingHappened("rate_limited", 7.0)),
    "north 503, its own": (
        NORTHPAY,
        503,
        north_error("api_error", "not_processed"),
        NothingHappened("unavailable", 7.0),
    ),
    "south 503, its own": (SOUTHPAY, 503, south_error(503, "911"), NothingHappened("unavailable", 7.0)),
    "503 of a proxy": (NORTHPAY, 503, {"error": "upstream"}, Unknown("http_503")),
    "500": (NORTHPAY, 500, north_error("api_error", "internal"), Unknown("http_500")),
    "500 that says not processed": (NORTHPAY, 500, north_error("api_error", "not_processed"), Unknown("http_500")),
    "502": (SOUTHPAY, 502, {}, Unknown("http_502")),
    "a proxy's 400": (NORTHPAY, 400, {}, Unknown("http_400")),
    "a proxy's 401": (SOUTHPAY, 401, {}, Unknown("http_401")),
    "404": (SOUTHPAY, 404, south_error(404, "010"), Unknown("http_404")),
    "408": (SOUTHPAY, 408, {}, Unknown("http_408")),
    "redirect": (NORTHPAY, 302, NORTH_OK, Unknown("http_302")),
    "201": (NORTHPAY, 201, NORTH_OK, Unknown("http_201")),
    "another amount": (NORTHPAY, 200, NORTH_OK | {"amount": 1233}, Unknown("amount_mismatch")),
    "another currency": (NORTHPAY, 200, NORTH_OK | {"currency": "usd"}, Unknown("amount_mismatch")),
    "another reference": (NORTHPAY, 200, NORTH_OK | {"reference": "x"}, Unknown("reference_mismatch")),
    "declined, another reference": (SOUTHPAY, 200, SOUTH_NO | {"merchantReference": ""}, Unknown("reference_mismatch")),
    "yes with a decline code": (NORTHPAY, 200, NORTH_OK | {"decline_code": "x"}, Unknown("contradictory")),
    "new status": (NORTHPAY, 200, NORTH_OK | {"status": "thinking"}, Unknown("unreadable")),
    "amount as text": (NORTHPAY, 200, NORTH_OK | {"amount": "1234"}, Unknown("unreadable")),
    "amount as float": (NORTHPAY, 200, NORTH_OK | {"amount": 1234.0}, Unknown("unreadable")),
    "amount past 64 bits": (NORTHPAY, 200, NORTH_OK | {"amount": 2**63}, Unknown("unreadable")),
    "id with NUL": (NORTHPAY, 200, NORTH_OK | {"id": "a\0b"}, Unknown("unreadable")),
    "no such currency": (NORTHPAY, 200, NORTH_OK | {"currency": "zzz"}, Unknown("unreadable")),
    "no such time": (SOUTHPAY, 200, SOUTH_OK | {"creationDate": "yesterday"}, Unknown("unreadable")),
    "year 2^60": (NORTHPAY, 200, NORTH_OK | {"created": 2**60}, Unknown("unreadable")),
}


@pytest.mark.parametrize("case", CHARGE_TABLE)
def test_what_an_answer_to_a_charge_means(case: str) -> None:
    psp, status, body, meaning = CHARGE_TABLE[case]
    answer = orjson.dumps(body)
    assert psp.read(CHARGE, status, {"Retry-After": "7"}, answer) == meaning


def north_page(*charges: dict[str, Any], more: bool = False) -> dict[str, Any]:
    return {"data": list(charges), "has_more": more}


FIND_TABLE: dict[str, Case] = {
    "north found": (NORTHPAY, 200, north_page(NORTH_OK), Captured("ch_1", "visa", CHARGE.amount)),
    "south found": (SOUTHPAY, 200, {"payments": [SOUTH_OK]}, Captured("8AB1", "mastercard", CHARGE.amount)),
    "found declined": (NORTHPAY, 200, north_page(NORTH_NO), Declined("insufficient_funds", "ch_1", "visa")),
    "north nothing": (NORTHPAY, 200, north_page(), NotThere()),
    "south nothing": (SOUTHPAY, 200, {"payments": []}, NotThere()),
    "north two": (NORTHPAY, 200, north_page(NORTH_OK, NORTH_NO), Unknown("several_charges")),
    "south two": (SOUTHPAY, 200, {"payments": [SOUTH_OK, SOUTH_OK]}, Unknown("several_charges")),
    "north one and more": (NORTHPAY, 200, north_page(NORTH_OK, more=True), Unknown("several_charges")),
    "nothing, but more": (NORTHPAY, 200, north_page(more=True), Unknown("several_charges")),
    "another reference": (NORTHPAY, 200, north_page(NORTH_OK | {"reference": "x"}), Unknown("reference_mismatch")),
    "unreadable entry": (SOUTHPAY, 200, {"payments": [{}]}, Unknown("unreadable")),
    "404": (NORTHPAY, 404, north_error("invalid_request_error", "not_found"), Unknown("http_404", 7.0)),
    "north 429": (NORTHPAY, 429, {}, Unknown("rate_limited", 7.0)),
    "south 429": (SOUTHPAY, 429, {}, Unknown("rate_limited", 7.0)),
    "503 not processed": (NORTHPAY, 503, north_error("api_error", "not_processed"), Unknown("http_503", 7.0)),
    "401": (SOUTHPAY, 401, south_error(401, "000"), Unknown("http_401", 7.0)),
}


@pytest.mark.parametrize("case", FIND_TABLE)
def test_what_an_answer_to_a_question_means(case: str) -> None:
    psp, status, body, meaning = FIND_TABLE[case]
    assert psp.read_find(CHARGE, status, {"Retry-After": "7"}, orjson.dumps(body)) == meaning


@pytest.mark.parametrize("text", ["", "soon", "-1", "NaN", "inf", "Wed, 21 Oct 2026 25:28:00 GMT"])
def test_a_retry_after_that_says_no_time_is_none(text: str) -> None:
    assert after({"retry-after": text, "date": "Wed, 21 Oct 2026 07:28:00 GMT"}) is None


def test_a_retry_after_that_is_a_date_counts_from_the_answer_s_own() -> None:
    dated = {"Retry-After": "Wed, 21 Oct 2026 07:30:05 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}
    assert after(dated) == 125.0
    assert after(dated | {"Date": "Wed, 21 Oct 2026 07:31:00 GMT"}) == 0.0
    assert after({"Retry-After": dated["Retry-After"]}) is None, "their clock is not ours"
    assert after(dated | {"Date": "Wed, 21 Oct 2026 07:28:00 -0000"}) is None, "a date without a zone"


def test_a_retry_after_is_a_day_at_most() -> None:
    assert after({"RETRY-AFTER": "1e9"}) == 86_400.0


def after(headers: dict[str, str]) -> float | None:
    reply = NORTHPAY.read(CHARGE, 429, headers, b"")
    assert isinstance(reply, NothingHappened)
    return reply.retry_after_s


def test_southpay_counts_chilean_pesos_in_hundredths() -> None:
    pesos = replace(CHARGE, amount=Money(500, "CLP"))
    assert orjson.loads(SOUTHPAY.request(pesos).body)["amount"] == {"value": 50000, "currency": "CLP"}
    told = SOUTH_OK | {"amount": {"value": 50000, "currency": "CLP"}}
    assert SOUTHPAY.read(pesos, 200, {}, orjson.dumps(told)) == Captured("8AB1", "mastercard", pesos.amount)
    half = SOUTH_OK | {"amount": {"value": 50050, "currency": "CLP"}}
    assert SOUTHPAY.read(pesos, 200, {}, orjson.dumps(half)) == Unknown("unreadable")


@pytest.mark.parametrize(("psp", "ok"), [(NORTHPAY, NORTH_OK), (SOUTHPAY, SOUTH_OK)])
def test_an_answer_that_says_a_thing_twice_is_unknown(psp: Psp, ok: dict[str, Any]) -> None:
    """Which of the two amounts was charged? The PSP is asked."""
    body = orjson.dumps(ok)
    assert isinstance(psp.read(CHARGE, 200, {}, body), Captured)
    twice = body.replace(b'"amount":', b'"amount":1,"amount":', 1)
    assert isinstance(psp.read(CHARGE, 200, {}, twice), Unknown)
    assert isinstance(psp.read(CHARGE, 200, {}, twice.replace(b":", b": ")), Unknown)


def test_a_listing_that_cannot_be_read_is_an_error_and_not_an_empty_one() -> None:
    pages: list[tuple[Psp, object]] = [
        (NORTHPAY, {}),
        (NORTHPAY, north_page(more=True)),
        (NORTHPAY, north_page(NORTH_OK | {"id": ""})),
        (SOUTHPAY, south_error(503, "911")),
        (SOUTHPAY, {"payments": [SOUTH_OK | {"creationDate": "2026-01-01"}]}),
    ]
    for psp, page in pages:
        with pytest.raises(ListingError, match=psp.name):
            psp.read_list("charge", orjson.dumps(page))


@pytest.mark.parametrize("psp", [NORTHPAY, SOUTHPAY])
def test_requests_carry_our_id_as_key_and_reference_and_hide_secrets(psp: Psp) -> None:
    request = psp.request(CHARGE)
    assert {name.lower(): text for name, text in request.headers.items()}["idempotency-key"] == CHARGE.call_id
    assert orjson.loads(request.body)["reference"] == CHARGE.call_id
    assert psp.request(CHARGE) == request, "the same charge is the same bytes, or the PSP sees another request"
    shown = f"{request!r} {CHARGE!r} {psp!r} {psp.find(CHARGE)!r}"
    assert "secret-key" not in shown
    assert "tok_visa" not in shown


@pytest.mark.parametrize("psp", [NORTHPAY, SOUTHPAY])
def test_an_adapter_declares_itself_for_each_kind_of_operation(psp: Psp) -> None:
    kinds = get_args(Kind)
    assert set(psp.declared) == set(kinds)
    assert {operation.kind for operation in get_args(Operation)} == set(kinds) - {"dispute"}, "each kind is a class"
    assert set(kinds) - {"dispute"} <= set(get_args(CallKind)), "the room may call for it"


@pytest.mark.parametrize("psp", [NORTHPAY, SOUTHPAY])
def test_a_question_needs_no_more_than_our_reference(psp: Psp) -> None:
    assert psp.find(Reference("charge", CHARGE.call_id)) == psp.find(CHARGE)


def test_accounts_become_adapters_by_name() -> None:
    accounts = [
        PspAccount(name="eu", adapter="northpay", url="http://psp.test/n/", api_key="k"),
        PspAccount(name="us", adapter="southpay", url="http://psp.test/s", api_key="k"),
    ]
    psps = make_psps(accounts)
    assert [type(psp) for psp in psps.values()] == [Northpay, Southpay]
    assert psps["eu"].list("charge").url == "http://psp.test/n/v1/charges?limit=1000"
    assert psps["us"].list("charge", "A b").url == "http://psp.test/s/payments/list?pageSize=1000&pageToken=A+b"


def test_every_adapter_that_the_settings_name_stands_in_psp_under_that_name() -> None:
    named = get_args(PspAccount.model_fields["adapter"].annotation)
    assert set(adapters()) == set(named) > set()


EASTPAY = """
from psp.northpay import Northpay

class Eastpay(Northpay):
    adapter = "eastpay"

ADAPTER = Eastpay
"""


@pytest.fixture
def eastpay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """One more file in `psp/`. → the name that it declares"""
    (tmp_path / "eastpay.py").write_text(EASTPAY)
    monkeypatch.setattr(psp_package, "__path__", [*psp_package.__path__, str(tmp_path)])
    adapters.cache_clear()
    yield "eastpay"
    adapters.cache_clear()
    sys.modules.pop("psp.eastpay", None)


def test_a_new_psp_is_a_file_of_psp_and_a_name_in_the_settings(eastpay: str) -> None:
    account = PspAccount(name="e1", adapter="northpay", url="http://psp.test/e", api_key="k")
    psps = make_psps([account.model_copy(update={"adapter": eastpay})])
    assert (type(psps["e1"]).__name__, psps["e1"].name) == ("Eastpay", "e1")
    assert psps["e1"].request(CHARGE).url.startswith("http://psp.test/e")


# ── whatever bytes arrive ────────────────────────────────────────────────────────────────────────────────────────────

PSPS = st.sampled_from([NORTHPAY, SOUTHPAY])
HEADERS = st.dictionaries(st.sampled_from(["Retry-After", "x"]), st.text())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def as_bytes(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except (orjson.JSONEncodeError, TypeError):
        return str(value).encode("utf-8", "surrogatepass")


@st.composite
def bent(draw: st.DrawFn) -> bytes:
    """A good answer, alone or listed, with one field replaced by anything, and perhaps cut short."""
    good = draw(st.sampled_from([NORTH_OK, SOUTH_OK, NORTH_NO, SOUTH_NO]))
    told: object = good | {draw(st.sampled_from(sorted(good))): draw(JSON)}
    told = draw(st.sampled_from([told, {"data": [told], "has_more": False}, {"payments": [told]}]))
    body = as_bytes(told)
    return body[: draw(st.integers(0, len(body)))] if draw(st.booleans()) else body


BODIES = st.binary() | JSON.map(as_bytes) | bent()


@given(psp=PSPS, status=st.integers(100, 599), headers=HEADERS, body=BODIES)
def test_reading_never_raises_and_what_it_reads_can_be_stored(
    psp: Psp, status: int, headers: dict[str, str], body: bytes
) -> None:
    for reply in (psp.read(CHARGE, status, headers, body), psp.read_find(CHARGE, status, headers, body)):
        stored = orjson.loads(orjson.dumps(reply.to_json()))
        assert "\0" not in str(stored)
        assert reply_from_json(stored) == reply


@given(psp=PSPS, status=st.integers(500, 599), headers=HEADERS, body=BODIES)
def test_a_server_error_is_unknown_unless_the_psp_itself_says_that_nothing_was_done(
    psp: Psp, status: int, headers: dict[str, str], body: bytes
) -> None:
    assert isinstance(psp.read(CHARGE, status, headers, body), Unknown)
    assert isinstance(psp.read_find(CHARGE, status, headers, body), Unknown)


@given(psp=PSPS, body=st.binary() | JSON.map(as_bytes))
def test_garbage_with_status_200_is_unknown(psp: Psp, body: bytes) -> None:
    assert isinstance(psp.read(CHARGE, 200, {}, body), Unknown)
    assert isinstance(psp.read_find(CHARGE, 200, {}, body), Unknown | NotThere)


@given(psp=PSPS, body=bent())
def test_a_bent_answer_never_captures_another_amount_or_reference(psp: Psp, body: bytes) -> None:
    reply = psp.read(CHARGE, 200, {}, body)
    assert not isinstance(reply, NothingHappened)
    if isinstance(reply, Captured):
        assert reply.amount == CHARGE.amount
        told = orjson.loads(body)
        assert CHARGE.call_id in (told.get("reference"), told.get("merchantReference"))


@given(psp=PSPS, body=BODIES)
def test_a_listing_is_read_or_refused(psp: Psp, body: bytes) -> None:
    try:
        charges, _ = psp.read_list("charge", body)
    except ListingError:
        return
    assert all(charge.status in ("succeeded", "declined") for charge in charges)


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"reply": "paid"},
        {"reply": "captured", "psp_reference": "x", "scheme": "visa", "amount": "1.2", "currency": "EUR"},
        {"reply": "declined", "code": 5, "psp_reference": None, "scheme": None},
        {"reply": "nothing_happened", "reason": "x", "retry_after_s": "soon"},
        {"reply": "unknown"},
    ],
)
def test_what_is_no_stored_reply_is_refused(stored: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        reply_from_json(stored)
