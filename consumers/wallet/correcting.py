"""(wallets, a correction that persons have approved) → one movement for each of its wallets. Pure."""

from __future__ import annotations

from typing import Literal

from consumers.wallet.wallet import Change, Movement, Wallets, after, movement_id_of
from schemas.corrections import CorrectionApproved, check
from schemas.errors import Permanent
from schemas.money_back import WalletCorrected
from topics.runtime.shape.consumer import Cause, Decision

CORRECTED: Literal["corrected"] = "corrected"


def correct(state: Wallets, event: CorrectionApproved, cause: Cause) -> Decision:
    """Move each wallet once, below zero if need be: a correction is a fact. What a wallet gets is available at once.

    Errors: Permanent `movement_differs` if it has moved a wallet by another amount; those of `schemas.corrections.check`.
    """
    check(event)
    changes: list[Change] = []
    said: list[WalletCorrected] = []
    for place, (seller, amount) in enumerate((each.seller_account, each.amount) for each in event.movements):
        wallet = state.wallets[seller, amount.currency]
        before = state.movements.get((event.correction_id, CORRECTED, wallet.name))
        if before is not None:
            _check_same(before, amount.minor)
            continue
        moved = wallet.add(amount)
        movement = Movement(
            movement_id_of(cause, place),
            CORRECTED,
            event.correction_id,
            wallet.name,
            None,
            cause.event_id,
            cause.now,
            amount,
            moved,
        )
        changes += [moved, movement]
        said.append(
            WalletCorrected(wallet=wallet.name, correction_id=event.correction_id, amount=amount, **after(movement))
        )
    return Decision(changes, said, revision=1) if changes else Decision()


def _check_same(before: Movement, minor: int) -> None:
    """Ignore the same correction under another event id."""
    if before.amount.minor != minor:
        raise Permanent("movement_differs", f"{before.subject_id} has moved {before.part} by {before.amount}")
