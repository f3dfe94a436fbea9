"""The wallet's and payouts' views → what one seller's payability is computed from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, LiteralString

from producers.payability import Books, Held, Payability, Payout, Reserved, Rules, Wallet
from producers.reading import Row
from schemas.money import Money
from topics.settings import Settings

# One statement, so that all of it is one snapshot: else the lines would not add up to the total.
WALLET: LiteralString = """
SELECT 'wallet' AS what, currency, available, pending, reserved, NULL::text AS payout_id, NULL::timestamptz AS until
FROM wallet_view WHERE seller_account = %(seller)s
UNION ALL
SELECT share, currency, 0, sum(remaining)::bigint, 0, NULL, available_from
FROM holding_view WHERE seller_account = %(seller)s AND released_by IS NULL AND remaining > 0
GROUP BY share, currency, available_from
UNION ALL
SELECT 'reserved', currency, 0, 0, amount, payout_id, NULL
FROM reservation_view WHERE seller_account = %(seller)s AND state = 'reserved'
"""
# Those that have not ended, those of which the wallet has not heard that they have, and the breaks that hold them all.
PAYOUTS: LiteralString = """
SELECT currency, payout_id, status, CASE WHEN is_all THEN NULL ELSE amount END AS asked
FROM payout_view WHERE seller_account = %(seller)s AND ended IS NULL
UNION
SELECT currency, payout_id, status, CASE WHEN is_all THEN NULL ELSE amount END
FROM payout_view WHERE payout_id = ANY(%(reserved)s) AND seller_account = %(seller)s
UNION
SELECT '', break_id, 'break', NULL FROM hold_view WHERE seller_account = %(seller)s AND is_open
"""


def reserved_in(rows: Sequence[Row]) -> list[str]:
    """The pay-outs for which the wallet keeps something."""
    return [row["payout_id"] for row in rows if row["what"] == "reserved"]


def books_of(rows: Sequence[Row], payouts: Sequence[Row]) -> Books:
    """The rows of WALLET and of PAYOUTS."""
    return Books(
        [Wallet(*(row[name] for name in Wallet._fields)) for row in rows if row["what"] == "wallet"],
        [Held(row["currency"], row["what"], row["pending"], row["until"]) for row in rows if row["until"] is not None],
        [Reserved(row["currency"], row["payout_id"], row["reserved"]) for row in rows if row["what"] == "reserved"],
        [Payout(**row) for row in payouts if row["status"] != "break"],
        any(row["status"] == "break" for row in payouts),
    )


def rules_of(settings: Settings) -> Rules:
    """What the installation chooses, as the room of pay-outs goes by it."""
    chosen = settings.payouts
    minimum = {currency: Money.parse(amount, currency).minor for currency, amount in chosen.minimum.items()}
    cooling = timedelta(seconds=chosen.destination_cooling_s)
    return Rules(settings.payout_providers, minimum, cooling, settings.payout_countries_blocked, settings.fx)


def shown(found: Payability) -> dict[str, Any]:
    """Amounts as decimal numbers."""

    def decimal(minor: int) -> str:
        return Money(minor, found.currency).amount

    return {
        "currency": found.currency,
        "total": decimal(found.total),
        "payable_now": decimal(found.payable_now),
        "more_on": found.more_on,
        "lines": [
            {
                "reason": line.reason,
                "amount": decimal(line.amount),
                "until": line.until,
                "whose_turn": line.whose,
                "payout_id": line.payout_id,
                "payout_status": line.status,
            }
            for line in found.lines
        ],
    }
