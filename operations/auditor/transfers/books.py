"""The rows of pay-outs that the checks compare: as the executor sent them, as their providers list them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple


class SentPayout(NamedTuple):
    """A pay-out as the executor has it, in its present release. The amount is what was sent."""

    release_no: int
    call_id: str
    provider: str
    state: str
    amount: int
    currency: str
    returned: int | None
    provider_reference: str | None
    checking: str | None

    @property
    def is_asked_about(self) -> bool:
        """Whether the provider has contradicted itself, and the answer of the last check is awaited."""
        return self.checking in ("open", "again")


class PayoutCall(NamedTuple):
    """A call of a pay-out: a release of it, or a question about one."""

    call_id: str
    kind: str
    is_open: bool


class Line(NamedTuple):
    """A transfer in a provider's listing."""

    provider: str
    payout_id: str
    provider_reference: str
    status: str
    amount: int
    currency: str
    returned: int | None


@dataclass(slots=True)
class TransferBooks:
    """By pay-out, and by our reference."""

    payouts: dict[str, SentPayout] = field(default_factory=dict)
    banks: Collection[str] = ()  # get pay-outs as files
    calls: dict[str, list[PayoutCall]] = field(default_factory=lambda: defaultdict(list))
    listed: dict[str, list[Line]] = field(default_factory=lambda: defaultdict(list))

    def releases(self, payout_id: str) -> list[PayoutCall]:
        return [call for call in self.calls.get(payout_id, []) if call.kind == "payout"]

    def lines_of(self, payout_id: str) -> list[Line]:
        """What the providers list under the references of all its releases."""
        return [line for call in self.releases(payout_id) for line in self.listed.get(call.call_id, [])]
