"""The views of payouts → pay-outs for operators' commands."""

from __future__ import annotations

from typing import Any

from operations.cli.letters.choosing import failed
from schemas.money import Money
from topics.runtime.shape.reading import read
from topics.settings import Settings

_COLUMNS = (
    "payout_id, owner, seller_account, status, detail AS code, currency, amount, destination_type, destination_country,"
    " destination_masked, destination_fingerprint, sha256, description, requested_by, destination_changed_by,"
    " destination_changers,"
    " approvals_needed, approvals_given, payout_currency, target, rate, stop, provider_reference, received_at, changed_at"
)


def payouts(settings: Settings, where: str, values: list[object]) -> list[dict[str, Any]]:
    """With amounts as decimals, "all" where the wallet has not said how much."""
    rows = read(settings, "payouts", f"SELECT {_COLUMNS} FROM payout_view {where}", values)
    return [row | {"amount": _amount(row), "target": _target(row)} for row in rows]


def _amount(row: dict[str, Any]) -> str:
    return "all" if row["amount"] is None else Money(row["amount"], row["currency"]).amount


def _target(row: dict[str, Any]) -> str | None:
    return None if row["target"] is None else Money(row["target"], row["payout_currency"]).amount


def one(settings: Settings, payout_id: str) -> dict[str, Any]:
    """Exits 1 where there is none."""
    found = payouts(settings, "WHERE payout_id = %s", [payout_id])
    if not found:
        raise failed(f"tally: no pay-out is called {payout_id} (`tally payouts list` shows the newest)")
    return found[0]


def whole(settings: Settings, payout_id: str) -> dict[str, Any]:
    """One with its screenings, approvals and releases, the oldest first. Exits 1 where there is none."""
    found = one(settings, payout_id)
    for name, statement in (
        (
            "screenings",
            "SELECT screen_no, outcome, rule, list_version, score, actor, decided_at, counts FROM screening_view"
            " WHERE payout_id = %s ORDER BY screen_no, decided_at",
        ),
        (
            "releases",
            "SELECT release_no, provider, released_at, deadline, approvals_needed, approvals, outcome, code, outcome_at,"
            " target, rate, spread_bps, cost FROM release_view WHERE payout_id = %s ORDER BY release_no",
        ),
    ):
        found[name] = read(settings, "payouts", statement, [payout_id])
    found["releases"] = [release | _conversion(found, release) for release in found["releases"]]
    return found | {"approvals": approvals(settings, payout_id)}


def _conversion(payout: dict[str, Any], release: dict[str, Any]) -> dict[str, str | None]:
    """What a release sends, what that has cost, and what is kept of it, as decimals."""
    if release["target"] is None:
        return {"target": None, "cost": None, "spread": None}
    cost = Money(release["cost"], payout["currency"])
    spread = Money.parse(payout["amount"], payout["currency"]) - cost
    return {"target": _target(payout | release), "cost": cost.amount, "spread": spread.amount}


def approvals(settings: Settings, payout_id: str) -> list[dict[str, Any]]:
    """What persons have said of it, the oldest first."""
    return read(
        settings,
        "payouts",
        "SELECT event_id::text, approver, decision, sha256, reason, at, why_not FROM approval_view WHERE payout_id = %s"
        " ORDER BY at, event_id",
        [payout_id],
    )
