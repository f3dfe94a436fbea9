"""The installation's settings: read once from the environment (`TALLY_…`) at an entry point, and passed down.

docs/configuration.md is made from these classes and those of the rooms.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings.exceptions import SettingsError as Unparsable

from schemas.countries import known_countries
from topics.break_rules import BreakRules
from topics.exchange_rates import FxRate, pairs_once
from topics.payout_accounts import (
    PAYOUT_ADAPTERS,
    AnyPayoutAccount,
    BankFileAccount,
    PayoutProviderAccount,
    WebhookSecrets,
    watched_alone,
)
from topics.payout_rules import PayoutRules
from topics.runtime.shape.limits import Retention, StuckLimits
from topics.settlement_sources import SettlementSource, named_once
from topics.webhooks.limits import WebhookLimits


class SettingsError(Exception):
    """A setting is missing or wrong; the message is one line that names it."""


class PspAccount(BaseModel):
    """How one PSP is reached and how hard it may be pushed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")  # part of account names in the ledger
    adapter: Literal["northpay", "southpay"]
    url: str
    api_key: str = Field(repr=False)
    webhook_secrets: WebhookSecrets = Field(default=(), repr=False)  # any of them is valid
    concurrency: int = Field(default=64, ge=1, le=1000)
    rate_per_s: float = Field(default=5000, gt=0)


def _check_upstream_names(names: frozenset[str]) -> frozenset[str]:
    if any(re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name) is None for name in names):
        raise ValueError("an upstream's name is 1 to 64 letters, digits or any of . _ -")
    return names


Upstreams = Annotated[frozenset[str], AfterValidator(_check_upstream_names)]


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


class _RepeatedMember(Exception):
    """A member is repeated in a JSON object."""


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """→ the object. Errors: _RepeatedMember, also if names differ only in case: JSON readers differ in which value they take."""
    seen: set[str] = set()
    for name, _ in pairs:
        if name.lower() in seen:
            raise _RepeatedMember(f"{name!r:.60} stands twice in one object")
        seen.add(name.lower())
    return dict(pairs)


class _VariablesSource(EnvSettingsSource):
    """Environment variables, some of which hold JSON."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        return json.loads(value, object_pairs_hook=_unique_members)

    def prepare_field_value(self, field_name: str, field: FieldInfo, value: Any, value_is_complex: bool) -> Any:
        """Errors: SettingsError if a member is repeated; ValueError."""
        try:
            return super().prepare_field_value(field_name, field, value, value_is_complex)
        except _RepeatedMember as repeated:
            raise SettingsError(f"TALLY_{field_name.upper()}: {repeated}") from None


_BESIDE = "beside"  # a keyword of Settings that is no field, but a source of values


_DIR = "tally_secrets_dir"


def _secret_files(folder: str | None) -> dict[str, str]:
    """Settings from files, by file name, without a trailing newline. Errors: SettingsError."""
    if folder is None:
        return {}
    try:
        files = [file for file in Path(folder).expanduser().iterdir() if file.name.lower().startswith("tally_")]
        return {file.name.lower(): file.read_text().removesuffix("\n") for file in files}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"TALLY_SECRETS_DIR: {folder} cannot be read: {error}") from None


class Settings(BaseSettings):
    """The settings that all rooms share; a room's own are in `consumers/<room>/settings.py`. Units are in the names."""

    model_config = SettingsConfigDict(
        env_prefix="TALLY_",
        env_nested_delimiter="__",
        frozen=True,
        extra="ignore",
        nested_model_default_partial_update=True,
    )

    home: Annotated[Path, AfterValidator(_absolute)] = Path(".tally")
    kafka: str = "127.0.0.1:9092"
    kafka_options: dict[str, str] = {}  # passed to librdkafka unchanged: security.protocol, sasl.…
    topic_prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,64}$")
    # Partitions of a new topic (default 4; with `tally up` as many as its processes), which never change: the number of a
    # room's processes that can share its work.
    partitions: int | None = Field(default=None, ge=1, le=1000)
    replication_factor: int = Field(default=1, ge=1, le=7)
    postgres: str = "127.0.0.1:5432"  # host:port, or several, separated by commas
    database: str = "tallystick"
    postgres_admin: str = ""  # DSN of a role that may create roles and schemas; only `tally migrate` uses it
    dsns: dict[str, str] = {}  # role name → DSN, where a room's store lives elsewhere
    upstreams: Upstreams = (
        frozenset()
    )  # services that write to topics of their own, payment-requests.<upstream>.v1 for one

    api_host: str = "127.0.0.1"
    api_port: int = Field(default=8000, ge=0, le=65535)
    # Address of a room process's `/metrics` and `/readyz`, which need no key. Port 0: a free one, written to the run folder.
    metrics_host: str = "127.0.0.1"
    # If `tally up` starts several processes, the port of the first; the others get the ports after it.
    metrics_port: int = Field(default=0, ge=0, le=65535)
    payment_deadline_s: int = Field(default=3600, ge=1, le=30 * 86400)

    psps: tuple[PspAccount, ...] = ()
    payout_providers: tuple[AnyPayoutAccount, ...] = ()  # the first that takes a currency and country gets the pay-out
    payouts: PayoutRules = PayoutRules()
    # What a pay-out in another currency than the wallet's is converted at. A release takes the rate of its time.
    fx: Annotated[tuple[FxRate, ...], AfterValidator(pairs_once)] = ()
    # Countries to whose accounts nothing is paid out: doors refuse such a destination, and a pay-out to one that stands already
    # ends refused.
    payout_countries_blocked: Annotated[frozenset[str], AfterValidator(known_countries)] = frozenset(
        {"KP", "IR", "SY", "CU"}
    )
    # The PSP and bank accounts whose settlement files and statements are reconciled.
    settlement_sources: Annotated[tuple[SettlementSource, ...], AfterValidator(named_once)] = ()
    breaks: BreakRules = BreakRules()
    stuck: StuckLimits = StuckLimits()
    retention: Retention = Retention()
    webhooks: WebhookLimits = WebhookLimits()

    batch_max: int = Field(default=500, ge=1, le=5000)
    stop_share: float = Field(default=0.01, gt=0, le=1)
    stop_at_least: int = Field(default=20, ge=1)
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    secret: str = Field(default="", repr=False)  # else the file <home>/secret
    # A folder of files named like settings, each with its value: for Docker's and Kubernetes' secrets. Environment variables
    # win over the files.
    secrets_dir: Path | None = None

    @field_validator("payout_providers")
    @classmethod
    def _named_once(cls, providers: tuple[AnyPayoutAccount, ...], info: ValidationInfo) -> tuple[AnyPayoutAccount, ...]:
        """A call names its PSP or provider by this name alone."""
        names = [account.name for account in (*info.data.get("psps", ()), *providers)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice!r} is the name of two accounts at PSPs or providers")
        watched_alone(providers)
        return providers

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment, then the files of `secrets_dir`, then the fallback values that `load` was given."""
        assert isinstance(init_settings, InitSettingsSource)
        variables, files, beside = (
            _VariablesSource(settings_cls),
            _VariablesSource(settings_cls),
            _VariablesSource(settings_cls),
        )
        beside.env_vars = {name.lower(): text for name, text in init_settings.init_kwargs.pop(_BESIDE, {}).items()}
        named = (init_settings.init_kwargs, "secrets_dir"), (variables.env_vars, _DIR), (beside.env_vars, _DIR)
        files.env_vars = _secret_files(next((str(of[name]) for of, name in named if of.get(name)), None))
        return init_settings, variables, files, beside

    def master_secret(self) -> bytes:
        """The installation's secret: role passwords and field hashes are derived from it."""
        if self.secret:
            return self.secret.encode()
        try:
            return (self.home / "secret").read_text(encoding="utf-8").strip().encode()
        except OSError as error:
            raise SettingsError(
                f"TALLY_SECRET is not set and {self.home / 'secret'} cannot be read: {error.strerror}"
            ) from None

    def derive(self, purpose: str) -> str:
        """A secret for one purpose, as 64 hex digits."""
        return hmac.new(self.master_secret(), purpose.encode(), hashlib.sha256).hexdigest()

    def digest_key(self) -> bytes:
        """The key of digests that replace possible card numbers: without a key a number could be found by guessing."""
        return bytes.fromhex(self.derive("record digests"))

    def webhook_key(self, owner: str, endpoint_id: str, version: int) -> bytes:
        """The key that signs an endpoint's webhooks: derived, so that it is neither stored nor published."""
        return bytes.fromhex(self.derive(f"webhook:{owner}:{endpoint_id}:{version}"))

    def dsn(self, role: str) -> str:
        """The PostgreSQL address for a login role: `tally_<room>`, `tally_<room>_read`, `tally_ops`."""
        given = self.dsns.get(role)
        if given:
            return given
        host, _, port = self.postgres.rpartition(":")
        password = self.derive(f"postgres:{role}")
        return f"postgresql://{role}:{password}@{host}:{port}/{quote(self.database)}"

    @property
    def bank_accounts(self) -> dict[str, BankFileAccount]:
        """The banks that get pay-outs as files, by name."""
        return {each.name: each for each in self.payout_providers if isinstance(each, BankFileAccount)}

    @property
    def http_providers(self) -> tuple[PayoutProviderAccount, ...]:
        return tuple(each for each in self.payout_providers if isinstance(each, PayoutProviderAccount))

    @property
    def clock_file(self) -> Path:
        return self.home / "clock"


SettingsType = TypeVar("SettingsType", bound=Settings)


def load(chosen: type[SettingsType], beside: Mapping[str, str] | None = None, /, **overrides: object) -> SettingsType:
    """Settings of that class from the environment, else from `beside`: TALLY_… names with their texts.

    Errors: SettingsError, one line that names the setting.
    """
    try:
        return chosen(**{_BESIDE: beside or {}}, **overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = "TALLY_" + "__".join(str(part).upper() for part in first["loc"] if part not in _UNNAMED)
        got = "" if first["loc"][0] in _SECRET_FIELDS else f" (got {first['input']!r:.60})"
        raise SettingsError(f"{name}: {first['msg']}{got}") from None
    except Unparsable as error:
        field = re.search(r'field "(\w+)"', str(error))
        raise SettingsError(f"TALLY_{field[1].upper() if field else '…'}: not JSON: {error.__cause__}") from None


_UNNAMED = ("[key]", *PAYOUT_ADAPTERS)  # in the place of an error, and in no name of a setting
_SECRET_FIELDS = (
    "psps",
    "payout_providers",
    "dsns",
    "kafka_options",
    "postgres_admin",
    "secret",
)  # their values are never shown
