"""Books → disputes on which the executor and the PSPs' listings do not agree. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from operations.auditor.engine.findings import Finding
from operations.auditor.money_back.books import Books

CHECK = "disputes_known"
NOT_TAKEN_UP = ("waiting", "orphaned")


def compare_disputes(books: Books) -> Iterator[Finding]:
    """Compare each stage that a PSP lists with the executor's, in both directions."""
    ours = {(stage.psp, stage.reference, stage.stage): stage for stage in books.stages.values()}
    for key, line in books.disputes.items():
        stage, name = ours.get(key), f"dispute {key[1]} stage {key[2]} at {line.psp}"
        if stage is None:
            yield Finding(CHECK, line.order_id, f"{name} is not known here")
        elif (stage.amount, stage.currency) != (line.amount, line.currency):
            yield Finding(CHECK, stage.order_id, f"{name} is of {line.amount} there, of {stage.amount} here")
        elif stage.state not in NOT_TAKEN_UP and stage.checking is None and stage.state != line.status:
            yield Finding(CHECK, stage.order_id, f"{name} is {line.status} there, {stage.state} here")
    for key, stage in ours.items():
        if key not in books.disputes:
            yield Finding(CHECK, stage.order_id, f"dispute {key[1]} stage {key[2]} is not in {stage.psp}'s listing")
