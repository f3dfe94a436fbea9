"""Whatever a provider loses, delays, repeats, lies about or sends back, and whoever approves, cancels or freezes: each pay-out is
sent once, after every gate, and all books end as the provider's own.

Episodes are seeded: TALLY_EPISODES of them (400), from TALLY_SEED on (drawn, and printed).
"""

from __future__ import annotations

import os
import random

from tests.unit.model_payouts import run

EPISODES = int(os.environ.get("TALLY_EPISODES", "400"))
RARE = {
    "FundsAvailable",
    "FundsReturned",
    "PayoutNotSent",
    "PayoutReturned",
    "PayoutRiskRefused",
    "PayoutUnresolved",
    "PayoutWithdrawn",
}


def test_whatever_a_provider_and_persons_do_each_pay_out_is_sent_once_and_the_books_end_as_the_providers() -> None:
    first = int(os.environ.get("TALLY_SEED") or random.randrange(10**9))
    print(f"TALLY_SEED={first} TALLY_EPISODES={EPISODES}")
    said = run(range(first, first + EPISODES))
    print(dict(said))
    assert RARE - {*said} == set(), "every kind of thing happened"
