"""Rates and tokens → which charges go wrong."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from simulator.faults import Faults, FaultsError
from simulator.tokens import Card, Fault, read_token


def test_rates_are_shares_of_charges() -> None:
    faults = Faults().with_changes({"timeout_charged": 0.1, "garbage": 0.3})
    rng = random.Random(7)
    drawn = Counter(faults.of("charge").draw(rng) for _ in range(10_000))
    assert set(drawn) == {None, Fault.TIMEOUT_CHARGED, Fault.GARBAGE}
    assert drawn[Fault.TIMEOUT_CHARGED] == pytest.approx(1000, rel=0.15)
    assert drawn[Fault.GARBAGE] == pytest.approx(3000, rel=0.1)


def test_a_change_leaves_other_rates_and_clear_drops_them_but_not_down() -> None:
    faults = Faults().with_changes({"slow": 0.5, "down": True}).with_changes({"garbage": 0.2})
    assert faults.of("charge").rates == {Fault.SLOW: 0.5, Fault.GARBAGE: 0.2}
    cleared = faults.with_changes({"clear": True, "latency_ms": 5})
    assert (cleared.by_op, cleared.latency_ms, cleared.down) == ({}, 5.0, True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"slow": 1.1},
        {"slow": -0.1},
        {"slow": True},
        {"slow": "0.1"},
        {"slow": 0.6, "garbage": 0.6},
        {"earthquake": 0.1},
        {"down": 1},
        {"latency_ms": 60_001},
    ],
)
def test_faults_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(FaultsError):
        Faults().with_changes(wrong)


@pytest.mark.parametrize(
    ("token", "card"),
    [
        ("tok_amex", Card("amex")),
        ("tok_declined_lost_card", Card("visa", "lost_card")),
        ("tok_declined_visa", Card("visa", "visa")),
        ("tok_429_once", Card("visa", first_try=Fault.TOO_MANY)),
        ("tok_503_once_discover", Card("discover", first_try=Fault.UNAVAILABLE)),
        ("tok_slow_mastercard", Card("mastercard", first_try=Fault.SLOW)),
        ("tok_timeout_uncharged", Card("visa", first_try=Fault.TIMEOUT_UNCHARGED)),
        ("tok_429", Card(None, "invalid_token")),
        ("visa", Card(None, "invalid_token")),
        ("tok_visa_visa", Card(None, "invalid_token")),
    ],
)
def test_what_a_token_does(token: str, card: Card) -> None:
    assert read_token(token) == card
