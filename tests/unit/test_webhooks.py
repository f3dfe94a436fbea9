"""Webhooks without a database: whom an event is told to, in which lane; signatures; addresses; the ladder."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest

from consumers.webhooks.decide import Delivery, Endpoint, Endpoints, Lane, Resend, SentDelivery, WebhookEvent, decide
from consumers.webhooks.queue import Outcome
from consumers.webhooks.sender import next_state
from operations.stack.settings import load_settings
from schemas.envelope import EventId, derive_id
from schemas.events import (
    NextAction,
    OrderState,
    PaymentCompleted,
    PaymentRefused,
    PaymentStatusChanged,
    WebhookEndpointSet,
    WebhookResendRequested,
    WebhookTestRequested,
)
from schemas.money import Money
from schemas.payouts import PayoutRefused, PayoutStatusChanged
from schemas.webhooks import EVENT_TYPES, delivery_id
from tests.payouts import given_up, placed
from topics.catalog import WEBHOOKS_ROOM
from topics.runtime.shape.consumer import Cause, Decision
from topics.webhooks.addresses import url_fault
from topics.webhooks.limits import WebhookLimits
from topics.webhooks.signing import secret_key, secret_text, sign, verify

NOW = datetime(2026, 1, 5, 12, 0, 0, 250_000, tzinfo=UTC)
HOOK = Endpoint("hook", "shop", "https://shop.example/", EVENT_TYPES, (1,), 1, False, NOW)
COMPLETED = PaymentCompleted(checkout_id="c1", owner="shop", status="succeeded")


def knowing(*endpoints: Endpoint, busy: Iterable[Lane] = (), sent: Iterable[SentDelivery] = ()) -> Endpoints:
    state = Endpoints(busy={*busy}, sent={each.delivery_id: each for each in sent})
    for endpoint in endpoints:
        state.fold(endpoint)
    return state


def cause(number: int = 1) -> Cause:
    return Cause(EventId(derive_id(str(number), "test", 0, 1_767_614_400_000)), "payments.v1", None, NOW, 0)


def hear(state: Endpoints, event: WebhookEvent, number: int = 1) -> list[Any]:
    """Decide, and fold as the runtime does. → the changes."""
    decision: Decision = decide(state, event, cause(number))
    assert not decision.events, "the room says nothing"
    for change in decision.changes:
        state.fold(change)  # type: ignore[arg-type]
    return list(decision.changes)


def told(changes: list[Any]) -> list[tuple[str, str]]:
    return [(change.endpoint_id, change.state) for change in changes if isinstance(change, Delivery)]


def setting(**changed: Any) -> WebhookEndpointSet:
    given = {
        "endpoint_id": "hook",
        "owner": "shop",
        "url": "https://new.example/",
        "event_types": ("payment.completed",),
        "secret_versions": (1, 2),
        "endpoint_revision": 2,
    }
    return WebhookEndpointSet.model_validate(given | changed)


# ── decide ───────────────────────────────────────────────────────────────────────────────────────────────────────────


PUBLISHED = {"payment.status_changed", "payment.refused", "payment.completed", "payout.refused"} | {
    f"{what}.status_changed" for what in ("capture", "void", "refund", "dispute", "payout")
}


def test_every_type_that_can_be_wanted_is_heard_by_the_room() -> None:
    said = {kind.webhook_type for topic in WEBHOOKS_ROOM.reads for kind in topic.says} - {None}
    assert said == {*EVENT_TYPES} == PUBLISHED


def test_who_asked_for_everything_hears_of_what_is_yet_to_come() -> None:
    everything = replace(HOOK, event_types=("*",))
    assert everything.subscribes_to("payment.completed")
    assert everything.subscribes_to("a.type.of.tomorrow")
    assert not replace(everything, deleted=True).subscribes_to("payment.completed")


def test_without_endpoints_nothing_is_done() -> None:
    assert decide(Endpoints(), COMPLETED, cause()) == Decision()


def test_an_event_goes_to_each_endpoint_of_its_owner_that_wants_it() -> None:
    others = (
        replace(HOOK, endpoint_id="refusals", event_types=("payment.refused",)),
        replace(HOOK, endpoint_id="second"),
        replace(HOOK, endpoint_id="gone", deleted=True),
        replace(HOOK, endpoint_id="foreign", owner="other"),
    )
    assert told(hear(knowing(HOOK, *others), COMPLETED)) == [("hook", "due"), ("second", "due")]


def test_what_is_sent_names_type_time_and_ids_and_not_the_owner() -> None:
    refused = PaymentRefused(checkout_id="c1", owner="shop", code="risk", detail="listed")
    [delivery] = hear(knowing(HOOK), refused)
    assert json.loads(delivery.body) == {
        "id": cause().event_id,
        "type": "payment.refused",
        "timestamp": "2026-01-05T12:00:00.250Z",
        "data": {"checkout_id": "c1", "code": "risk", "detail": "listed"},
    }
    assert delivery.delivery_id == delivery_id(cause().event_id, "hook")


def test_a_webhook_says_why_an_order_was_declined() -> None:
    order = OrderState("o1", "FAILED", "declined", "insufficient_funds")
    event = PaymentStatusChanged(checkout_id="c1", owner="shop", status="failed", payment_orders=(order,))
    [delivery] = [change for change in hear(knowing(HOOK), event) if isinstance(change, Delivery)]
    assert json.loads(delivery.body)["data"]["payment_orders"][0]["decline_code"] == "insufficient_funds"


def test_a_webhook_says_where_the_buyer_has_to_pay() -> None:
    page = NextAction("https://psp.example/pay/1", datetime(2026, 1, 5, 12, 30, tzinfo=UTC))
    order = OrderState("o1", "EXECUTING", "action_required", next_action=page)
    event = PaymentStatusChanged(checkout_id="c1", owner="shop", status="executing", payment_orders=(order,))
    [delivery] = [change for change in hear(knowing(HOOK), event) if isinstance(change, Delivery)]
    assert json.loads(delivery.body)["data"]["payment_orders"][0]["next_action"] == {
        "type": "redirect_to_url",
        "redirect_url": "https://psp.example/pay/1",
        "expires_at": "2026-01-05T12:30:00Z",
    }


def test_events_of_one_payment_form_a_lane_and_other_payments_do_not_wait() -> None:
    state = knowing(HOOK, busy=[("hook", "c1")])
    changed = PaymentStatusChanged(checkout_id="c2", owner="shop", status="executing", payment_orders=())
    assert told(hear(state, COMPLETED)) == [("hook", "waiting")]
    assert told(hear(state, changed, 2)) == [("hook", "due")]
    assert told(hear(state, changed, 3)) == [("hook", "waiting")]


def test_a_pay_out_has_a_lane_of_its_own_and_its_owner_hears_where_it_stands() -> None:
    state = knowing(HOOK, busy=[("hook", "c1")])
    status = PayoutStatusChanged(
        payout_id="p1", owner="shop", seller_account="s1", currency="EUR", amount=Money(1, "EUR"), status="paid"
    )
    [delivery] = hear(state, status)
    assert (delivery.lane, delivery.state) == ("p1", "due")
    assert json.loads(delivery.body)["type"] == "payout.status_changed"
    assert json.loads(delivery.body)["data"]["amount"] == {"amount": "0.01", "currency": "EUR"}
    no = PayoutRefused(payout_id="p1", owner="shop", code="unknown_seller", detail="")
    assert told(hear(state, no, 2)) == [("hook", "waiting")]


def test_the_owner_of_a_converted_pay_out_hears_what_is_sent_and_at_which_rate() -> None:
    sent = {"payout_currency": "USD", "target": Money(10_770, "USD"), "rate": "1.0825"}
    terms = {"payout_id": "p1", "owner": "shop", "seller_account": "s1", "currency": "EUR", "status": "processing"}
    [delivery] = hear(knowing(HOOK), PayoutStatusChanged(**terms, **sent))
    data = json.loads(delivery.body)["data"]
    assert (data["target"], data["rate"]) == ({"amount": "107.70", "currency": "USD"}, "1.0825")


def test_what_payouts_says_to_other_rooms_goes_to_nobody() -> None:
    assert hear(knowing(HOOK), placed()) == hear(knowing(HOOK), given_up()) == []


def test_an_endpoint_set_in_a_batch_counts_for_what_comes_after_it_there() -> None:
    state = Endpoints()
    assert told(hear(state, COMPLETED, 1)) == []
    hear(state, setting(), 2)
    assert told(hear(state, COMPLETED, 3)) == [("hook", "due")]


def test_the_latest_revision_wins_and_an_endpoint_never_changes_hands() -> None:
    state = knowing(HOOK)
    assert hear(state, setting(endpoint_revision=1)) == []
    assert hear(state, setting(owner="thief")) == []
    [changed] = hear(state, setting())
    assert (changed.url, changed.event_types, changed.secret_versions) == (
        "https://new.example/",
        ("payment.completed",),
        (1, 2),
    )


def test_a_test_goes_to_one_endpoint_whatever_it_wants_and_blocks_no_payment() -> None:
    state = knowing(replace(HOOK, event_types=()), replace(HOOK, endpoint_id="second"))
    [delivery] = hear(state, WebhookTestRequested(endpoint_id="hook", owner="shop"))
    assert (delivery.event_type, delivery.endpoint_id, delivery.state) == ("webhook.test", "hook", "due")
    assert hear(state, WebhookTestRequested(endpoint_id="hook", owner="thief")) == []
    assert hear(knowing(), WebhookTestRequested(endpoint_id="hook", owner="shop")) == []


@pytest.mark.parametrize(
    ("was", "lane_is_busy", "becomes"),
    [
        ("delivered", False, "due"),
        ("given_up", True, "waiting"),
        ("cancelled", False, "due"),
        ("due", True, "due"),
        ("waiting", True, "waiting"),
    ],
)
def test_a_resend_starts_anew_in_its_lane(was: str, lane_is_busy: bool, becomes: str) -> None:
    busy = [("hook", "c1")] if lane_is_busy else []
    state = knowing(HOOK, busy=busy, sent=[SentDelivery("d1", "hook", "c1", was)])
    changes = hear(state, WebhookResendRequested(endpoint_id="hook", owner="shop", delivery_id="d1"))
    assert [change for change in changes if isinstance(change, Resend)] == [Resend("d1", becomes, NOW)]
    assert told(hear(state, COMPLETED, 2)) == [("hook", "waiting")], "the lane is busy with it now"


@pytest.mark.parametrize(
    "wish",
    [
        WebhookResendRequested(endpoint_id="hook", owner="thief", delivery_id="d1"),
        WebhookResendRequested(endpoint_id="second", owner="shop", delivery_id="d1"),
        WebhookResendRequested(endpoint_id="hook", owner="shop", delivery_id="d2"),
    ],
)
def test_what_is_not_the_owners_is_not_resent(wish: WebhookResendRequested) -> None:
    state = knowing(HOOK, replace(HOOK, endpoint_id="second"), sent=[SentDelivery("d1", "hook", "c1", "delivered")])
    assert hear(state, wish) == []


# ── the ladder ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_failure_is_tried_again_for_24_hours_and_then_given_up() -> None:
    ladder = WebhookLimits().ladder_s
    failed = Outcome(5, 503, "HTTP 503")
    at = NOW
    for tries in range(1, len(ladder) + 1):
        state, due = next_state(failed, tries, ladder, at)
        assert state == "due"
        assert 0.9 <= (due - at).total_seconds() / ladder[tries - 1] <= 1.1
        at += timedelta(seconds=ladder[tries - 1])
    assert at - NOW == timedelta(hours=24)
    assert next_state(failed, len(ladder) + 1, ladder, at) == ("given_up", at)
    assert next_state(Outcome(5, 204, None), 3, ladder, NOW) == ("delivered", NOW)


# ── signatures ───────────────────────────────────────────────────────────────────────────────────────────────────────

# The example of the Standard Webhooks libraries' own tests.
SECRET, ID, STAMP = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def headers(**changed: str) -> dict[str, str]:
    given = {"webhook-id": ID, "webhook-timestamp": str(STAMP), "webhook-signature": SIGNATURE}
    return given | {f"webhook-{name}": value for name, value in changed.items()}


def test_the_signature_is_that_of_the_standard() -> None:
    assert sign([secret_key(SECRET)], ID, STAMP, BODY) == SIGNATURE
    assert secret_text(secret_key(SECRET)) == SECRET


def test_with_two_secrets_either_is_believed() -> None:
    old, new = secret_key(SECRET), b"n" * 32
    both = headers(signature=sign([old, new], ID, STAMP, BODY))
    assert [verify([key], both, BODY, STAMP) for key in (old, new)] == [None, None]
    assert verify([b"x" * 32], both, BODY, STAMP) == "no signature fits"


@pytest.mark.parametrize(
    ("changed", "body", "after_s"),
    [
        ({"id": "msg_other"}, BODY, 0),
        ({"id": ""}, BODY, 0),
        ({"timestamp": str(STAMP + 1)}, BODY, 0),
        ({"timestamp": "soon"}, BODY, 0),
        ({"signature": ""}, BODY, 0),
        ({"signature": SIGNATURE.replace("v1", "v2")}, BODY, 0),
        ({"signature": "v1,ü"}, BODY, 0),
        ({}, BODY + b" ", 0),
        ({}, BODY, 301),
        ({}, BODY, -301),
    ],
)
def test_what_was_changed_on_its_way_or_is_old_is_not_believed(
    changed: dict[str, str], body: bytes, after_s: int
) -> None:
    assert verify([secret_key(SECRET)], headers(**changed), body, STAMP + after_s) is not None
    assert verify([secret_key(SECRET)], headers(), BODY, STAMP + 299) is None


def test_each_endpoint_owner_and_version_has_a_secret_of_its_own() -> None:
    settings = load_settings(secret="the installation's")
    keys = {settings.webhook_key(*each) for each in (("a", "h", 1), ("a", "h", 2), ("a", "i", 1), ("b", "h", 1))}
    assert len(keys) == 4
    assert {len(base64.b64decode(secret_text(key)[6:])) for key in keys} == {32}


# ── addresses ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example/hooks?a=1",
        "https://shop.example:8443",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]/",
        "https://xn--bcher-kva.example./",
    ],
)
def test_public_https_addresses_are_fit(url: str) -> None:
    assert url_fault(url, http_allowed=False, allowed=()) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "shop.example",
        "http://shop.example/",
        "file:///etc/passwd",
        "https://",
        "https://shop..example/",
        "https://shop.example:0/",
        "https://shop.example:99999/",
        "https://ann:secret@shop.example/",
        "https://shop.example/#part",
        "https://shop.example\\@10.0.0.1/",
        "https://shop.example/a b",
        "https://bücher.example/",
        "https://shop.example/" + "x" * 2000,
        "https://127.0.0.1/",
        "https://0.0.0.0/",
        "https://10.1.2.3/",
        "https://172.16.0.1/",
        "https://192.168.1.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://100.64.0.1/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://127.1/",
        "https://0177.0.0.1/",
        "https://[::1]/",
        "https://[::]/",
        "https://[fe80::1]/",
        "https://[fc00::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::10.0.0.1]/",
        "https://[2002:0a00:0001::]/",
        "https://[fec0::1]/",
        "https://[5f00::1]/",
        "https://[::127.0.0.1]/",
        "https://[::ffff:0:7f00:1]/",
        "https://[64:ff9b:1:7f00:0:100:808:808]/",
    ],
)
def test_what_points_inwards_or_is_no_plain_https_url_is_not_fit(url: str) -> None:
    assert url_fault(url, http_allowed=False, allowed=()) is not None


def test_settings_may_allow_a_network_and_http() -> None:
    allowed = (ip_network("10.20.0.0/16"),)
    assert url_fault("http://10.20.3.4/", http_allowed=True, allowed=allowed) is None
    assert url_fault("http://[::ffff:10.20.3.4]/", http_allowed=True, allowed=allowed) is None
    assert url_fault("http://10.21.3.4/", http_allowed=True, allowed=allowed) is not None
