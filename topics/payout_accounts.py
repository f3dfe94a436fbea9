"""The accounts through which pay-outs leave, as settings name them: providers with an HTTP interface, and banks by files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from schemas.payouts import SealedDestination

SATURDAY = 5


def _check_secret_lengths(secrets: tuple[str, ...]) -> tuple[str, ...]:
    if any(len(secret) < 16 for secret in secrets):
        raise ValueError("a webhook secret has at least 16 characters")
    return secrets


WebhookSecrets = Annotated[tuple[str, ...], AfterValidator(_check_secret_lengths)]  # any of them is valid


class PayoutAccount(BaseModel):
    """What providers and banks have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")  # unique among PSPs, providers and banks
    currencies: frozenset[str] | None = None  # None: all
    countries: frozenset[str] | None = None  # of the destination; None: all
    bank_account: str = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")  # ours, as the ledger names it

    def takes(self, currency: str, destination: SealedDestination) -> bool:
        """Whether it pays out this currency to there. An account at a provider is reached by that provider alone."""
        is_currency = self.currencies is None or currency in self.currencies
        is_country = self.countries is None or destination.country in self.countries
        return is_currency and is_country and destination.provider in (None, self.name)

    def next_cut_off(self, now: datetime) -> datetime | None:
        """When what waits leaves together; None: each pay-out leaves by itself."""
        return None

    def leaves_from(self, cut_off: datetime) -> datetime:
        """From when on a pay-out may be released for this cut-off."""
        return cut_off


class PayoutProviderAccount(PayoutAccount):
    """How one provider of pay-outs is reached, and which pay-outs it takes."""

    adapter: Literal["harbour"]
    url: str
    api_key: str = Field(repr=False)
    webhook_secrets: WebhookSecrets = Field(default=(), repr=False)  # any of them is valid
    concurrency: int = Field(default=64, ge=1, le=1000)
    rate_per_s: float = Field(default=5000, gt=0)


class DebtorAccount(BaseModel):
    """Our own account at a bank, as its files name it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str  # of its holder, in at most 70 letters of SEPA payments
    iban: str
    bic: str | None = None

    @model_validator(mode="after")
    def _is_account(self) -> Self:
        """The rules of a destination, whose module a process without a bank does not load."""
        from schemas.destinations import IbanAccount

        IbanAccount.model_validate({"type": "iban", "holder": self.name, "iban": self.iban, "bic": self.bic})
        return self


def _absolute(path: Path) -> Path:
    """Errors: ValueError if it is empty: that would be wherever a process was started."""
    if path == Path():
        raise ValueError("names no folder")
    return path.expanduser().absolute()


Folder = Annotated[Path, AfterValidator(_absolute)]


def _are_times(cut_offs: tuple[str, ...]) -> tuple[str, ...]:
    """Errors: ValueError."""
    wrong = next((each for each in cut_offs if re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", each) is None), None)
    if wrong is not None:
        raise ValueError(f"{wrong!r} is no time such as 15:30")
    return tuple(sorted(set(cut_offs)))


class BankFileAccount(PayoutAccount):
    """A bank that gets pay-outs as files (ISO 20022 pain.001) in a folder, and tells in files (pain.002) what became of them.

    Only destinations with an IBAN go there.
    """

    adapter: Literal["pain001"]
    debtor: DebtorAccount
    cut_offs: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_are_times)]  # UTC, Monday to Friday
    release_lead_s: int = Field(default=1800, ge=60, le=86_400)  # so long before a cut-off pay-outs are released for it
    file_max: int = Field(default=1000, ge=1, le=10_000)  # transfers of one file
    out: Folder  # files are put there
    sent: Folder | None = None  # where the bank's client moves what it has taken from there
    statuses: Folder | None = None  # pain.002 files are read from there, and moved to its `done` or `refused`

    @model_validator(mode="after")
    def _folders_differ(self) -> BankFileAccount:
        """What lies in `statuses` is moved away once it is read: a file for the bank would never get there."""
        folders = [folder for folder in (self.out, self.sent, self.statuses) if folder is not None]
        if len(set(folders)) < len(folders):
            raise ValueError("out, sent and statuses must be different folders")
        return self

    def takes(self, currency: str, destination: SealedDestination) -> bool:
        return destination.type == "iban" and super().takes(currency, destination)

    def next_cut_off(self, now: datetime) -> datetime | None:
        """The first one after `now`."""
        days = [now.astimezone(UTC).date() + timedelta(days=ahead) for ahead in range(5)]
        times = [time.fromisoformat(each) for each in self.cut_offs]
        points = [datetime.combine(day, at, UTC) for day in days if day.weekday() < SATURDAY for at in times]
        return min(point for point in points if point > now)

    def leaves_from(self, cut_off: datetime) -> datetime:
        return cut_off - timedelta(seconds=self.release_lead_s)


AnyPayoutAccount = Annotated[PayoutProviderAccount | BankFileAccount, Field(discriminator="adapter")]


def watched_alone(accounts: Sequence[AnyPayoutAccount]) -> None:
    """What lies in a folder of statuses is taken for a report of its bank, and moved away: not so another bank's files.

    Errors: ValueError.
    """
    banks = [each for each in accounts if isinstance(each, BankFileAccount)]
    for bank, other in ((bank, other) for bank in banks for other in banks if bank is not other):
        if bank.statuses is not None and bank.statuses in (other.out, other.sent, other.statuses):
            raise ValueError(f"the folder of {bank.name!r}'s statuses, {bank.statuses}, is also one of {other.name!r}")


PAYOUT_ADAPTERS = ("harbour", "pain001")
