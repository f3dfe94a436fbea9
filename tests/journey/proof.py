"""The end of a run: what happened, printed; every book compared; the auditor's verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tests.journey.books import discrepancies, drops, verdict
from tests.journey.mischief import Copier
from tests.journey.shopping import Checkout
from tests.journey.till import Till, differing
from topics.settings import Settings


def prove(
    settings: Settings,
    till: Till,
    asked: Sequence[Checkout],
    copier: Copier,
    seed: int,
    faults: Mapping[str, int],
    more: Mapping[str, float] | None = None,
) -> None:
    """Everyone can see how each payment ended; PSPs and stores agree to the cent; repeats came, and were dropped."""
    unlike, dropped = differing(till, asked), drops(settings)
    wrong, found = discrepancies(settings, asked), verdict(settings)
    told = {
        "seed": seed,
        "faults": dict(sorted(faults.items())),
        "payments_offered": len(asked),
        "payments_finished": len(asked) - len(unlike),
        "asked_again": till.tries,
        "messages_copied": copier.copies,
        "redeliveries_due": copier.drops_due,
        "inbox_drops": dropped,
        **(more or {}),
        "discrepancies": wrong,
        "auditor": found or "ok",
    }
    print(json.dumps(told), flush=True)
    assert unlike == []
    assert wrong == []
    assert found == []
    assert dropped >= copier.drops_due > 0, "every repeat was dropped, and there were some"
