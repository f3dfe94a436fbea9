"""Captures, voids, refunds and disputes over HTTP: asked for, read back, refused, and asked for again."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from subprocess import Popen

import pytest

from producers import replies
from producers.client import UpstreamClient
from producers.doors.commits import Commits
from producers.doors.operation_ids import claim
from producers.doors.operations import OperationSubmission
from schemas.events import OperationKind, PaymentCaptured
from schemas.money import Money
from schemas.money_back import (
    CaptureFailed,
    ChargebackOpened,
    DisputeInquiry,
    PaymentAuthorised,
    PaymentRefunded,
    PaymentVoided,
    RefundFailed,
    VoidFailed,
)
from schemas.requests import CaptureRequest, PaymentRequest, RefundRequest
from tests.commands import begin, tally
from tests.contract.http.door import Door, asked, order, wait_for
from tests.contract.http.orders import ask, detail, executing, paid, said, share
from tests.contract.http.rooms import captured, execute, running_rooms

REFUNDS = "/v1/refunds"


@pytest.fixture(scope="module", autouse=True)
def rooms(door: Door) -> Iterator[None]:
    with running_rooms(door.settings):
        yield


@pytest.fixture
def cart() -> str:
    return f"mb-{secrets.token_hex(4)}"


# ── refunds ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_refund_is_followed_to_wallet_and_ledger(door: Door, cart: str) -> None:
    one = paid(door, cart)
    body = {
        "refund_id": f"{cart}-r",
        "payment_order_id": f"{cart}-1",
        "amount": "4.00",
        "currency": "EUR",
        "reason": "broken",
    }
    reply = ask(door, REFUNDS, **body)
    assert (reply.status, reply.headers["location"], reply.replayed) == (202, f"/v1/refunds/{cart}-r", False)
    assert reply.json["status"] == "received"
    replies.Refund.model_validate_json(reply.body)
    path = reply.json["links"]["self"]
    assert door.get(path).json["status"] in ("received", "processing")
    wait_for(lambda: door.get(path).json["status"] == "processing")
    execute(door.settings, said(one, cart, PaymentRefunded, refund_id=f"{cart}-r", share=share(400)))
    wait_for(lambda: door.get(path).json["wallet_updated"] and door.get(path).json["ledger_updated"])
    refund = door.get(path).json
    replies.Refund.model_validate(refund)
    assert (refund["status"], refund["amount"], refund["reason"], refund["code"]) == (
        "succeeded",
        "4.00",
        "broken",
        None,
    )
    payment = door.get(f"/v1/payments/{cart}").json
    replies.Payment.model_validate(payment)
    [shown] = payment["payment_orders"]
    assert (
        shown["amount_captured"],
        shown["amount_refunded"],
        shown["amount_capturable"],
        shown["amount_disputed"],
    ) == (
        "12.34",
        "4.00",
        "0.00",
        "0.00",
    )
    assert (shown["detail"], shown["capture"], shown["captures"], shown["next_action"]) == (
        "partly_refunded",
        "automatic",
        [],
        None,
    )
    [of_order] = [door.get(f"/v1/payment-orders/{cart}-1").json]
    replies.OrderOfPayment.model_validate(of_order)
    assert of_order["amount_refunded"] == "4.00"


def test_the_same_refund_again_gets_the_same_answer_whatever_has_become_of_it(door: Door, cart: str) -> None:
    one = paid(door, cart)
    body = {"refund_id": f"{cart}-r", "payment_order_id": f"{cart}-1", "amount": "12.34", "currency": "EUR"}
    first = ask(door, REFUNDS, **body)
    execute(door.settings, said(one, cart, PaymentRefunded, refund_id=f"{cart}-r", share=share(1234)))
    wait_for(lambda: detail(door, cart) == ("SUCCESS", "refunded"))
    again = ask(door, REFUNDS, **body)
    assert (again.status, again.body, again.replayed) == (202, first.body, True)
    other = ask(door, REFUNDS, **body | {"amount": "12.33"})
    assert (other.status, other.json["code"], other.json["field"]) == (422, "contents_conflict", "amount")
    assert ask(door, REFUNDS, **body | {"refund_id": f"{cart}-s"}).json["code"] == "exceeds_refundable"
    stranger = door.key_for("stranger")
    theirs = f"{cart}x"
    executing(door, theirs, stranger)
    taken = ask(door, REFUNDS, stranger, **body | {"payment_order_id": f"{theirs}-1"})
    assert (taken.status, taken.json["code"], taken.json["field"]) == (409, "id_taken", "refund_id")
    assert door.get(f"/v1/refunds/{cart}-r", key=stranger).status == 404


def test_what_payments_refuses_after_the_202_reads_refused_and_is_listed(
    door: Door, environment: dict[str, str], cart: str
) -> None:
    """Two doors may each find that there is enough; payments has the last word."""
    paid(door, cart)
    over = {"payment_order_id": f"{cart}-1", "amount": "99.00", "currency": "EUR"}
    accept(door, cart, RefundRequest(refund_id=f"{cart}-r", **over))
    wait_for(lambda: door.get(f"/v1/refunds/{cart}-r").json["status"] == "refused")
    refused = door.get(f"/v1/refunds/{cart}-r").json
    assert (refused["code"], refused["amount"]) == ("exceeds_refundable", "99.00")
    assert detail(door, cart) == ("SUCCESS", "")
    given = ask(door, REFUNDS, **over | {"refund_id": f"{cart}-s", "amount": "1.00"}).json["refund_id"]
    wait_for(lambda: door.get(f"/v1/refunds/{given}").json["status"] == "processing")
    page = door.get(f"/v1/refunds?payment_order_id={cart}-1").json
    replies.RefundPage.model_validate(page)
    assert page["refunds"] == [door.get(f"/v1/refunds/{given}").json, refused]
    assert door.get(f"/v1/refunds?checkout_id={cart}&status=refused").json["refunds"] == [refused]
    assert len(door.get(f"/v1/refunds?checkout_id={cart}&status=processing").json["refunds"]) == 1
    by_command = tally(environment, "refunds", "list", "--order", f"{cart}-1", "--status", "refused", "--json")
    assert [(one["refund_id"], one["code"]) for one in json.loads(by_command.stdout)["refunds"]] == [
        (f"{cart}-r", "exceeds_refundable")
    ]
    assert f"{cart}-r" in tally(environment, "refunds", "show", f"{cart}-r").stdout


def test_a_refused_capture_stands_with_its_order_and_ends_a_watch(
    door: Door, environment: dict[str, str], cart: str
) -> None:
    paid(door, cart)
    part = {"payment_order_id": f"{cart}-1", "amount": "9.00", "currency": "EUR"}
    accept(door, cart, CaptureRequest(capture_id=f"{cart}-k", **part))
    wait_for(lambda: door.get(f"/v1/payment-orders/{cart}-1").json["captures"] != [])
    order = door.get(f"/v1/payment-orders/{cart}-1").json
    replies.OrderOfPayment.model_validate(order)
    [capture] = order["captures"]
    assert (capture["capture_id"], capture["status"], capture["code"]) == (f"{cart}-k", "refused", "not_authorised")
    watched = tally(environment, "capture", f"{cart}-1", "--amount", "9.00", "--id", f"{cart}-k", "--watch")
    assert (watched.returncode, watched.stdout) == (1, f"capture {cart}-k · refused (not_authorised)\n"), watched.stderr


def accept(door: Door, cart: str, request: RefundRequest | CaptureRequest) -> None:
    """As a door would that knows less of the order."""
    kind: OperationKind = "refund" if isinstance(request, RefundRequest) else "capture"
    with closing(Commits(door.settings, claim)) as commits:
        commits.take_alone(OperationSubmission(owner="shop", request=request, kind=kind, checkout_id=cart))


def test_refunds_are_listed_newest_first_and_by_what_is_asked(door: Door, cart: str) -> None:
    paid(door, cart)
    for number in range(3):
        body = {"refund_id": f"{cart}-r{number}", "payment_order_id": f"{cart}-1", "amount": "1.00", "currency": "EUR"}
        assert ask(door, REFUNDS, **body).status == 202
    path = f"{REFUNDS}?payment_order_id={cart}-1"
    wait_for(lambda: len(door.get(path).json["refunds"]) == 3)
    first = door.get(f"{path}&limit=2").json
    replies.RefundPage.model_validate(first)
    rest = door.get(f"{path}&limit=2&cursor={first['next_cursor']}").json
    listed = [one["refund_id"] for one in [*first["refunds"], *rest["refunds"]]]
    assert listed == [f"{cart}-r2", f"{cart}-r1", f"{cart}-r0"]
    assert rest["next_cursor"] is None
    assert door.get(f"{path}&status=succeeded").json["refunds"] == []
    assert len(door.get(f"{REFUNDS}?checkout_id={cart}&from=2020-01-01").json["refunds"]) == 3
    assert door.get(path, key=door.key_for("stranger")).json["refunds"] == []


# ── captures and voids ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_manual_payment_is_captured_in_part_and_the_rest_given_up(door: Door, cart: str) -> None:
    one = executing(door, cart, capture="manual")
    until = datetime(2030, 1, 31, 12, tzinfo=UTC)
    execute(door.settings, said(one, cart, PaymentAuthorised, expires_at=until))
    wait_for(lambda: detail(door, cart) == ("EXECUTING", "authorised"))
    [shown] = door.get(f"/v1/payments/{cart}").json["payment_orders"]
    assert (shown["capture"], shown["amount_capturable"], shown["amount_captured"]) == ("manual", "12.34", "0.00")
    assert shown["authorisation_expires_at"] == "2030-01-31T12:00:00Z"
    captures, voids = f"/v1/payments/{cart}/captures", f"/v1/payments/{cart}/voids"
    body = {"capture_id": f"{cart}-k", "payment_order_id": f"{cart}-1", "amount": "5.00", "currency": "EUR"}
    reply = ask(door, captures, **body)
    replies.Capture.model_validate_json(reply.body)
    assert (reply.status, reply.headers["location"]) == (202, f"/v1/payments/{cart}")
    wait_for(lambda: door.get(f"/v1/payments/{cart}").json["payment_orders"][0]["captures"])
    more = {"capture_id": f"{cart}-k", "order_gross": Money(1234, "EUR")}
    part = {"gross": Money(500, "EUR"), "fee": Money(40, "EUR"), "net": Money(460, "EUR")}
    execute(door.settings, said(one, cart, PaymentCaptured, **more, **part))
    wait_for(lambda: door.get(f"/v1/payments/{cart}").json["payment_orders"][0]["captures"][0]["ledger_updated"])
    assert detail(door, cart) == ("SUCCESS", "partly_captured")
    over = ask(door, captures, **body | {"capture_id": f"{cart}-k2", "amount": "7.35"})
    assert (over.status, over.json["code"], over.json["field"]) == (422, "exceeds_authorised", "amount")
    reply = ask(door, voids, void_id=f"{cart}-v", payment_order_id=f"{cart}-1")
    replies.Void.model_validate_json(reply.body)
    wait_for(lambda: door.get(f"/v1/payments/{cart}").json["payment_orders"][0]["voids"])
    execute(door.settings, said(one, cart, PaymentVoided, void_id=f"{cart}-v", released=Money(734, "EUR")))
    wait_for(lambda: door.get(f"/v1/payments/{cart}").json["is_payment_done"])
    payment = door.get(f"/v1/payments/{cart}").json
    replies.Payment.model_validate(payment)
    [shown] = payment["payment_orders"]
    assert (shown["amount_captured"], shown["amount_capturable"], payment["status"]) == ("5.00", "0.00", "succeeded")
    [capture], [void] = shown["captures"], shown["voids"]
    assert (capture["capture_id"], capture["status"], capture["amount"]) == (f"{cart}-k", "succeeded", "5.00")
    assert (void["void_id"], void["status"], void["amount"]) == (f"{cart}-v", "succeeded", "7.34")
    again = ask(door, captures, **body)
    assert (again.status, again.replayed) == (202, True)
    late = ask(door, voids, void_id=f"{cart}-v2", payment_order_id=f"{cart}-1")
    assert (late.status, late.json["code"]) == (422, "nothing_to_void")


def test_manual_is_a_part_of_what_a_checkout_is(door: Door, cart: str) -> None:
    body = asked(cart, order(f"{cart}-1"), capture="manual")
    first = door.post(body)
    assert first.json["payment_orders"][0]["capture"] == "manual"
    assert door.post(body).replayed
    other = door.post(asked(cart, order(f"{cart}-1")))
    assert (other.status, other.json["code"], other.json["field"]) == (422, "checkout_conflict", "capture")
    plain = door.post(asked(f"{cart}a", order(f"{cart}a-1")))
    assert "capture" not in plain.json["payment_orders"][0]  # as ever
    assert door.post(asked(f"{cart}a", order(f"{cart}a-1"), capture="automatic")).replayed


# ── disputes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_dispute_is_read_with_its_stages_and_takes_what_could_be_refunded(door: Door, cart: str) -> None:
    one = paid(door, cart)
    about = {"dispute_id": f"dp_{cart}", "reason": "fraudulent", "due_by": datetime.now(UTC) + timedelta(days=7)}
    first = said(one, cart, DisputeInquiry, **about, stage=1, amount=Money(1000, "EUR"))
    opened = said(one, cart, ChargebackOpened, **about, stage=2, share=share(1000), dispute_fee=Money(1500, "JPY"))
    execute(door.settings, first, opened)
    wait_for(lambda: detail(door, cart) == ("SUCCESS", "charged_back"))
    found = door.get(f"/v1/disputes/dp_{cart}").json
    replies.DisputeShown.model_validate(found)
    assert (found["status"], found["stage"], found["amount"], found["fee"]) == ("opened", 2, "10.00", "1500")
    assert found["fee_currency"] == "JPY"
    assert [(stage["stage"], stage["status"]) for stage in found["stages"]] == [(1, "inquiry"), (2, "opened")]
    listed = door.get(f"/v1/disputes?payment_order_id={cart}-1&status=opened").json
    replies.DisputePage.model_validate(listed)
    assert [(one["dispute_id"], one["stage"]) for one in listed["disputes"]] == [(f"dp_{cart}", 2)]
    assert door.get(f"/v1/payments/{cart}").json["payment_orders"][0]["amount_disputed"] == "10.00"
    body = {"refund_id": f"{cart}-r", "payment_order_id": f"{cart}-1", "currency": "EUR"}
    assert ask(door, REFUNDS, **body, amount="3.00").json["code"] == "order_disputed"
    assert ask(door, REFUNDS, **body, amount="12.35").json["code"] == "exceeds_refundable"
    assert door.get(f"/v1/disputes/dp_{cart}", key=door.key_for("stranger")).status == 404
    assert door.get("/v1/disputes", key=door.key_for("shop", "payments:read")).json["code"] == "forbidden"


# ── by Kafka ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_upstream_asks_over_its_own_topic_and_reads_what_became_of_it(door: Door, cart: str) -> None:
    partner = door.key_for("partner")
    one = order(f"{cart}-1")
    refund = RefundRequest(refund_id=f"{cart}-r", payment_order_id=f"{cart}-1", amount="4.00", currency="EUR")
    with UpstreamClient(door.settings.kafka, "partner", door.settings.topic_prefix) as client:
        client.send(PaymentRequest.model_validate_json(json.dumps(asked(cart, one))))
        client.flush()
        wait_for(lambda: door.get(f"/v1/payments/{cart}", key=partner).json.get("status") == "executing")
        execute(door.settings, captured(one, cart))
        wait_for(lambda: door.get(f"/v1/payments/{cart}", key=partner).json["is_payment_done"])
        client.send_operation(cart, refund)
        client.send_operation(cart, refund)
    wait_for(lambda: door.get(f"/v1/refunds/{cart}-r", key=partner).status == 200)
    assert door.get(f"/v1/refunds/{cart}-r", key=partner).json["status"] == "processing"
    by_http = ask(
        door, REFUNDS, partner, refund_id=f"{cart}-s", payment_order_id=f"{cart}-1", amount="8.34", currency="EUR"
    )
    assert by_http.status == 202  # of a payment that came by Kafka


# ── by command ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_refund_by_command_is_watched_listed_and_told_in_the_timeline(
    door: Door, environment: dict[str, str], cart: str
) -> None:
    one = paid(door, cart)
    words = ("refund", f"{cart}-1", "--amount", "4.00", "--id", f"{cart}-r", "--reason", "broken")
    asked_for = tally(environment, *words)
    assert (asked_for.returncode, asked_for.stdout.strip()) == (0, f"{cart}-r"), asked_for.stderr
    late = tally(environment, *words, "--watch", "--timeout", "1")
    assert (late.returncode, "is processing" in late.stderr) == (1, True)
    execute(door.settings, said(one, cart, PaymentRefunded, refund_id=f"{cart}-r", share=share(400)))
    wait_for(lambda: detail(door, cart) == ("SUCCESS", "partly_refunded"))
    rest = tally(environment, "refund", f"{cart}-1", "--json")  # all that is left
    assert json.loads(rest.stdout)["amount"] == "8.34"
    wait_for(lambda: door.get(f"/v1/refunds/{cart}-r").json["ledger_updated"])
    listed = json.loads(tally(environment, "refunds", "list", "--order", f"{cart}-1", "--json").stdout)["refunds"]
    assert {(one["refund_id"], one["amount"], one["status"]) for one in listed} >= {(f"{cart}-r", "4.00", "succeeded")}
    shown = tally(environment, "refunds", "show", f"{cart}-r", "--json")
    assert json.loads(shown.stdout)["reason"] == "broken"
    over = tally(environment, "refund", f"{cart}-1", "--amount", "99.00")
    assert (over.returncode, "exceeds_refundable" in over.stderr) == (1, True)
    story = json.loads(tally(environment, "show", f"{cart}-r", "--json").stdout)
    assert story["checkout_id"] == cart
    told = [(moment["where"], moment["what"]) for moment in story["moments"]]
    for moment in (
        ("doors", "refund accepted"),
        ("payments", "refund processing"),
        ("payments", "refund processing → succeeded"),
        ("wallet", "debited (refunded)"),
        ("ledger", "posted (refunded)"),
    ):
        assert moment in told, told


def test_a_manual_payment_by_command(door: Door, environment: dict[str, str], cart: str) -> None:
    made = tally(environment, "pay", "--orders", "1", "--capture", "manual", "--checkout-id", cart, "--json")
    assert made.returncode == 0, made.stderr
    [one] = json.loads(made.stdout)["payment_orders"]
    wait_for(lambda: door.get(f"/v1/payments/{cart}").json["status"] == "executing")
    execute(door.settings, said(one, cart, PaymentAuthorised, expires_at=datetime.now(UTC) + timedelta(days=6)))
    wait_for(lambda: detail(door, cart) == ("EXECUTING", "authorised"))
    watched = tally(environment, "pay", "--orders", "1", "--capture", "manual", "--checkout-id", cart, "--watch")
    assert "authorised" in watched.stdout
    captured_by = tally(environment, "capture", f"{cart}-1", "--amount", "1.00", "--id", f"{cart}-k", "--json")
    assert (json.loads(captured_by.stdout)["status"], captured_by.returncode) == ("received", 0)
    voided_by = tally(environment, "void", f"{cart}-1", "--id", f"{cart}-v")
    assert (voided_by.returncode, voided_by.stdout.strip()) == (0, f"{cart}-v"), voided_by.stderr
    wait_for(lambda: door.get(f"/v1/payments/{cart}").json["payment_orders"][0]["voids"])


def test_what_is_watched_exits_0_once_it_is_done_and_booked_and_1_where_it_failed(
    door: Door, environment: dict[str, str], cart: str
) -> None:
    one = executing(door, cart, capture="manual")
    execute(door.settings, said(one, cart, PaymentAuthorised, expires_at=datetime.now(UTC) + timedelta(days=6)))
    wait_for(lambda: detail(door, cart) == ("EXECUTING", "authorised"))
    with Watching(door, environment, cart) as watching:
        refused = watching("capture", "k-0", "5.00")
        taken = watching("capture", "k-1", "4.00")
        at_psp = said(
            one, cart, CaptureFailed, capture_id=f"{cart}-k-0", amount=Money(500, "EUR"), code="exceeds_authorised"
        )
        part = {"gross": Money(400, "EUR"), "fee": Money(0, "EUR"), "net": Money(400, "EUR")}
        mine = {**part, "order_gross": Money(1234, "EUR"), "capture_id": f"{cart}-k-1"}
        execute(door.settings, at_psp, said(one, cart, PaymentCaptured, **mine))
        assert watching.end(refused) == (1, f"capture {cart}-k-0 · failed (exceeds_authorised) · 5.00 EUR")
        assert watching.end(taken) == (0, f"capture {cart}-k-1 · succeeded · 4.00 EUR")

        given = watching("refund", "r-1", "3.00")
        declined = watching("refund", "r-2", "1.00")
        failed = said(one, cart, RefundFailed, refund_id=f"{cart}-r-2", amount=Money(100, "EUR"), code="declined")
        execute(door.settings, said(one, cart, PaymentRefunded, refund_id=f"{cart}-r-1", share=share(300)), failed)
        assert watching.end(given) == (0, f"refund {cart}-r-1 · succeeded · 3.00 EUR")
        assert watching.end(declined) == (1, f"refund {cart}-r-2 · failed (declined) · 1.00 EUR")

        refused = watching("void", "v-1")
        execute(door.settings, said(one, cart, VoidFailed, void_id=f"{cart}-v-1", code="declined"))
        assert watching.end(refused) == (1, f"void {cart}-v-1 · failed (declined)")
        done = watching("void", "v-2")
        execute(door.settings, said(one, cart, PaymentVoided, void_id=f"{cart}-v-2", released=Money(834, "EUR")))
        assert watching.end(done) == (0, f"void {cart}-v-2 · succeeded · 8.34 EUR")


class Watching:
    """Commands that run beside the test, each a process of its own."""

    def __init__(self, door: Door, environment: dict[str, str], cart: str) -> None:
        self._door, self._environment, self._cart = door, environment, cart
        self._begun: list[Popen[str]] = []

    def __enter__(self) -> Watching:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._begun:
            with each:
                each.kill()

    def __call__(self, kind: str, id_: str, amount: str | None = None) -> Popen[str]:
        """Until payments has heard of it."""
        asked = [kind, f"{self._cart}-1", "--id", f"{self._cart}-{id_}", "--watch"]
        words = [*asked, *(["--amount", amount] if amount else [])]
        begun = begin(self._environment, *words)
        self._begun.append(begun)
        wait_for(lambda: begun.poll() is not None or self._is_known(kind, f"{self._cart}-{id_}"))
        return begun

    def _is_known(self, kind: str, id_: str) -> bool:
        if kind == "refund":
            return bool(self._door.get(f"/v1/refunds/{id_}").json.get("status") == "processing")
        listed = self._door.get(f"/v1/payment-orders/{self._cart}-1").json[f"{kind}s"]
        return id_ in [one[f"{kind}_id"] for one in listed]

    def end(self, begun: Popen[str]) -> tuple[int, str]:
        told, why = begun.communicate(timeout=60)
        assert "at most" not in why, "no time ran out"
        return begun.returncode, told.strip()


def test_disputes_by_command(door: Door, environment: dict[str, str], cart: str) -> None:
    one = paid(door, cart)
    about = {"dispute_id": f"dp_{cart}", "reason": "fraudulent", "stage": 1}
    execute(door.settings, said(one, cart, ChargebackOpened, **about, share=share(1000)))
    wait_for(lambda: detail(door, cart) == ("SUCCESS", "charged_back"))
    [listed] = json.loads(tally(environment, "disputes", "list", "--order", f"{cart}-1", "--json").stdout)["disputes"]
    assert (listed["dispute_id"], listed["status"], listed["amount"]) == (f"dp_{cart}", "opened", "10.00")
    assert "fraudulent" in tally(environment, "disputes", "show", f"dp_{cart}").stdout
    assert "dispute opened" in tally(environment, "show", f"dp_{cart}").stdout
    assert tally(environment, "disputes", "show", "dp_none").returncode == 1
