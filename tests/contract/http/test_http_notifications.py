"""PSPs' webhooks at the door: believed only where signed, stored before the 2xx, once however often they come."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from producers.trimming import trim
from psp.webhooks import TOLERANCE_S, mac
from tests.contract.http.door import Door, Reply, open_door
from tests.northpay import charge
from topics.payout_accounts import PayoutProviderAccount
from topics.runtime.shape.store import Store
from topics.settings import PspAccount, Settings

OLD, NEW = "the-old-secret-0123", "the-new-secret-0123"
SECRETS = (OLD, NEW)


def event(event_id: str, **changes: object) -> bytes:
    return json.dumps({"id": event_id, "type": "charge.updated", "data": charge("ab" * 16), **changes}).encode()


@dataclass
class Hooks:
    """Northpay, telling."""

    door: Door

    def tell(self, body: bytes, secret: str = NEW, ago_s: int = 0, psp: str = "northpay", **headers: str) -> Reply:
        at = int(time.time()) - ago_s
        signed = {f"{psp.capitalize()}-Signature": f"t={at},v1={mac(secret, at, body).hex()}"}
        return self.door.send("POST", f"/v1/psp-notifications/{psp}", body, {**signed, **headers}, key="")

    def rows(self, event_id: str) -> list[tuple[object, ...]]:
        options = "-c search_path=doors"
        with psycopg.connect(self.door.settings.dsn("tally_doors"), options=options, autocommit=True) as conn:
            return conn.execute(
                "SELECT body, event_id IS NOT NULL FROM notifications WHERE notification_id = %s", [event_id]
            ).fetchall()


@pytest.fixture(scope="module")
def hooks(http_stack: Settings) -> Iterator[Hooks]:
    account = PspAccount(
        name="northpay", adapter="northpay", url="http://127.0.0.1:1", api_key="key", webhook_secrets=SECRETS
    )
    provider = PayoutProviderAccount(
        name="harbour",
        adapter="harbour",
        url="http://127.0.0.1:1",
        api_key="key",
        webhook_secrets=SECRETS,
        bank_account="main",
    )
    update = {"psps": (account,), "payout_providers": (provider,)}
    with open_door(http_stack.model_copy(update=update)) as door:
        yield Hooks(door)


@pytest.mark.parametrize("secret", SECRETS)
def test_any_active_secret_signs_and_what_is_told_is_kept_as_it_came(hooks: Hooks, secret: str) -> None:
    body = event(f"evt_{secret}")
    assert hooks.tell(body, secret).status == 202
    assert hooks.rows(f"evt_{secret}") == [(body, True)]


def test_a_repeat_is_taken_and_stored_once(hooks: Hooks) -> None:
    assert [hooks.tell(event("evt_twice")).status for _ in range(3)] == [202, 202, 202]
    assert len(hooks.rows("evt_twice")) == 1


def test_the_same_id_with_another_body_is_not_lost(hooks: Hooks) -> None:
    hooks.tell(event("evt_reused"))
    hooks.tell(event("evt_reused", data=charge("cd" * 16)))
    assert len(hooks.rows("evt_reused")) == 2


def test_what_was_told_long_ago_is_deleted_and_a_repeat_after_that_is_taken_anew(hooks: Hooks) -> None:
    hooks.tell(event("evt_old"))
    assert trimmed(hooks, days=89) == 0
    assert trimmed(hooks, days=91) > 0
    assert hooks.rows("evt_old") == []
    assert hooks.tell(event("evt_old")).status == 202
    assert len(hooks.rows("evt_old")) == 1


def trimmed(hooks: Hooks, days: int) -> int:
    with closing(Store(hooks.door.settings, "doors")) as store, store.transaction() as conn:
        return trim(conn, hooks.door.settings.retention, datetime.now(UTC) + timedelta(days=days))


@pytest.mark.parametrize(
    "how",
    [
        {"secret": "a-secret-of-nobody"},
        {"ago_s": TOLERANCE_S + 30},
        {"ago_s": -TOLERANCE_S - 30},
        {"Northpay-Signature": "t=x,v1=zz"},
        {"Northpay-Signature": ""},
    ],
)
def test_what_is_not_signed_as_agreed_is_refused_and_not_stored(hooks: Hooks, how: dict[str, object]) -> None:
    refused = hooks.tell(event("evt_forged"), **how)  # type: ignore[arg-type]
    assert (refused.status, refused.json["code"]) == (401, "invalid_signature")
    assert refused.headers["content-type"] == "application/problem+json"
    assert hooks.rows("evt_forged") == []


def test_a_provider_s_webhook_is_kept_where_it_is_signed_with_the_provider_s_secret(hooks: Hooks) -> None:
    transfer = {
        "id": "tr_1",
        "status": "paid",
        "code": None,
        "amount": 12_000,
        "returned_amount": None,
        "currency": "EUR",
        "reference": "ef" * 16,
        "payout": "payout-1",
        "created": 1_772_366_400,
    }
    body = json.dumps({"id": "evt_transfer", "type": "transfer.paid", "data": transfer}).encode()
    assert hooks.tell(body, "a-secret-of-nobody", psp="harbour").status == 401
    assert hooks.rows("evt_transfer") == []
    assert [hooks.tell(body, psp="harbour").status for _ in range(2)] == [202, 202]
    assert hooks.rows("evt_transfer") == [(body, True)]


def test_a_signature_is_of_these_bytes(hooks: Hooks) -> None:
    at = int(time.time())
    signed = f"t={at},v1={mac(NEW, at, event('evt_other')).hex()}"
    assert hooks.tell(event("evt_bytes"), **{"Northpay-Signature": signed}).status == 401


def test_a_psp_that_we_do_not_have_is_not_found(hooks: Hooks) -> None:
    assert hooks.tell(event("evt_1"), psp="westpay").json["code"] == "not_found"


def test_a_body_past_the_limit_is_refused(hooks: Hooks) -> None:
    assert hooks.tell(b" " * 300_000).json["code"] == "body_too_large"


def test_what_we_do_not_read_is_kept_and_moves_nothing(hooks: Hooks) -> None:
    body = event("evt_payout", type="payout.paid")
    assert hooks.tell(body).status == 202
    assert hooks.rows("evt_payout") == [(body, False)]


def test_a_genuine_body_that_is_no_json_is_kept_too(hooks: Hooks) -> None:
    assert hooks.tell(b"not json").status == 202
