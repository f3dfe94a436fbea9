"""Whatever a PSP loses, delays, repeats, contradicts, takes back, does again and disputes: the books end as its own.

Episodes are seeded: TALLY_EPISODES of them (2,000), from TALLY_SEED on (drawn, and printed).
"""

from __future__ import annotations

import os
import random

from tests.unit.model_order import run

EPISODES = int(os.environ.get("TALLY_EPISODES", "2000"))
RARE = {
    "CaptureReversed",
    "RefundReversed",
    "ChargebackWon",
    "PaymentVoided",
    "AuthorisationExpired",
    "OutcomeUnresolved",
    "declared_captured",
    "declared_failed",
}


def test_whatever_the_psp_does_the_books_end_as_its_own() -> None:
    first = int(os.environ.get("TALLY_SEED") or random.randrange(10**9))
    print(f"TALLY_SEED={first} TALLY_EPISODES={EPISODES}")
    said = run(range(first, first + EPISODES))
    print(dict(said))
    assert RARE - {*said} == set(), "every kind of thing happened"
