"""What is stuck, told: which order of which payment, of which letter how much money, and the gauges that go back to none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from consumers.payments.stuck import Open, past_limits
from schemas.events import AnyEvent
from schemas.journals import JournalPosted, LedgerEntry
from schemas.money import Money, sums
from tests.unit.payment_cases import cleared, requested
from topics.runtime.process.stuck import LOGGED_MAX, StuckWatch
from topics.runtime.shape.limits import StuckLimits
from topics.runtime.shape.stuck import Stuck

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
LIMITS = StuckLimits()


def open_order(age_s: int, payment_status: str = "executing", **changed: Any) -> Open:
    at = NOW - timedelta(seconds=age_s)
    order = Open(
        *("c1", payment_status, at, NOW + timedelta(hours=1), "o1", 1000, "EUR", "EXECUTING", ""),
        *(False, False, None, None),
    )
    return order._replace(**changed)


def seen(*orders: Open) -> list[tuple[str, str]]:
    return [(one.id, one.state) for one in past_limits(orders, LIMITS, NOW)]


@pytest.mark.parametrize(
    ("order", "state"),
    [
        (open_order(LIMITS.risk_s - 1, "received", status="NOT_STARTED"), None),
        (open_order(LIMITS.risk_s, "received", status="NOT_STARTED"), "risk"),
        (open_order(1, "in_review", status="NOT_STARTED"), "review"),
        (open_order(LIMITS.executing_s - 1), None),
        (open_order(LIMITS.executing_s), "executing"),
        (open_order(9**6, detail="pending"), None),
        (open_order(9**6, detail="unknown"), None),
        (open_order(9**6, detail="unresolved"), None),
        (open_order(9**6, status="FAILED", detail="declined"), None),
        (open_order(9**6, status="SUCCESS", captured_at=NOW - timedelta(seconds=LIMITS.booking_s - 1)), None),
        (open_order(9**6, status="SUCCESS", captured_at=NOW - timedelta(seconds=LIMITS.booking_s)), "booking"),
        (open_order(9**6, status="SUCCESS", captured_at=NOW, wallet_updated=True, ledger_updated=True), None),
    ],
)
def test_an_order_is_stuck_from_its_limit_on(order: Open, state: str | None) -> None:
    assert [name for _, name in seen(order)] == ([] if state is None else [state])


def test_a_payment_that_waits_for_risk_is_one_thing_with_all_its_money() -> None:
    waits = open_order(500, "received", status="NOT_STARTED")
    [one] = past_limits([waits, waits._replace(gross=5), waits._replace(currency="JPY")], LIMITS, NOW)
    assert (one.id, one.age_s, [*map(str, one.amounts)]) == ("c1", 500, ["10.05 EUR", "1000 JPY"])
    assert "deadline, 2026-01-05 13:00:00 UTC" in one.next


def test_a_booking_says_which_room_owes_it() -> None:
    old = NOW - timedelta(days=1)
    neither = open_order(9**5, status="SUCCESS", captured_at=old)
    assert "wallet and ledger" in past_limits([neither], LIMITS, NOW)[0].next
    assert "when ledger has" in past_limits([neither._replace(wallet_updated=True)], LIMITS, NOW)[0].next
    assert past_limits([neither], LIMITS, NOW)[0].age_s == 86_400


def entries(*of: tuple[str, int, str]) -> JournalPosted:
    made = tuple(LedgerEntry(account="a", direction=d, amount=Money(n, c)) for d, n, c in of)
    return JournalPosted.model_construct(entries=made)


@pytest.mark.parametrize(
    ("event", "amounts"),
    [
        (requested(orders=3), ["30.00 EUR"]),
        (entries(("debit", 100, "EUR"), ("credit", 90, "EUR"), ("credit", 10, "EUR")), ["1.00 EUR"]),
        (cleared(), []),
    ],
)
def test_what_an_event_is_about_in_money(event: AnyEvent, amounts: list[str]) -> None:
    assert [*map(str, event.money())] == amounts


def test_sums_keep_currencies_apart() -> None:
    assert sums([Money(1, "USD"), Money(2, "EUR"), Money(3, "USD")]) == (Money(2, "EUR"), Money(4, "USD"))


def gauge(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"room": "unit", "psp": "", **labels})


def stuck(number: int, age_s: int = 60) -> Stuck:
    return Stuck("unit", f"o{number}", "c1", None, "executing", (Money(1000, "EUR"),), age_s, "soon")


def test_each_is_logged_once_and_the_gauges_go_back_to_none() -> None:
    watch = StuckWatch()
    with capture_logs() as first:
        watch.look([stuck(1), stuck(2, age_s=90)])
    with capture_logs() as second:
        watch.look([stuck(1), stuck(3)])
    assert [line["id"] for line in first] == ["o1", "o2"]
    assert [(line["id"], line["amounts"], line["next"]) for line in second] == [("o3", ["10.00 EUR"], "soon")]
    assert gauge("tally_stuck", state="executing") == 2
    assert gauge("tally_stuck_minor_units", state="executing", currency="EUR") == 2000
    assert gauge("tally_stuck_oldest_seconds", state="executing") == 60
    watch.look([])
    assert gauge("tally_stuck", state="executing") == 0
    assert gauge("tally_stuck_minor_units", state="executing", currency="EUR") == 0
    assert gauge("tally_stuck_oldest_seconds", state="executing") == 0


def test_a_bad_day_does_not_fill_the_log() -> None:
    with capture_logs() as lines:
        StuckWatch().look([stuck(number) for number in range(LOGGED_MAX + 5)])
    assert len(lines) == LOGGED_MAX + 1
    assert lines[-1]["number"] == 5
